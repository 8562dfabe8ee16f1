"""A test of an objective that may be looked at after every event, and stops as soon as the answer is certain.

Let `budget` be 1 - objective, the share of events that may be bad. What is known is weighed by a likelihood ratio:
how probable the counts are if the true share of bad events is another one, against how probable they are if it is
just the budget; the mean of it over eight other shares, below the budget to say HELD, above it to say VIOLATED
(mixtures: Robbins, Annals of Mathematical Statistics 41, 1970). They lie where answers are wanted soon: from almost
nothing to four fifths of the budget, and from a seventh above it to nearly ten times the budget.

For whatever share on the wrong side of the objective, or on it, such a mean is a supermartingale that begins at 1.
So the probability that it ever reaches 1/alpha, at any look, is at most alpha (Ville, 1939): the error stated holds
however often one looks and whenever one stops, for events that are independent. And the exact interval of Clopper and
Pearson at the confidence 1 - 2 alpha then lies on that side of the objective, for the mean grows with every event
that speaks for it. True shares between nine tenths of the budget and a tenth above it may be left undecided for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

from harness.counts import Counts
from harness.errors import HarnessError

_SHARES = 8
_STEPS = tuple((step + 0.5) / _SHARES for step in range(_SHARES))
_BELOW = tuple(
    step**3 for step in _STEPS
)  # parts of the budget, most of them small: a mesh is good or it is not
_TIMES = 10.0  # the budget; what is worse shows soon anyway
_MOST = 10**12  # events after which nobody waits for an answer


def for_held(counts: Counts, at_least: float) -> float:
    """How much speaks for a true share above `at_least`: the logarithm of the mean likelihood ratio.

    Events that are `unsure` count as bad. Raises HarnessError for an `at_least` outside 0 to 1, both excluded.
    """
    budget = _budget(at_least)
    return _mean_ratio(counts.total - counts.good, counts.good, budget, [part * budget for part in _BELOW])


def for_violated(counts: Counts, at_least: float) -> float:
    """How much speaks for a true share below `at_least`: the logarithm of the mean likelihood ratio.

    Events that are `unsure` count as good. Raises HarnessError for an `at_least` outside 0 to 1, both excluded.
    """
    budget = _budget(at_least)
    times = min(_TIMES, 1.0 / budget)
    return _mean_ratio(
        counts.bad, counts.total - counts.bad, budget, [budget * times**step for step in _STEPS]
    )


@cache
def needed(at_least: float, *, alpha: float, bad: int = 0) -> int:
    """The events after which HELD can be said with the error `alpha` although `bad` of them were bad.

    Raises HarnessError for an `at_least` outside 0 to 1: no number of good events proves that every one is.
    """
    return _first(lambda total: _holds(Counts(total - bad, total), at_least, alpha), above=bad)


def would_take(counts: Counts, at_least: float, *, alpha: float) -> int | None:
    """The events it takes to tell if they go on to be as good as those in `counts`; None when no number would.

    `alpha` is the error of HELD and of VIOLATED alike.
    """
    if counts.total == 0 or counts.good == at_least * counts.total:
        return None
    if counts.unsure and counts.good < at_least * counts.total <= counts.good + counts.unsure:
        return None
    holds = counts.good > at_least * counts.total
    share = (counts.good if holds else counts.good + counts.unsure) / counts.total

    def told(total: int) -> bool:
        like = Counts(min(total, math.floor(share * total) if holds else math.ceil(share * total)), total)
        return (for_held if holds else for_violated)(like, at_least) >= -math.log(alpha)

    try:
        return _first(told, above=0)
    except OverflowError:
        return None


def _holds(counts: Counts, at_least: float, alpha: float) -> bool:
    return for_held(counts, at_least) >= -math.log(alpha)


def _first(told: Callable[[int], bool], *, above: int) -> int:
    """The first number above `above` that is told; OverflowError when there is none within reason."""
    high = max(above + 1, 1)
    while not told(high):
        high *= 2
        if high > _MOST:
            raise OverflowError
    low = max(above, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if told(middle) else (middle, high)
    return high


def _mean_ratio(bad: int, good: int, budget: float, shares: Sequence[float]) -> float:
    ratios = [
        bad * math.log(share / budget) + good * (math.log1p(-share) - math.log1p(-budget)) for share in shares
    ]
    most = max(ratios)
    return most + math.log(math.fsum(math.exp(ratio - most) for ratio in ratios) / len(ratios))


def _budget(at_least: float) -> float:
    if not 0.0 < at_least < 1.0:
        raise HarnessError(
            f"The objective is {at_least}; no number of good events proves that every one is good, or none: "
            "name a number of events instead."
        )
    return 1.0 - at_least
