"""Two runs or two phases side by side: by how much they differ, and how sure that is. Pure.

Shares are compared by Newcombe's interval (Statistics in Medicine 17, 1998, method 10: two intervals of Wilson's score
put together), which holds its confidence on average and is right for shares near 0 and 1. Quantiles are compared by the
bootstrap (Efron, Annals of Statistics 7, 1979): events are drawn again from both histograms, and the interval holds the
middle part of the differences. Both say something about two samples that were drawn once, at a moment that did not
depend on them; a phase that was ended by its sequential test is such a sample only nearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.counts import Counts
from harness.errors import HarnessError
from harness.histogram import Histogram

_RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """The second minus the first, and the interval that holds the true difference with the confidence asked for."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether there is a difference at all: 0 is not in the interval."""
        return self.low > 0.0 or self.high < 0.0


def shares(first: Counts, second: Counts, confidence: float) -> Difference:
    """By how much the share of good events of `second` is higher than that of `first`.

    Unsure events widen the interval by all that they may have been. Raises HarnessError without events.
    """
    _check(first.total, second.total)
    low = _newcombe(first.good + first.unsure, first.total, second.good, second.total, confidence)[0]
    high = _newcombe(first.good, first.total, second.good + second.unsure, second.total, confidence)[1]
    return Difference(second.good / second.total - first.good / first.total, low, high)


def quantiles(
    first: Histogram, second: Histogram, share: float, confidence: float, *, seed: int = 0
) -> Difference:
    """By how much the quantile `share` of `second` is higher than that of `first`, in the unit of their bounds.

    The interval is that of chance and of the buckets: no true difference is outside of it only because a bucket does
    not tell where in it an event lies. The same `seed` gives the same interval. Raises HarnessError without events.
    """
    _check(first.total, second.total)
    before, after = first.quantile(share), second.quantile(share)
    assert before is not None  # noqa: S101 - both have events, which mypy cannot see
    assert after is not None  # noqa: S101
    import numpy  # noqa: PLC0415 - only where something is compared

    chance = numpy.random.default_rng(seed)
    lows_first, highs_first = _resampled(first, share, chance)
    lows_second, highs_second = _resampled(second, share, chance)
    tail = (1.0 - confidence) / 2
    low = numpy.quantile(lows_second - highs_first, tail, method="lower")
    high = numpy.quantile(highs_second - lows_first, 1.0 - tail, method="higher")
    return Difference(after.value - before.value, float(low), float(high))


def _newcombe(
    good_first: int, first: int, good_second: int, second: int, confidence: float
) -> tuple[float, float]:
    before, low_before, high_before = _wilson(good_first, first, confidence)
    after, low_after, high_after = _wilson(good_second, second, confidence)
    difference = after - before
    low = difference - math.hypot(after - low_after, high_before - before)
    high = difference + math.hypot(high_after - after, before - low_before)
    return max(-1.0, low), min(1.0, high)


def _wilson(good: int, total: int, confidence: float) -> tuple[float, float, float]:
    """The share and its interval."""
    from scipy.stats import binomtest  # noqa: PLC0415 - 1 s, only where something is compared

    interval = binomtest(good, total).proportion_ci(confidence, method="wilson")
    return good / total, float(interval.low), float(interval.high)


def _resampled(histogram: Histogram, share: float, chance: Any) -> tuple[Any, Any]:
    """The lower and upper ends of the buckets that hold the quantile, of as many histograms drawn from this one."""
    import numpy  # noqa: PLC0415 - as above

    counts = numpy.array(histogram.counts)
    bounds = numpy.array((0.0, *histogram.bounds))
    low, high, counts = bounds[:-1][counts > 0], bounds[1:][counts > 0], counts[counts > 0]
    drawn = chance.multinomial(histogram.total, counts / histogram.total, size=_RESAMPLES)
    reached = drawn.cumsum(axis=1) >= max(1.0, share * histogram.total)
    bucket = reached.argmax(axis=1)
    return low[bucket], high[bucket]


def _check(first: int, second: int) -> None:
    if not first or not second:
        raise HarnessError(
            "Without events on both sides there is nothing to compare; give phases that counted some."
        )
