"""How much traffic the verdicts of an experiment take, known before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from harness.experiment.model import Experiment
from harness.slo import SLO, Probe


@dataclass(frozen=True)
class Necessary:
    """The least number of events that HELD takes for an SLO, and the seconds in which the load sends as many requests.

    That is so when every event is good and every request makes one event of the SLO; failures, and requests that do
    not reach its service, make it more. `seconds` is None for an SLO that is probed, whose events are no requests;
    `decidable` says whether they fit into the time that is observed.
    """

    slo: SLO
    events: int
    seconds: float | None
    decidable: bool

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.slo.name}: at least {self.events:,} probes"
        text = f"{self.slo.name}: at least {self.events:,} events, {self.seconds:.1f} s of the load"
        return text if self.decidable else f"{text}, which is longer than it is observed: it cannot be HELD"


def necessary(experiment: Experiment) -> tuple[Necessary, ...]:
    """What each SLO of the hypothesis takes at the confidence of the experiment."""
    observed = min(experiment.observe, experiment.blast_radius.seconds)
    found = []
    for slo in experiment.hypothesis:
        events = slo.planned(experiment.confidence)
        seconds = None if isinstance(slo.sli, Probe) else events / experiment.load.rate
        found.append(Necessary(slo, events, seconds, seconds is None or seconds <= observed))
    return tuple(found)
