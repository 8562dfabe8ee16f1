"""Latencies as a histogram has them: how many events took at most each bound, and nothing finer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.counts import Counts
from harness.errors import HarnessError


@dataclass(frozen=True)
class Quantile:
    """A quantile lies above `low` and not above `high` (in the unit of the bounds): that is the error of the bucket.

    `value` lies between them on the assumption that the events of a bucket are spread evenly over it, as Prometheus'
    histogram_quantile() assumes; it is `low` when the bucket has no upper bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Histogram:
    """How many of all events took more than the bound before and not more than each of `bounds`, in rising order.

    The last bound is infinity. Raises HarnessError for bounds and counts that cannot be.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        if not self.bounds or not rising or self.bounds[-1] != math.inf:
            raise HarnessError(
                f"The bounds {self.bounds} are none of a histogram: they have to rise up to infinity."
            )
        if len(self.counts) != len(self.bounds) or any(count < 0 for count in self.counts):
            raise HarnessError(f"The counts {self.counts} do not fit the {len(self.bounds)} buckets.")

    @classmethod
    def cumulative(cls, at_most: Mapping[float, int]) -> Histogram:
        """From the numbers of events that took at most each bound, as Prometheus has them.

        A bound with fewer events than a smaller one has as many: the counters of one histogram are scraped at once,
        but Prometheus may have missed the first sample of one. Raises HarnessError when there is no infinity.
        """
        bounds = tuple(sorted(at_most))
        counts, before = [], 0
        for bound in bounds:
            counts.append(max(0, at_most[bound] - before))
            before = max(before, at_most[bound])
        return cls(bounds, tuple(counts))

    @property
    def total(self) -> int:
        """All events."""
        return sum(self.counts)

    def within(self, limit: float) -> Counts:
        """The events that took at most `limit`; those of a bucket that the limit divides are `unsure`."""
        good = sum(count for bound, count in zip(self.bounds, self.counts, strict=True) if bound <= limit)
        unsure = 0
        if limit not in self.bounds:
            unsure = next(
                count for bound, count in zip(self.bounds, self.counts, strict=True) if bound > limit
            )
        return Counts(good, self.total, unsure)

    def quantile(self, share: float) -> Quantile | None:
        """The time that `share` (0 to 1) of the events did not exceed; None without events."""
        rank, seen, low = share * self.total, 0, 0.0
        if self.total == 0:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count and seen + count >= rank:
                part = max(0.0, rank - seen) / count
                value = low if math.isinf(bound) else low + part * (bound - low)
                return Quantile(value, low, bound)
            seen, low = seen + count, bound
        raise AssertionError("the ranks of a histogram end with its total")
