"""Counting the events of SLIs in windows: from Prometheus, and by probing pods."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import clock
from harness.cluster import Plaintext
from harness.counts import Counts
from harness.experiment.model import Mesh
from harness.faults import OnEach, Pod, Recurring, Replaced, Restarted, Scaled, Share
from harness.histogram import Histogram
from harness.prometheus import offset, scrape_interval
from harness.series import Missing, Series, Window, count, risen, silent
from harness.slo import SLI, SLO, Latency, Matcher, Probe, Ratio, Selector, flagged
from harness.tally import histogram, tally

_SILENT = 3.5  # intervals without a sample after which a target counts as not scraped any more
_LEAD = 300.0  # longer than the gaps that a restart of Prometheus or a failing scrape leaves
_ISTIO_REQUESTS = "istio_requests_total"


@dataclass(frozen=True)
class Probes:
    """Plaintext connections so far, by what became of them."""

    refused: int = 0
    answered: int = 0
    forbidden: int = 0
    unreachable: int = 0

    def add(self, result: Plaintext) -> Probes:
        """These and one more."""
        return Probes(
            self.refused + (result is Plaintext.REFUSED),
            self.answered + (result is Plaintext.ANSWERED),
            self.forbidden + (result is Plaintext.FORBIDDEN),
            self.unreachable + (result is Plaintext.UNREACHABLE),
        )


class Meter:
    """Counts events of SLIs, by the clock of Prometheus. Every method may raise PrometheusUnavailable."""

    def __init__(self, mesh: Mesh, namespace: str) -> None:
        """`namespace` is the one of the target: the pods that count there are looked for when they fall silent."""
        self._mesh = mesh
        self._namespace = namespace
        self._offset = offset(mesh.prometheus)
        self._probes: dict[SLI, Probes] = {}
        self.interval: float | None = None
        self.times: dict[SLI, Histogram | Missing] = {}
        """How long the events of each latency took in the window that was taken last, in seconds."""

    def now(self) -> float:
        """The time by the clock of Prometheus (Unix seconds)."""
        return clock.now() + self._offset

    def begin(self) -> None:
        """Forgets the probes made so far: what is counted from now on is another phase."""
        self._probes.clear()

    def take(self, slos: Iterable[SLO], window: Window) -> dict[SLI, Counts | Missing]:
        """The events of each SLI in the window; probes are made now and add up since `begin`."""
        read: dict[Selector, tuple[Series, ...]] = {}
        counted: dict[SLI, Counts | Missing] = {}
        for sli in dict.fromkeys(slo.sli for slo in slos):
            if isinstance(sli, Probe):
                counted[sli] = self._probe(sli)
                continue
            for selector in sli.selectors:
                if selector not in read:
                    read[selector] = self.series(selector, window)
            found = (one for selector in sli.selectors for one in read[selector])
            series = tuple(
                {frozenset(one.labels.items()): one for one in found}.values()
            )  # none of them twice
            counted[sli] = self._incomplete(series, window) or tally(sli, series, window)
            if isinstance(sli, Latency):
                self.times[sli] = histogram(series, window, unit=sli.unit)
        return counted

    def _incomplete(self, series: Sequence[Series], window: Window) -> Missing | None:
        """Why samples are missing at the end of the window: nothing is scraped, or not every pod that is there.

        Targets that went silent in the window are harmless when their pods went, too.
        """
        patience = 1.0 + _SILENT * (self.interval or math.inf)
        lately = [one for one in series if one.samples and one.samples[-1].at >= window.start]
        quiet = silent(lately, window.end - patience)
        if not quiet:
            return None
        if len(quiet) == len(silent(lately, math.inf)):
            return Missing.STALE
        pods = self._mesh.cluster.pods(self._namespace, {})
        there = [pod for pod in pods if pod.ready and not pod.terminating]
        return Missing.PARTIAL if any(is_pod(labels, pod) for labels in quiet for pod in there) else None

    def probes(self, sli: Probe) -> Probes:
        """The plaintext connections since `begin`."""
        return self._probes.get(sli, Probes())

    def share(self, evidence: Share, windows: Iterable[Window]) -> tuple[Counts | Missing, ...]:
        """In each of the windows, all requests of the target, and as good ones those that the fault hit."""
        every = tuple(windows)
        span = Window(min(window.start for window in every), max(window.end for window in every))
        hit = Selector.equal(_ISTIO_REQUESTS, evidence.selector_hit)
        sli = Ratio(
            "hit",
            Selector.equal(_ISTIO_REQUESTS, evidence.selector_all),
            (*hit.matchers, *_flagged(evidence)),
        )
        series = self.series(sli.total, span)
        return tuple(count(series, window, sli.is_good) for window in every)

    def elsewhere(self, evidence: Share, window: Window) -> frozenset[str]:
        """The workloads outside the target at which the mark of the fault was counted in the window.

        Where the target is known by the caller's count, they are the Services called.
        """
        selector = marked(evidence)
        return outside(evidence, self.series(selector, window), window) if selector else frozenset()

    def requests(
        self, evidence: Replaced | Recurring | Restarted | Scaled | OnEach, window: Window
    ) -> Counts | Missing:
        """The requests of the target in the window."""
        selector = Selector.equal(_ISTIO_REQUESTS, evidence.selector_all)
        return count(self.series(selector, window), window, lambda _: True)

    def unscraped(self, pods: Iterable[Pod], window: Window) -> tuple[str, ...]:
        """The names of the pods with a sidecar that Prometheus does not scrape, though it scrapes others of them.

        Empty when its targets carry other addresses than the pods', for then nobody can tell.
        """
        sidecars = [pod for pod in pods if pod.sidecar and pod.ip]
        addresses = "|".join(re.escape(pod.ip) for pod in sidecars)
        ups = Selector("up", (Matcher("instance", "=~", f"({addresses})(:.+)?"),))
        found = self.series(ups, window) if sidecars else ()
        scraped = [one.labels for one in found if one.samples[-1].value == 1.0]
        missing = tuple(pod.name for pod in sidecars if not any(is_pod(labels, pod) for labels in scraped))
        return missing if len(missing) < len(sidecars) else ()

    def learn_interval(self, slos: Iterable[SLO], window: Window) -> float | None:
        """Finds out how often Prometheus scrapes, in seconds; None while too few scrapes were seen.

        Without an SLI that is counted from Prometheus there is nothing to wait for: 1 s.
        """
        selectors = [slo.sli.selectors[0] for slo in slos if not isinstance(slo.sli, Probe)]
        if selectors:
            self.interval = scrape_interval(self.series(selectors[0], window), window)
        else:
            self.interval = 1.0
        return self.interval

    def series(self, selector: Selector, window: Window) -> tuple[Series, ...]:
        """The samples of the window and enough before it to tell a new target from a gap in the scrapes."""
        lead = max(_LEAD, 4 * (self.interval or 0.0))
        return self._mesh.prometheus.series(selector, seconds=window.end - window.start + lead, at=window.end)

    def _probe(self, sli: Probe) -> Counts:
        probes = self.probes(sli)
        for pod in self._mesh.cluster.pods(sli.workloads.namespace, sli.workloads.labels):
            if pod.ready and not pod.terminating:
                probes = probes.add(self._mesh.cluster.plaintext(pod, sli.port))
        self._probes[sli] = probes
        good = probes.refused if sli.wanted == "refused" else probes.answered
        return Counts(good, probes.refused + probes.answered + probes.forbidden)


def marked(evidence: Share) -> Selector | None:
    """The series that carry the mark of a fault, wherever they were counted; None when the fault has no place."""
    places = _places(evidence)
    if not places:
        return None
    labels = {name: value for name, value in evidence.selector_hit.items() if name not in places}
    selector = Selector.equal(_ISTIO_REQUESTS, labels)
    return replace(selector, matchers=(*selector.matchers, *_flagged(evidence)))


def outside(evidence: Share, series: Iterable[Series], window: Window) -> frozenset[str]:
    """The workloads other than the target at which one of the series has counted something in the window."""
    places = _places(evidence)
    found = set()
    for one in series:
        here = {name: one.labels.get(name, "") for name in places}
        if here != places and risen(one, window):
            found.add("/".join(filter(None, here.values())) or "an unknown workload")
    return frozenset(found)


def _places(evidence: Share) -> dict[str, str]:
    """The labels by which the target is known."""
    return {name: value for name, value in evidence.selector_all.items() if name.startswith("destination_")}


def is_pod(labels: Mapping[str, str], pod: Pod) -> bool:
    """Whether a scrape target with these labels is a pod: by its address, or by its name (label pod)."""
    if labels.get("namespace", pod.namespace) != pod.namespace:
        return False
    return labels.get("pod") == pod.name or labels.get("instance", "").rpartition(":")[0] == pod.ip


def _flagged(evidence: Share) -> tuple[Matcher, ...]:
    """One of the flags is among those of the response."""
    return (flagged(evidence.flags),) if evidence.flags else ()
