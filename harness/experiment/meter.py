"""Counting the events of SLIs in windows: from Prometheus, and by probing pods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from harness import clock
from harness.cluster import Plaintext
from harness.counts import Counts
from harness.experiment.model import Mesh
from harness.faults import OnEach, Recurring, Replaced, Restarted, Scaled, Share
from harness.prometheus import offset, scrape_interval
from harness.series import Missing, Series, Window, count, risen
from harness.slo import SLI, SLO, Matcher, Probe, Ratio, Selector

_LEAD = 300.0  # longer than the gaps that a restart of Prometheus or a failing scrape leaves
_ISTIO_REQUESTS = "istio_requests_total"


@dataclass(frozen=True)
class Probes:
    """Plaintext connections so far, by what became of them."""

    refused: int = 0
    answered: int = 0
    unreachable: int = 0

    def add(self, result: Plaintext) -> Probes:
        """These and one more."""
        return Probes(
            self.refused + (result is Plaintext.REFUSED),
            self.answered + (result is Plaintext.ANSWERED),
            self.unreachable + (result is Plaintext.UNREACHABLE),
        )


class Meter:
    """Counts events of SLIs, by the clock of Prometheus. Every method may raise PrometheusUnavailable."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._offset = offset(mesh.prometheus)
        self._probes: dict[SLI, Probes] = {}
        self.interval: float | None = None

    def now(self) -> float:
        """The time by the clock of Prometheus (Unix seconds)."""
        return clock.now() + self._offset

    def begin(self) -> None:
        """Forgets the probes made so far: what is counted from now on is another phase."""
        self._probes.clear()

    def take(self, slos: Iterable[SLO], window: Window) -> dict[SLI, Counts | Missing]:
        """The events of each SLI in the window; probes are made now and add up since `begin`."""
        series: dict[Selector, tuple[Series, ...]] = {}
        counted: dict[SLI, Counts | Missing] = {}
        for sli in dict.fromkeys(slo.sli for slo in slos):
            if isinstance(sli, Probe):
                counted[sli] = self._probe(sli)
                continue
            if sli.total not in series:
                series[sli.total] = self._series(sli.total, window)
            counted[sli] = count(series[sli.total], window, sli.is_good)
        return counted

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
        series = self._series(sli.total, span)
        return tuple(count(series, window, sli.is_good) for window in every)

    def elsewhere(self, evidence: Share, window: Window) -> frozenset[str]:
        """The workloads outside the target at which the mark of the fault was counted in the window.

        Where the target is known by the caller's count, they are the Services called.
        """
        selector = marked(evidence)
        return outside(evidence, self._series(selector, window), window) if selector else frozenset()

    def requests(
        self, evidence: Replaced | Recurring | Restarted | Scaled | OnEach, window: Window
    ) -> Counts | Missing:
        """The requests of the target in the window."""
        selector = Selector.equal(_ISTIO_REQUESTS, evidence.selector_all)
        return count(self._series(selector, window), window, lambda _: True)

    def learn_interval(self, slos: Iterable[SLO], window: Window) -> float | None:
        """Finds out how often Prometheus scrapes, in seconds; None while too few scrapes were seen.

        Without an SLI that is counted from Prometheus there is nothing to wait for: 1 s.
        """
        selectors = [slo.sli.total for slo in slos if isinstance(slo.sli, Ratio)]
        if selectors:
            self.interval = scrape_interval(self._series(selectors[0], window), window)
        else:
            self.interval = 1.0
        return self.interval

    def _series(self, selector: Selector, window: Window) -> tuple[Series, ...]:
        """The samples of the window and enough before it to tell a new target from a gap in the scrapes."""
        lead = max(_LEAD, 4 * (self.interval or 0.0))
        return self._mesh.prometheus.series(selector, seconds=window.end - window.start + lead, at=window.end)

    def _probe(self, sli: Probe) -> Counts:
        probes = self.probes(sli)
        for pod in self._mesh.cluster.pods(sli.workloads.namespace, sli.workloads.labels):
            if pod.ready and not pod.terminating:
                probes = probes.add(self._mesh.cluster.plaintext(pod, sli.port))
        self._probes[sli] = probes
        return Counts(probes.refused, probes.refused + probes.answered)


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


def _flagged(evidence: Share) -> tuple[Matcher, ...]:
    """One of the flags is among those of the response."""
    if not evidence.flags:
        return ()
    return (Matcher("response_flags", "=~", f"(.*,)?({'|'.join(evidence.flags)})(,.*)?"),)
