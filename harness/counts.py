"""Good events among all, and what they say about the true share of good ones (Clopper and Pearson, 1934).

The bounds are exact: for any true share, a one-sided bound misses it with at most the probability `alpha`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from harness.errors import HarnessError


@dataclass(frozen=True)
class Counts:
    """`good` events among `total`."""

    good: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.good <= self.total:
            raise HarnessError(
                f"{self.good} good events of {self.total} cannot be: check the counters they come from."
            )

    @property
    def bad(self) -> int:
        """The events that were not good."""
        return self.total - self.good

    @property
    def share(self) -> float | None:
        """The fraction of good events; None when there were none at all."""
        return self.good / self.total if self.total else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.good + other.good, self.total + other.total)

    def __str__(self) -> str:
        return f"{self.good} of {self.total}" + (f" ({self.good / self.total:.3%})" if self.total else "")


def lower(counts: Counts, alpha: float) -> float:
    """The true share of good events is below this with a probability of at most `alpha`."""
    if counts.good == 0:
        return 0.0
    from scipy.special import betaincinv  # noqa: PLC0415 - 0.3 s and 50 MB, only when there is something to judge

    return float(betaincinv(counts.good, counts.bad + 1, alpha))


def upper(counts: Counts, alpha: float) -> float:
    """The true share of good events is above this with a probability of at most `alpha`."""
    return 1.0 - lower(Counts(counts.bad, counts.total), alpha) if counts.total else 1.0


def interval(counts: Counts, confidence: float) -> tuple[float, float]:
    """The two-sided interval that holds the true share of good events with at least `confidence`."""
    alpha = (1.0 - confidence) / 2
    return lower(counts, alpha), upper(counts, alpha)


def spend(alpha: float, look: int) -> float:
    """The part of the error `alpha` that the `look`-th test, from 1, may use up; they add up to `alpha`."""
    return alpha / (look * (look + 1))


@cache
def needed(at_least: float, *, confidence: float, allow_bad: int = 0) -> int:
    """The events after which a share of `at_least` can be said to hold although `allow_bad` of them were bad.

    These numbers are where HELD is tested: first for no failure, then for one, and so on, each spending its part of
    the error (see `spend`). Raises HarnessError for `at_least` of 1 or more: no number of events proves "every".
    """
    if not at_least < 1.0:
        raise HarnessError(
            "No number of good events proves that every event is good; name a number of events instead."
        )
    alpha = spend(1.0 - confidence, allow_bad + 1)

    def enough(total: int) -> bool:
        return lower(Counts(total - allow_bad, total), alpha) >= at_least

    high = allow_bad + 1
    while not enough(high):
        high *= 2
    low = allow_bad
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
