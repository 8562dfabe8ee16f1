"""What was sent against what the mesh counted at its entry, over the whole run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness import journal as log
from harness.experiment.context import Context
from harness.series import Missing, Series, Window, increases
from harness.slo import Matcher, Selector

ENTRY = Selector(
    "istio_requests_total",
    (
        Matcher("reporter", "=", "source"),
        Matcher("source_workload", "=~", ".*(ingress|gateway).*|.+-istio"),
    ),
)
"""The requests that gateways passed on or answered themselves: only they report as the source of somebody else's.

Istio's own gateway is the workload istio-ingressgateway; one that comes from a Gateway of the Kubernetes Gateway API is
named after it with -istio at the end.
"""

_REACH = 2.5  # intervals before the traffic in which the last scrape without it is looked for
_WAIT = 3.0  # intervals after the traffic in which a scrape has to show its end


def reconcile(context: Context, *, since: float) -> None:
    """Waits for a scrape of the entry after the traffic has ended, and writes down what the entry counted.

    `since` is when the traffic began (Unix seconds). Nothing is written in a mesh whose entry is no gateway, for
    nobody knows which counters are the entry's.
    """
    interval, ended = context.meter.interval, context.now()
    if interval is None:
        return
    while True:
        window = Window(since, context.now(), _REACH * interval)
        series = context.meter.series(ENTRY, window)
        if not series:
            return
        scraped = {one.labels.get("instance", ""): one.samples[-1].at for one in series if one.samples}
        if min(scraped.values()) >= ended or window.end > ended + _WAIT * interval:
            break
        context.wait()
    context.journal.write(_counted(context, series, window, interval))


@contextmanager
def watched(context: Context, phase: str) -> Iterator[None]:
    """A phase in which it is watched how much CPU the load generator uses."""
    before, since = context.traffic.cpu(), context.now()
    yield
    after, seconds = context.traffic.cpu(), context.now() - since
    if before is not None and after is not None and seconds >= 1.0:
        context.journal.write(log.LoadWatched(context.now(), phase, (after - before) / seconds))


def _counted(context: Context, series: Sequence[Series], window: Window, interval: float) -> log.EntryCounted:
    """Scrapes that failed or showed nothing yet are known from `up`, which Prometheus writes at each of them."""
    instances = {one.labels.get("instance", "") for one in series}
    ups = Selector("up", (Matcher("instance", "=~", "|".join(map(re.escape, sorted(instances)))),))
    scrapes = context.meter.series(ups, window)
    found = increases((*series, *scrapes), window)
    if isinstance(found, Missing):
        return log.EntryCounted(context.now(), None, missing=found.value)
    mine = [one for one in found if one.labels.get("__name__") != "up"]
    total = round(sum(one.events for one in mine))
    late = max((max(0.0, one.begin - window.start) for one in mine), default=0.0)
    early = max((window.end - one.end for one in mine), default=0.0)
    lost = late + (early if early > 2 * interval else 0.0)
    return log.EntryCounted(context.now(), total, math.ceil(lost * context.experiment.load.rate))
