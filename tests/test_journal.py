"""The journal keeps everything, survives a crash and holds no secret."""

import dataclasses
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import journal
from harness.errors import HarnessError
from harness.journal import Journal, Objective, read, select

FINITE = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, FINITE)
EVENTS = st.one_of(*map(st.from_type, typing.get_args(journal.Event))).map(
    lambda event: (
        dataclasses.replace(event, api="http://a", entry="http://b/c", prometheus="http://d")
        if isinstance(event, journal.RunStarted)
        else event
    )
)


@given(st.lists(EVENTS, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_was_written_is_what_is_read(tmp_path_factory, events):
    """Every kind of event with any content makes the way to the disk and back."""
    path = tmp_path_factory.mktemp("journal") / "run.jsonl"
    with Journal(path) as written:
        for event in events:
            written.write(event)
        assert read(path) == tuple(events)
        assert written.events == tuple(events)


@given(st.integers(2, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_a_last_line_that_a_crash_tore_is_left_out(tmp_path_factory, cut):
    """Wherever the last line was cut, the events before it are there."""
    path = tmp_path_factory.mktemp("journal") / "run.jsonl"
    with Journal(path) as written:
        written.write(journal.PhaseStarted(1.0, "gate"))
        written.write(journal.Stopped(2.0, "the load generator ended with code 1: no such file"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert read(path) == (journal.PhaseStarted(1.0, "gate"),)


def test_each_line_is_on_its_way_to_the_disk_when_write_returns(tmp_path):
    """Somebody else can read an event while the journal is still open."""
    with Journal(tmp_path / "run.jsonl") as written:
        written.write(journal.PhaseStarted(1.0, "gate"))
        assert read(written.path) == (journal.PhaseStarted(1.0, "gate"),)


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    """Only the last line can be torn by a crash; anything else is not trusted."""
    path = tmp_path / "run.jsonl"
    path.write_text('{"event": "PhaseStarted", "at": 1, "phase": "gate"}\n{"event": "Pha\n{}\n')
    with pytest.raises(HarnessError, match="line 2"):
        read(path)


def test_passwords_in_addresses_are_not_written(tmp_path):
    """Addresses lose user, password and query on their way to the file."""
    started = journal.RunStarted(
        at=1.0, run="r", name="n", target="t", fault="f", weakened=(), objectives=(Objective("up", 0.9, 100),),
        guardrails=(), confidence=0.99, recover_within=30.0, load="browse", seed=1, versions=(),
        api="https://10.0.0.1:6443", entry="http://me:geheim@shop.example/", prometheus="http://a:geheim@b/p?x=geheim",
    )  # fmt: skip
    with Journal(tmp_path / "run.jsonl") as written:
        written.write(started)
    assert "geheim" not in written.path.read_text()
    (back,) = select(read(written.path), journal.RunStarted)
    assert (back.entry, back.prometheus) == ("http://shop.example/", "http://b/p")


def test_a_journal_that_cannot_be_written_is_one_sentence(tmp_path):
    """A file where a directory should be names the path."""
    (tmp_path / "reports").write_text("")
    with pytest.raises(HarnessError, match=r"Cannot write the journal .*reports"):
        Journal(tmp_path / "reports" / "run.jsonl")


def test_a_journal_that_is_not_there_is_one_sentence(tmp_path):
    """A missing file names the path."""
    with pytest.raises(HarnessError, match="Cannot read the journal"):
        read(tmp_path / "none.jsonl")
