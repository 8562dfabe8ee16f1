"""Counters as Prometheus holds them, and how many events they count in a window.

`rate()` and `increase()` extrapolate and smear phases into each other (prometheus/prometheus#3746, #3886),
so events are counted here from the raw samples: exactly those between two scrapes of each target (see `Window`).
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
    """The time from `start` to `end`, both included (Unix seconds).

    Events are counted from the first scrape of each target in it. With `reach` they are counted from the last
    scrape before `start` if that is not more than `reach` seconds older, so that nothing that happened after
    `start` is left out; the scrape itself is only where the counting begins.
    """

    start: float
    end: float
    reach: float = 0.0


class Missing(Enum):
    """Why events could not be counted; neither is zero."""

    EMPTY = "Prometheus has no samples of it"
    NAN = "Prometheus holds NaN for it"
    STALE = "Prometheus has stopped scraping it"
    PARTIAL = "Prometheus no longer scrapes some of the pods that count it, though they are there"


@dataclass(frozen=True)
class Increase:
    """The events that one counter saw between two scrapes of its target, at `begin` and `end` (Unix seconds)."""

    labels: Mapping[str, str] = field(hash=False)
    events: float
    begin: float
    end: float


def count(
    series: Iterable[Series], window: Window, good: Callable[[Mapping[str, str]], bool]
) -> Counts | Missing:
    """Sums the events of many counters: all of them, and those whose labels are `good`. See `increases`."""
    found = increases(series, window)
    if isinstance(found, Missing):
        return found
    good_ones = sum(one.events for one in found if good(one.labels))
    return Counts(round(good_ones), round(sum(one.events for one in found)))


def increases(series: Iterable[Series], window: Window) -> tuple[Increase, ...] | Missing:
    """What each counter with a sample in the window saw in it.

    Series of one scrape target (labels job and instance) are counted from the same scrape; one that appears
    later counts from 0, for that scrape did not show it. A target counts from 0, too, if nothing of it was seen
    before the window while another target of its job was: then it is new. Otherwise not being seen is a gap in
    the scrapes, and what the counter shows after it may be as old as the target.
    """
    targets = _targets(series)
    known = {key for key, siblings in targets.items() if _seen_before(siblings, window.start)}
    jobs = {job for job, _ in known}
    found = tuple(
        increase
        for key, siblings in targets.items()
        for increase in _aligned(siblings, window, new=key not in known and key[0] in jobs)
    )
    if not found:
        return Missing.EMPTY
    return Missing.NAN if any(math.isnan(one.events) for one in found) else found


def silent(series: Iterable[Series], since: float) -> tuple[Mapping[str, str], ...]:
    """The labels of each target of which no sample is as young as `since` (Unix seconds)."""
    return tuple(
        siblings[0].labels
        for siblings in _targets(series).values()
        if max(one.samples[-1].at for one in siblings) < since
    )


def risen(series: Series, window: Window) -> bool:
    """Whether a counter has counted anything in the window; one that appears in it has begun at 0."""
    values = [sample.value for sample in series.samples if sample.at <= window.end]
    before = sum(sample.at <= window.start for sample in series.samples)
    known = values[before - 1 :] if before else [0.0, *values]
    return any(after > earlier for earlier, after in pairwise(known))


def scrapes(series: Iterable[Series], window: Window) -> tuple[float, ...]:
    """When the target that was scraped most often was scraped in the window: others came or went meanwhile."""
    targets: dict[tuple[str | None, str | None], set[float]] = defaultdict(set)
    for one in series:
        times = {sample.at for sample in one.samples if window.start <= sample.at <= window.end}
        targets[one.labels.get("job"), one.labels.get("instance")] |= times
    return max((tuple(sorted(times)) for times in targets.values()), key=len, default=())


def _targets(series: Iterable[Series]) -> dict[tuple[str | None, str | None], list[Series]]:
    targets: dict[tuple[str | None, str | None], list[Series]] = defaultdict(list)
    for one in series:
        if one.samples:
            targets[one.labels.get("job"), one.labels.get("instance")].append(one)
    return targets


def _seen_before(siblings: Iterable[Series], start: float) -> bool:
    return any(one.samples[0].at < start for one in siblings)


def _aligned(siblings: Sequence[Series], window: Window, *, new: bool) -> list[Increase]:
    """What each series of one target saw that has a sample in the window."""
    times = [sample.at for one in siblings for sample in one.samples if sample.at <= window.end]
    within = [at for at in times if at >= window.start]
    if not within:
        return []
    before = [at for at in times if window.start - window.reach <= at < window.start]
    begin, end = max(before) if before else min(within), max(within)
    counted = []
    for one in siblings:
        events = _increase(one, begin, window, born=one.samples[0].at > begin or new)
        if events is not None:
            counted.append(Increase(one.labels, events, begin, end))
    return counted


def _increase(series: Series, begin: float, window: Window, *, born: bool) -> float | None:
    """From the sample at `begin`, or from 0 if it was `born` later; a drop is a new start from 0.

    One that the scrape at `begin` did not show, though an earlier one did, was dropped by its target for want of use
    (Envoy's stats eviction) and goes on from where it was, or, as what it shows then is less, from 0.
    """
    counted = [sample for sample in series.samples if begin <= sample.at <= window.end]
    if not counted or counted[-1].at < window.start:
        return None
    values = [sample.value for sample in counted]
    if born:
        values.insert(0, 0.0)
    elif counted[0].at > begin:
        values.insert(0, next(sample.value for sample in reversed(series.samples) if sample.at < begin))
    if any(math.isnan(value) for value in values):
        return math.nan
    return sum((after - before if after >= before else after) for before, after in pairwise(values))
