"""Measurements that cannot be believed take HELD back, and say why."""

from dataclasses import replace

import pytest

from harness import journal as log
from harness.journal import Objective
from harness.soundness import doubtful, obstacles

STARTED = log.RunStarted(
    at=0.0, run="r", name="n", target="shop/payments", fault="abort", weakened=(),
    objectives=(Objective("up", 0.99, 598, answers=True),), guardrails=(), confidence=0.99, recover_within=30.0,
    load="browse 100/s", seed=1, versions=(), api="a", entry="b", prometheus="c",
)  # fmt: skip


def load(sent=5000, failed=0, *, rate=100.0, alone=True, mean=0.01):
    """What a load generator with five users that was to keep 100/s reported."""
    return log.LoadReported(8.0, sent, failed, 0.01, 0.02, 5, rate, 100.0, alone, mean)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((log.LoadWatched(5.0, "observe", 0.95),), "used 95 % of a core in observe"),
        ((load(rate=49.0),), "fell behind its own schedule, 49 requests/s of the 100 asked for"),
        ((load(rate=49.0, mean=0.05),), "too busy"),
        ((load(), log.EntryCounted(9.0, 4944)), "the counters miss requests"),
        ((load(), log.EntryCounted(9.0, 5056)), "counted twice"),
        ((load(), log.EntryCounted(9.0, 2500)), "sent 5,000 requests, the entry counted 2,500"),
        ((load(), log.EntryCounted(9.0, 10_000)), "counted 10,000, and 55 is all that could be explained"),
        ((load(alone=False), log.EntryCounted(9.0, 2500)), "the counters miss requests"),
        ((load(), log.EntryCounted(9.0, None, missing="NaN")), "cannot be compared with what was sent: NaN"),
    ],
)
def test_what_cannot_be_explained_is_a_doubt(events, reason):
    """With the numbers, and what to do where something can be done."""
    assert reason in " ".join(doubtful(STARTED, events))


@pytest.mark.parametrize(
    "events",
    [
        (),
        (log.LoadWatched(5.0, "observe", 0.85), load(rate=51.0)),
        (load(rate=20.0, mean=0.2),),
        (load(), log.EntryCounted(9.0, 4945)),
        (load(), log.EntryCounted(9.0, 5055)),
        (load(failed=20), log.EntryCounted(9.0, 4925)),
        (load(), log.EntryCounted(9.0, 4800, edge=200)),
        (load(alone=False), log.EntryCounted(9.0, 50_000)),
        (load(),),
    ],
)
def test_what_can_be_explained_is_none(events):
    """Requests in flight, failed ones that never arrived, the edges of scrapes, and traffic of others."""
    assert doubtful(STARTED, events) == ()


def test_a_load_generator_that_sent_nothing_is_an_obstacle_and_not_late():
    """One reason is enough."""
    events = (load(sent=0, rate=0.0),)
    assert obstacles(events) == ("the load generator sent no request",)
    assert doubtful(STARTED, events) == ()


def test_latencies_under_less_traffic_than_was_asked_for_are_not_tested():
    """Whoever waits for slow answers does not ask in the meantime; other promises only have fewer events."""
    timed = replace(STARTED, objectives=(Objective("fast", 0.99, 598, paced=True),))
    slow = (load(rate=79.0, mean=0.06),)
    assert "fell behind its schedule, 79 requests/s" in doubtful(timed, slow)[0]
    assert doubtful(STARTED, slow) == ()
    assert doubtful(timed, (load(rate=81.0, mean=0.06),)) == ()
