"""What the raw samples of counters say about each kind of indicator in a window. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.counts import Counts
from harness.errors import HarnessError
from harness.histogram import Histogram
from harness.series import Increase, Missing, Series, Window, count, increases
from harness.slo import Counter, Latency, Pair, Ratio, Throughput


def tally(sli: Counter, series: Sequence[Series], window: Window) -> Counts | Missing:
    """Good and all events of an indicator in the window; `series` are the samples of all its selectors."""
    match sli:
        case Ratio():
            return count(series, window, sli.is_good)
        case Pair():
            return _pair(sli, series, window)
        case Latency():
            found = histogram(series, window, unit=sli.unit)
            return found if isinstance(found, Missing) else found.within(sli.limit)
        case Throughput():
            return _throughput(sli, series, window)


def histogram(series: Iterable[Series], window: Window, *, unit: float) -> Histogram | Missing:
    """How long the events of the window took, in seconds; `unit` is how many of them one unit of a bound is.

    Raises HarnessError for series that are no buckets of a histogram.
    """
    found = increases(series, window)
    if isinstance(found, Missing):
        return found
    at_most: dict[float, float] = defaultdict(float)
    for one in found:
        try:
            at_most[float(one.labels["le"]) * unit] += one.events
        except (KeyError, ValueError) as error:
            raise HarnessError(
                f"{one.labels} is no bucket of a histogram: it has no bound in its label le; name its _bucket series."
            ) from error
    if math.inf not in at_most:
        return Missing.EMPTY
    return Histogram.cumulative({bound: round(events) for bound, events in at_most.items()})


def _pair(sli: Pair, series: Sequence[Series], window: Window) -> Counts | Missing:
    """Targets that are scraped at other moments than the others leave unsure what passed meanwhile."""
    found = increases(series, window)
    if isinstance(found, Missing):
        return found
    total = round(sum(one.events for one in found if sli.total.matches(one.labels)))
    good = round(sum(one.events for one in found if sli.good.matches(one.labels)))
    if not any(sli.total.matches(one.labels) for one in found):
        return Missing.EMPTY
    slack = _edges(found, total)
    least = min(max(0, good - slack), total)
    return Counts(least, total, min(good + slack, total) - least)


def _edges(found: Sequence[Increase], total: int) -> int:
    """The events that may have passed at one target while others were not counted any more, or not yet."""
    begin, end = min(one.begin for one in found), max(one.end for one in found)
    inner = min(one.end for one in found) - max(one.begin for one in found)
    outer = end - begin
    return math.ceil(total * (outer - inner) / outer) if outer > 0 else 0


def _throughput(sli: Throughput, series: Sequence[Series], window: Window) -> Counts | Missing:
    found = increases(series, window)
    if isinstance(found, Missing):
        return found
    seconds = max(one.end for one in found) - min(one.begin for one in found)
    good = round(sum(one.events for one in found if sli.is_good(one.labels)))
    offered = math.floor(sli.offered * seconds)
    return Counts(min(good, offered), offered)
