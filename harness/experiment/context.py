"""What the phases of one run share, and the two things that all of them do: count, and wait for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness import journal as log
from harness.assessment import Errors, Verdict, assess
from harness.counts import Counts
from harness.errors import HarnessError
from harness.experiment.meter import Meter
from harness.experiment.model import Experiment, Mesh, Watch
from harness.experiment.tenure import Tenure
from harness.experiment.witness import Witness
from harness.faults import Evidence, Pod, Scene, Target
from harness.histogram import Histogram
from harness.journal import Journal, Objective
from harness.load import Traffic
from harness.series import Missing, Window
from harness.slo import SLI, SLO, Probe

_SLICE = 0.2  # seconds between two looks at the kill switch

Taken = Mapping[SLI, Counts | Missing]
"""What was counted of each SLI in a window."""


def _still() -> None:
    """Nothing more has to be done while the fault is in force."""


@dataclass(frozen=True)
class Context:
    """One run, after its target was resolved.

    `beat` is called several times a second while the run waits: it does what is due of a fault that goes on.
    """

    experiment: Experiment
    mesh: Mesh
    journal: Journal
    watch: Watch
    meter: Meter
    scene: Scene
    evidence: Evidence
    traffic: Traffic
    tenure: Tenure
    beat: Callable[[], None] = _still
    witness: Witness = field(default_factory=Witness)

    @property
    def poll(self) -> float:
        """Seconds between two looks: one scrape, but at most 0.5 s: a breached guardrail reverts within a second."""
        return min(0.5, max(0.2, self.meter.interval or 0.2))

    def now(self) -> float:
        """The time by the clock of Prometheus (Unix seconds)."""
        return self.meter.now()

    def wait(self) -> None:
        """Lets one poll pass. Raises HarnessError when the run has to end: no traffic, or `Tenure.check`."""
        if failure := self.traffic.failure():
            raise HarnessError(f"No traffic: {failure}")
        until = time.monotonic() + self.poll
        self.tenure.check()
        self.beat()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
            self.tenure.check()
            self.beat()

    def count(self, phase: str, window: Window) -> Taken:
        """Counts hypothesis and guardrails, and writes the counts of the hypothesis to the journal."""
        taken = self.meter.take(self.experiment.indicators, window)
        at = self.now()
        for slo in self.experiment.hypothesis:
            self.journal.write(_counted(at, slo, phase, window, taken[slo.sli]))
            times = self.meter.times.get(slo.sli)
            if isinstance(times, Histogram):
                self.journal.write(log.Timed(at, slo.name, phase, times.bounds[:-1], times.counts))
            if isinstance(slo.sli, Probe):
                seen = self.meter.probes(slo.sli)
                self.journal.write(
                    log.Probed(
                        at, slo.name, phase, seen.refused, seen.answered, seen.unreachable, seen.forbidden
                    )
                )
        return taken

    def pods(self) -> tuple[Pod, ...]:
        """The pods of the target now, those on their way out included."""
        return self._pods(self.scene.target)

    def pods_ready(self) -> int:
        """How many pods of the target are ready now."""
        return _ready(self.pods())

    def strength(self, workloads: Target) -> tuple[int, int]:
        """How many pods some workloads have now, those on their way out included, and how many of them are ready."""
        pods = self._pods(workloads)
        return len(pods), _ready(pods)

    def _pods(self, workloads: Target) -> tuple[Pod, ...]:
        return self.mesh.cluster.pods(workloads.namespace, workloads.labels)


class History:
    """The growing counts of some SLOs in one phase, and what they say so far."""

    def __init__(self, slos: Sequence[SLO], experiment: Experiment) -> None:
        self._objectives = {slo: objective(slo, experiment.confidence) for slo in slos}
        self._counts: dict[SLO, list[Counts]] = {slo: [] for slo in slos}
        promised, guarded = (
            [objective(slo, experiment.confidence) for slo in every]
            for every in (experiment.hypothesis, experiment.guardrails)
        )
        self.errors = Errors.of(experiment.confidence, promised, guarded)
        """Which errors the verdicts may have."""

    def add(self, taken: Taken) -> None:
        """One more look; what could not be counted adds nothing."""
        for slo, counts in self._counts.items():
            if isinstance(found := taken[slo.sli], Counts):
                counts.append(found)

    def verdicts(self) -> dict[SLO, Verdict]:
        """What the counts say by now, as the judge will see it."""
        return {
            slo: assess(self._objectives[slo], counts, self.errors) for slo, counts in self._counts.items()
        }

    def done(self) -> float:
        """The fraction of the planned events that the slowest of the SLOs has counted."""
        parts = (
            (counts[-1].total if counts else 0) / self._objectives[slo].planned
            for slo, counts in self._counts.items()
        )
        return min(1.0, *parts, 1.0)


def objective(slo: SLO, confidence: float) -> Objective:
    """An SLO as the journal keeps it."""
    return Objective(slo.name, slo.at_least, slo.planned(confidence), slo.answers, slo.paced)


def live(slos: Sequence[SLO], taken: Taken) -> str:
    """The SLIs at the moment, as one line for people."""
    parts = []
    for slo in slos:
        found = taken[slo.sli]
        if isinstance(found, Missing):
            parts.append(f"{slo.name}: no data")
        elif found.total == 0:
            parts.append(f"{slo.name}: no events")
        else:
            parts.append(f"{slo.name} {found.good / found.total:.2%} of {found.total:,}")
    return ", ".join(parts)


@contextmanager
def phase(name: str, context: Context) -> Iterator[None]:
    """A phase of the run, in the journal and for the watch."""
    context.watch.phase(name)
    context.journal.write(log.PhaseStarted(context.now(), name))
    try:
        yield
    finally:
        context.journal.write(log.PhaseEnded(context.now(), name))


def _ready(pods: Sequence[Pod]) -> int:
    return sum(pod.ready and not pod.terminating for pod in pods)


def _counted(at: float, slo: SLO, name: str, window: Window, found: Counts | Missing) -> log.Counted:
    if isinstance(found, Missing):
        return log.Counted(at, slo.name, name, None, None, window.start, window.end, found.value)
    return log.Counted(
        at, slo.name, name, found.good, found.total, window.start, window.end, unsure=found.unsure
    )
