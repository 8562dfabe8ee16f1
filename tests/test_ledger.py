"""The ledger: what has to be undone survives whatever happens to the process that wrote it."""

import json
import re
import resource
import time
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.changes import Create, Delete, LeftToController, Ref, Uncreate
from harness.errors import HarnessError
from harness.ledger import Ledger

REF = Ref("v1", "Pod", "shop", "payments-1")
LATER = time.time() + 3600


@pytest.fixture
def ledger(tmp_path):
    """A ledger in a directory that does not exist yet."""
    return Ledger(tmp_path / "state" / "ledger")


def _record(entries, number=0, expires=LATER):
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}", "namespace": "shop"}}
    return entries.record("run/1", Create(manifest), Uncreate(Create(manifest).ref, "run/1"), expires=expires)


def _files(tmp_path):
    return sorted(path.name for path in (tmp_path / "state" / "ledger").iterdir())


def test_what_a_dead_run_left_is_pending_in_the_order_of_writing(ledger):
    """A record comes back as it was written, change and inverse."""
    with ledger.open("run", "mesh-1") as entries:
        written = [_record(entries, number) for number in range(3)]
        written.append(entries.record("run/2", Delete(REF, 0), LeftToController(REF), expires=LATER))
    assert ledger.pending("mesh-1") == tuple(written)
    assert ledger.claims("mesh-1") == frozenset()


def test_what_is_written_is_in_the_file_before_record_returns(ledger, tmp_path):
    """Undo before do: nothing waits in a buffer."""
    with ledger.open("run", "mesh-1") as entries:
        _record(entries)
        [line] = (tmp_path / "state" / "ledger" / "run.jsonl").read_text().splitlines()
    assert json.loads(line)["undo"] == {
        "Uncreate": {
            "ref": {"api_version": "v1", "kind": "Pod", "namespace": "shop", "name": "p0"},
            "owner": "run/1",
            "uid": "",
        }
    }


def test_what_was_reverted_is_not_pending(ledger):
    """The others of the same run still are."""
    with ledger.open("run", "mesh-1") as entries:
        first, second = _record(entries, 1), _record(entries, 2)
        entries.reverted(first)
    assert ledger.pending("mesh-1") == (second,)


def test_a_file_is_removed_when_everything_in_it_was_reverted(ledger, tmp_path):
    """A run that cleaned up leaves nothing."""
    with ledger.open("run", "mesh-1") as entries:
        entries.reverted(_record(entries))
    assert _files(tmp_path) == []


def test_a_file_is_kept_while_another_injection_of_the_run_uses_it(ledger):
    """The run opens its ledger once for each injection."""
    with ledger.open("run", "mesh-1") as weakening:
        with ledger.open("run", "mesh-1") as fault:
            fault.reverted(_record(fault, 1))
        left = _record(weakening, 2)
    assert ledger.pending("mesh-1") == (left,)


def test_another_mesh_has_nothing_to_do_with_it(ledger):
    """A context of the same name may be another cluster tomorrow; its identity tells them apart."""
    with ledger.open("run", "mesh-1") as entries:
        _record(entries)
    assert ledger.pending("mesh-2") == ()


def test_what_a_living_run_claims_is_not_pending(ledger, tmp_path):
    """Nobody reverts a fault under a run that is still measuring it; others can see that it is there."""
    other = Ledger(tmp_path / "state" / "ledger")
    with ledger.open("run", "mesh-1") as entries:
        _record(entries)
        assert ledger.pending("mesh-1") == other.pending("mesh-1") == ()
        assert other.claims("mesh-1") == {"run"}
        assert ledger.claims("mesh-1") == other.claims("mesh-2") == frozenset()


def test_a_claim_ends_when_it_expires(ledger, tmp_path):
    """A run that hangs does not hold the mesh for ever."""
    other = Ledger(tmp_path / "state" / "ledger")
    with ledger.open("run", "mesh-1") as entries:
        record = _record(entries, expires=time.time() - 1)
        assert other.pending("mesh-1") == (record,)
        assert other.claims("mesh-1") == frozenset()


def test_several_runs_are_pending_in_the_order_of_writing(ledger):
    """Whatever their names are."""
    written = []
    for run in ("b", "a", "c"):
        with ledger.open(run, "mesh-1") as entries:
            written.append(_record(entries))
    assert ledger.pending("mesh-1") == tuple(written)


