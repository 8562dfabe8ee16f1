"""Simulated runs of the sequential test, event by event: what each verdict costs, and how often it is wrong.

Between two bad events the counts only speak more and more for HELD, and a bad event is the only one that speaks for
VIOLATED. So a run is told by the numbers of its bad events, and the test by two bounds for each number of bad events:
from how many events on HELD falls, and up to how many VIOLATED falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy

from harness.counts import Counts
from harness.sequential import for_violated, needed

Numbers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


@dataclass(frozen=True)
class Runs:
    """Simulated runs that were ended by the test or by the last of `bad_events`: shares of verdicts, and events."""

    held: float
    violated: float
    events: float


def simulate(
    at_least: float, share_bad: float, *, alpha: float, runs: int, bad_events: int, seed: int
) -> Runs:
    """`runs` runs in which each event is bad with the probability `share_bad`, looked at after every event."""
    held_from, violated_to = bounds(at_least, alpha, bad_events)
    chance = numpy.random.default_rng(seed)
    if share_bad == 0.0:
        return Runs(1.0, 0.0, float(held_from[0]))
    at = chance.geometric(share_bad, size=(runs, bad_events)).cumsum(axis=1)  # the number of each bad event
    holds = at - 1 >= held_from[:-1]  # with as many bad ones as there were before it
    violates = at <= violated_to[1:]
    first_held, first_violated = _first(holds), _first(violates)
    held, violated = first_held <= first_violated, first_violated < first_held
    held &= first_held < bad_events
    row = numpy.arange(runs)
    events = numpy.where(
        held,
        held_from[numpy.minimum(first_held, bad_events - 1)],
        at[row, numpy.minimum(first_violated, bad_events - 1)],
    )
    return Runs(float(held.mean()), float(violated.mean()), float(events.mean()))


def bounds(at_least: float, alpha: float, bad_events: int) -> tuple[Numbers, Numbers]:
    """From how many events on HELD falls, and up to how many VIOLATED falls, with 0 to `bad_events` bad ones."""
    held = [needed(at_least, alpha=alpha, bad=bad) for bad in range(bad_events + 1)]
    violated = [_violated_to(at_least, alpha, bad) for bad in range(bad_events + 1)]
    return numpy.array(held), numpy.array(violated)


def wald(at_least: float, share_bad: float, *, alpha: float) -> float:
    """The fewest events that tell `share_bad` from 1 - `at_least` on average, both errors `alpha` (Wald, 1945)."""
    budget = 1.0 - at_least
    bad = share_bad * math.log(share_bad / budget) if share_bad else 0.0
    divergence = bad + (1 - share_bad) * math.log((1 - share_bad) / (1 - budget))
    return (1 - 2 * alpha) * math.log((1 - alpha) / alpha) / divergence


def _violated_to(at_least: float, alpha: float, bad: int) -> int:
    """The most events among which `bad` bad ones say VIOLATED; 0 when no number does."""

    def said(total: int) -> bool:
        return for_violated(Counts(total - bad, total), at_least) >= -math.log(alpha)

    if not bad or not said(bad):
        return 0
    low, high = bad, math.ceil(bad / (1.0 - at_least)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if said(middle) else (low, middle)
    return low


def _first(told: Any) -> Numbers:
    """The first column of each row that is told; the number of columns when none is."""
    return numpy.where(told.any(axis=1), told.argmax(axis=1), told.shape[1])
