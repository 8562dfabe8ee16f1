"""What a journal keeps of measurements: counts of SLOs, and what load generator and entry say of the traffic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.counts import Counts
from harness.histogram import Histogram


@dataclass(frozen=True)
class Counted:
    """The good and all events of an SLO from `start` to `end`, cumulative within a phase.

    Both are None when they could not be counted, and `missing` says why; that is never the same as zero. `unsure`
    ones may be good or bad: the bucket of the histogram that holds them does not tell.
    """

    at: float
    slo: str
    phase: str
    good: int | None
    total: int | None
    start: float
    end: float
    missing: str = ""
    unsure: int = 0

    @property
    def counts(self) -> Counts | None:
        """The events as numbers; None when they could not be counted."""
        if self.good is None or self.total is None:
            return None
        return Counts(self.good, self.total, self.unsure)


@dataclass(frozen=True)
class Timed:
    """How long the events of an SLO took in a phase so far: more than the bound before and at most each of `bounds`.

    Bounds are in seconds; `counts` has one number more, of those that took longer than the last bound.
    """

    at: float
    slo: str
    phase: str
    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def histogram(self) -> Histogram:
        """The same as a histogram."""
        return Histogram((*self.bounds, math.inf), self.counts)


@dataclass(frozen=True)
class Probed:
    """Plaintext connections to the pods of a target in a phase so far; `unreachable` ones prove nothing.

    `forbidden` ones were answered, namely that the caller may not ask.
    """

    at: float
    slo: str
    phase: str
    refused: int
    answered: int
    unreachable: int
    forbidden: int = 0


@dataclass(frozen=True)
class LoadReported:
    """What the load generator counted over the whole run; p50 and p99 in seconds, rate in requests/s.

    `asked` is the rate it was to keep, 0 if that is not known; `alone` says that nobody else uses the entry; `mean`
    is that of the answers, in seconds.
    """

    at: float
    sent: int
    failed: int
    p50: float
    p99: float
    users: int
    rate: float
    asked: float = 0.0
    alone: bool = True
    mean: float = 0.0


@dataclass(frozen=True)
class LoadWatched:
    """The part of one core that the load generator used in a phase."""

    at: float
    phase: str
    cpu: float


@dataclass(frozen=True)
class EntryCounted:
    """The requests that the proxies at the entry counted over the whole run; None if they could not be counted.

    `edge` of them may have been lost or added where the scrapes begin and end.
    """

    at: float
    total: int | None
    edge: int = 0
    missing: str = ""
