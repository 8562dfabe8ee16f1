"""Two journals side by side: what differs for certain, and what may be chance."""

from dataclasses import replace

import pytest

from harness import journal as log
from harness.contrast import contrast
from harness.errors import HarnessError
from harness.journal import Journal, Objective

STARTED = log.RunStarted(
    at=0.0, run="r", name="n", target="shop/payments", fault="abort", weakened=(),
    objectives=(Objective("up", 0.99, 598), Objective("fast", 0.9, 100)), guardrails=(), confidence=0.99,
    recover_within=30.0, load="browse 100/s", seed=1, versions=(), api="a", entry="b", prometheus="c",
)  # fmt: skip


def run(good, fast, *, gate=(500, 500)):
    """A run of a thousand events, `good` of them good; `fast` take up to 0.1 s, the others up to 0.25 s."""
    return (
        STARTED,
        log.Counted(1.0, "up", "gate", *gate, 0.0, 1.0),
        log.Counted(2.0, "up", "observe", 1, 2, 1.0, 2.0),
        log.Counted(3.0, "up", "observe", good, 1000, 1.0, 3.0),
        log.Counted(3.0, "fast", "observe", fast, 1000, 1.0, 3.0),
        log.Timed(3.0, "fast", "observe", (0.1, 0.25), (fast, 1000 - fast, 0)),
    )


def test_a_worse_run_is_told_from_a_better_one():
    """With both intervals, in points and milliseconds."""
    up, fast = contrast(run(999, 950), run(950, 300))
    assert up.certain
    assert up.share.value == pytest.approx(-0.049)
    assert up.share.low < -0.049 < up.share.high < 0
    assert up.quantile is None
    assert str(up).startswith("up: -4.900 points (-7.")
    assert fast.certain
    assert fast.quantile.value > 0.1
    assert "quantile +" in str(fast)


def test_equal_runs_do_not_differ():
    """And that is said."""
    assert all("could be told from chance" in str(one) for one in contrast(run(990, 900), run(991, 901)))


def test_two_phases_of_one_run_can_be_compared():
    """Only what both counted."""
    one = run(900, 900)
    (up,) = contrast(one, one, phases=("gate", "observe"))
    assert up.slo == "up"
    assert up.share.value == pytest.approx(-0.1)
    with pytest.raises(HarnessError, match="no objective in common"):
        contrast(one, one, phases=("gate", "recover"))
    with pytest.raises(HarnessError, match="no objective in common"):
        contrast((), one)


def test_several_objectives_share_the_error():
    """With two of them each interval is wider than with one alone."""
    first, second = run(990, 900), run(980, 900)
    alone = tuple(event for event in second if getattr(event, "slo", "up") == "up")
    assert contrast(first, second)[0].share.low < contrast(first, alone)[0].share.low


def test_what_events_took_survives_the_way_through_a_file(tmp_path):
    """Infinity is no JSON, so the last bound is left out."""
    timed = log.Timed(3.0, "fast", "observe", (0.1, 0.25), (5, 3, 1))
    with Journal(tmp_path / "run.jsonl") as journal:
        journal.write(replace(STARTED))
        journal.write(timed)
    assert log.read(tmp_path / "run.jsonl")[1] == timed
    assert timed.histogram.total == 9
