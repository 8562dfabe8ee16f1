"""Good events among all, and what they say about the true share of good ones (Clopper and Pearson, 1934).

The bounds are exact: for any true share, a one-sided bound misses it with at most the probability `alpha`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HarnessError


@dataclass(frozen=True)
class Counts:
    """`good` events among `total`, and `unsure` ones that may have been either: their bucket does not tell."""

    good: int
    total: int
    unsure: int = 0

    def __post_init__(self) -> None:
        if self.good < 0 or self.unsure < 0 or self.good + self.unsure > self.total:
            unsure = f" and {self.unsure} unsure" if self.unsure else ""
            raise HarnessError(
                f"{self.good} good{unsure} events of {self.total} cannot be: check the counters they come from."
            )

    @property
    def bad(self) -> int:
        """The events that were surely not good."""
        return self.total - self.good - self.unsure

    @property
    def share(self) -> float | None:
        """The fraction of good events; None when there were none at all."""
        return self.good / self.total if self.total else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.good + other.good, self.total + other.total, self.unsure + other.unsure)

    def __str__(self) -> str:
        return f"{self.good} of {self.total}" + (f" ({self.good / self.total:.3%})" if self.total else "")


def lower(counts: Counts, alpha: float) -> float:
    """The true share of good events is below this with a probability of at most `alpha`; unsure ones count as bad."""
    return _lower(counts.good, counts.total, alpha)


def upper(counts: Counts, alpha: float) -> float:
    """The true share of good events is above this with a probability of at most `alpha`; unsure ones count as good."""
    return 1.0 - _lower(counts.bad, counts.total, alpha)


def interval(counts: Counts, confidence: float) -> tuple[float, float]:
    """The two-sided interval that holds the true share of good events with at least `confidence`."""
    alpha = (1.0 - confidence) / 2
    return lower(counts, alpha), upper(counts, alpha)


def spend(alpha: float, look: int) -> float:
    """The part of the error `alpha` that the `look`-th test, from 1, may use up; they add up to `alpha`."""
    return alpha / (look * (look + 1))


def _lower(hits: int, total: int, alpha: float) -> float:
    if hits == 0:
        return 0.0
    from scipy.special import betaincinv  # noqa: PLC0415 - 0.3 s and 50 MB, only when there is something to judge

    return float(betaincinv(hits, total - hits + 1, alpha))