# each example starts with an empty directory
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_crash_in_the_middle_of_a_write_loses_nothing_that_was_written_before(tmp_path, share):
    """Cut anywhere, the file holds the records of its whole lines, and can be written again."""
    path = tmp_path / "run.jsonl"
    path.unlink(missing_ok=True)
    ledger = Ledger(tmp_path)
    with ledger.open("run", "mesh-1") as entries:
        written = [_record(entries, number) for number in range(3)]
    content = path.read_bytes()
    cut = content[: round(share * len(content))]
    path.write_bytes(cut)
    whole = written[: cut.count(b"\n")]
    assert ledger.pending("mesh-1") == tuple(whole)
    with ledger.open("run", "mesh-1") as entries:
        again = _record(entries, 9)
    assert ledger.pending("mesh-1") == (*whole, again)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "3",
        "null",
        '{"change": {"Explode": {}}, "number": 0, "undo": {}}',
        '{"change": 1}',
        '{"created": 7, "uid": "x"}',
    ],
)
def test_a_file_that_cannot_be_understood_is_named_and_the_rest_of_it_is_pending(ledger, tmp_path, line):
    """It may hold the only way back, so it is neither skipped nor removed."""
    with ledger.open("run", "mesh-1") as entries:
        record = _record(entries)
    path = tmp_path / "state" / "ledger" / "run.jsonl"
    path.write_text(f"{line}\n{path.read_text()}")
    [damage] = ledger.damage("mesh-1")
    assert re.search(r"run\.jsonl, line 1, cannot be read.*by hand", damage)
    assert ledger.pending("mesh-1") == (record,)
    with ledger.open("run", "mesh-1") as entries:
        entries.reverted(record)
    ledger.sweep()
    assert _files(tmp_path) == ["run.jsonl"]


def test_damage_is_the_matter_of_the_meshes_that_the_file_names(ledger, tmp_path):
    """A file that names none may be about any."""
    with ledger.open("run", "mesh-1") as entries:
        _record(entries)
    path = tmp_path / "state" / "ledger" / "run.jsonl"
    path.write_text(f"{path.read_text()}3\n")
    assert (len(ledger.damage("mesh-1")), len(ledger.damage("mesh-2"))) == (1, 0)
    path.write_text("3\n")
    assert (len(ledger.damage("mesh-1")), len(ledger.damage("mesh-2"))) == (1, 1)


def test_a_file_that_cannot_be_opened_is_damage_and_not_an_accident(ledger, tmp_path):
    """A link to itself stands for a file of somebody else, which tests that run as root could open."""
    with ledger.open("run", "mesh-1") as entries:
        record = _record(entries)
    (tmp_path / "state" / "ledger" / "theirs.jsonl").symlink_to("theirs.jsonl")
    assert ledger.pending("mesh-1") == (record,)
    assert "theirs.jsonl cannot be read" in ledger.damage("mesh-1")[0]
    ledger.sweep()


def test_the_uid_of_what_was_created_is_known_to_whoever_undoes_it(ledger):
    """It comes after the record, since nobody knows it before."""
    with ledger.open("run", "mesh-1") as entries:
        known = entries.created(_record(entries), "u-1")
    assert known.undo.uid == "u-1"
    assert ledger.pending("mesh-1") == (known,)


def test_one_at_a_time_has_the_turn_in_a_mesh(ledger, tmp_path, monkeypatch):
    """Another mesh is free, and afterwards nothing is left of it."""
    monkeypatch.setattr("harness.ledger._TURN_WITHIN", 0.1)
    other = Ledger(tmp_path / "state" / "ledger")
    with ledger.turn("mesh-1"):
        with pytest.raises(HarnessError, match=r"mesh-1\.lock; wait"), other.turn("mesh-1"):
            pass
        with other.turn("mesh-2"):
            pass
    with other.turn("mesh-1"):
        pass
    assert _files(tmp_path) == []


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    """Before anything is changed in the mesh."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match=r"file/ledger cannot be written.*another directory"):
        Ledger(tmp_path / "file" / "ledger").open("run", "mesh-1")


@contextmanager
def _room_for(size):
    """As on a full disk: a write beyond `size` bytes fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_and_leaves_the_ledger_as_it_was(ledger):
    """The record that was cut off does not count, and the next one is whole."""
    with ledger.open("run", "mesh-1") as entries:
        first = _record(entries, 1)
        with _room_for(500), pytest.raises(HarnessError, match="nothing more is changed in the mesh"):
            _record(entries, 2)
        third = _record(entries, 3)
    assert ledger.pending("mesh-1") == (first, third)


def test_a_run_whose_name_is_no_file_name_is_refused(ledger):
    """It would end up elsewhere."""
    with pytest.raises(HarnessError, match="run"):
        ledger.open("../run", "mesh-1")


def test_the_default_directory_is_private_and_lies_with_the_state_of_the_user(tmp_path, monkeypatch):
    """Manifests may hold what others should not read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    Ledger().open("run", "mesh-1").close()
    directory = tmp_path / "harness" / "ledger"
    assert directory.stat().st_mode & 0o777 == 0o700


def test_sweeping_removes_only_what_dead_runs_left_empty(ledger, tmp_path):
    """A run that was killed right after its last revert leaves such a file."""
    with ledger.open("dead", "mesh-1") as entries:
        _record(entries)
    with ledger.open("done", "mesh-1") as entries:
        _record(entries)
    path = tmp_path / "state" / "ledger" / "done.jsonl"
    path.write_text(path.read_text() + '{"reverted": 0}\n')
    with ledger.open("living", "mesh-1"):
        ledger.sweep()
        assert _files(tmp_path) == ["dead.jsonl", "living.jsonl"]
