"""The nouns of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.caveats import Caveat
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.faults import BlastRadius, Fault, Scene, Target
from harness.load import Load
from harness.mutation import Guard, Guards
from harness.prometheus import Prometheus
from harness.slo import SLO


@dataclass(frozen=True)
class Mesh:
    """A mesh as the harness knows it: three addresses.

    `patience` is how many seconds its telemetry may take to show something that has happened: more than
    three times the interval at which Prometheus scrapes.
    """

    cluster: Cluster
    entry_url: str
    prometheus: Prometheus
    patience: float = 20.0


@dataclass(frozen=True)
class Experiment:
    """`hypothesis` holds while `fault` does its harm to `target` under `load`.

    The fault is refused when it reaches further than `blast_radius`, and reverted at once when one of the
    `guardrails` is violated. The mesh may take `mitigated_within` seconds from the injection until it copes, by
    ejecting pods for example; what happens before is not held against it. After the fault the pods of the target have
    to be ready and the traffic good again within `recover_within` seconds; that has to show in what `recovery` promises
    as well, which the fault may break meanwhile: pods that were ejected are asked again. It is observed until the
    verdict is certain, at most for `observe` seconds; pods that were taken and came back within them are watched for
    two scrapes more. `confidence` is that of both definite verdicts (see harness.verdict). `guards` names the policies
    that it is there for, or parts of them ("VirtualService shop/catalog spec.http[0].retries"), or says that it is
    there for none (); a run does not look at them, `harness mutate` does.
    Raises HarnessError for what cannot be.
    """

    hypothesis: Sequence[SLO]
    target: Target
    fault: Fault
    load: Load
    blast_radius: BlastRadius = field(default_factory=BlastRadius)
    guardrails: Sequence[SLO] = ()
    recover_within: float = 30.0
    observe: float = 30.0
    confidence: float = 0.99
    guards: Sequence[str] | None = None
    recovery: Sequence[SLO] = ()
    mitigated_within: float = 0.0

    def __post_init__(self) -> None:
        if any(isinstance(slos, SLO) for slos in (self.hypothesis, self.guardrails, self.recovery)):
            raise HarnessError(
                "hypothesis, guardrails and recovery are lists of SLOs; write hypothesis=[...]."
            )
        names = [slo.name for slo in (*self.hypothesis, *self.recovery)]
        if not self.hypothesis:
            raise HarnessError("The experiment has no hypothesis; name at least one SLO that has to hold.")
        if len(set(names)) < len(names):
            raise HarnessError(
                f"Two SLOs of hypothesis and recovery have the same name: {', '.join(names)}; rename one."
            )
        if not 0.5 < self.confidence < 1.0:
            raise HarnessError(f"The confidence is {self.confidence}; give a fraction above 0.5 and below 1.")
        if self.observe <= 0 or self.recover_within <= 0 or self.mitigated_within < 0:
            raise HarnessError(
                "observe and recover_within have to be more than 0 seconds, mitigated_within 0 or more."
            )
        if isinstance(self.guards, str):
            raise HarnessError("guards is a list of policies; write guards=[...].")
        _ = self.guarded

    @property
    def guarded(self) -> Guards:
        """The policies that it declares to guard; a name without a namespace is in that of the target."""
        return tuple(Guard.read(text, self.target.namespace) for text in self.guards or ())

    @property
    def indicators(self) -> tuple[SLO, ...]:
        """Everything that is counted: the hypothesis, the guardrails, and what the recovery promises."""
        return (*self.hypothesis, *self.guardrails, *self.recovery)


class Preflight(Protocol):
    """Whoever looks before a run at what it cannot prove (see harness.preflight)."""

    def __call__(
        self, experiment: Experiment, mesh: Mesh, scene: Scene, *, expects_held: bool = True
    ) -> Sequence[Caveat]:
        """The caveats of an experiment on a resolved target. Raises HarnessError when it cannot look."""
        ...


class Watch(Protocol):
    """Whoever wants to see a run while it happens."""

    def phase(self, name: str) -> None:
        """A phase begins."""
        ...

    def progress(self, done: float, text: str) -> None:
        """The fraction of the phase that is done, and what is seen at the moment."""
        ...


class Quiet:
    """A watch that says nothing."""

    def phase(self, name: str) -> None:
        """Nothing."""

    def progress(self, done: float, text: str) -> None:
        """Nothing."""
