"""Counters as Prometheus holds them, and how many events they count in a window.

`rate()` and `increase()` extrapolate and smear phases into each other (prometheus/prometheus#3746, #3886),
so events are counted here from the raw samples: exactly those between the first and the last scrape of each
target in the window.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from harness.counts import Counts


@dataclass(frozen=True)
class Sample:
    """The value of a counter at a time (Unix seconds)."""

    at: float
    value: float


@dataclass(frozen=True)
class Series:
    """One counter: its labels and its samples in order of time."""

    labels: Mapping[str, str] = field(hash=False)
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Window:
    """The time from `start` to `end`, both included (Unix seconds)."""

    start: float
    end: float


class Missing(Enum):
    """Why events could not be counted; neither is zero."""

    EMPTY = "Prometheus has no samples of it"
    NAN = "Prometheus holds NaN for it"


def increase(series: Series, window: Window) -> float | None:
    """The events a counter saw from the first to the last sample in the window; None without a sample in it.

    A drop means that the counter started again from 0. A series without a sample before the window was born
    in it, so it is counted from 0; the others from their first sample in the window.
    """
    return _increase(series, window, born=not series.samples or series.samples[0].at >= window.start)


def count(
    series: Iterable[Series], window: Window, good: Callable[[Mapping[str, str]], bool]
) -> Counts | Missing:
    """Sums the events of many counters: all of them, and those whose labels are `good`.

    Series of one scrape target (labels job and instance) begin at the same scrape: a series that is born in
    the first scrape of the window counts from there, as its siblings do, or the events before that scrape
    would be counted for it alone.
    """
    targets: dict[tuple[str | None, str | None], list[Series]] = defaultdict(list)
    for one in series:
        targets[one.labels.get("job"), one.labels.get("instance")].append(one)
    counted = [pair for siblings in targets.values() for pair in _aligned(siblings, window)]
    if not counted:
        return Missing.EMPTY
    total = sum(value for _, value in counted)
    if math.isnan(total):
        return Missing.NAN
    return Counts(round(sum(value for labels, value in counted if good(labels))), round(total))


def scrapes(series: Iterable[Series], window: Window) -> tuple[float, ...]:
    """When the target that was scraped most often was scraped in the window: others came or went meanwhile."""
    targets: dict[tuple[str | None, str | None], set[float]] = defaultdict(set)
    for one in series:
        times = {sample.at for sample in one.samples if window.start <= sample.at <= window.end}
        targets[one.labels.get("job"), one.labels.get("instance")] |= times
    return max((tuple(sorted(times)) for times in targets.values()), key=len, default=())


def _aligned(siblings: Sequence[Series], window: Window) -> list[tuple[Mapping[str, str], float]]:
    """The labels and increase of each series of one target that has a sample in the window."""
    times = [sample.at for one in siblings for sample in one.samples]
    known = any(at < window.start for at in times)
    first = min((at for at in times if at >= window.start), default=math.inf)
    counted = []
    for one in siblings:
        born = bool(one.samples) and one.samples[0].at >= window.start
        value = _increase(one, window, born=born and not (known and one.samples[0].at == first))
        if value is not None:
            counted.append((one.labels, value))
    return counted


def _increase(series: Series, window: Window, *, born: bool) -> float | None:
    values = [sample.value for sample in series.samples if window.start <= sample.at <= window.end]
    if not values:
        return None
    if any(math.isnan(value) for value in values):
        return math.nan
    if born:
        values.insert(0, 0.0)
    return sum((after - before if after >= before else after) for before, after in pairwise(values))
