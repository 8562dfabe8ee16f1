"""Faults of the control plane: istiod is gone, or it is given something, good or bad. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.changes import Change, Create, Manifest, Patch
from harness.errors import HarnessError
from harness.faults.evidence import Scaled, Share
from harness.faults.fault import Fault, counted
from harness.faults.workloads import scaled
from harness.scene import Needs, Pod, Scene, Target

_MISROUTED = ("NR", "NC")  # no route, no cluster


@dataclass(frozen=True)
class ControlPlaneOutage(Fault):
    """istiod has no pod until the revert: configuration is frozen, and certificates are not renewed.

    The target is the workload whose promises are watched meanwhile; none of its pods is touched. The blast radius
    has to name the namespace of the control plane, which is protected otherwise.

    Attributes:
        app: the label app of istiod's pods.
        namespace: where they are.
    """

    app: str = "istiod"
    namespace: str = "istio-system"

    def __str__(self) -> str:
        return "control plane outage"

    @property
    def needs(self) -> Needs:
        """Istiod's pods and the Deployments behind them."""
        return Needs((Target(self.app, self.namespace),), deployments=True)

    @property
    def enters(self) -> tuple[str, ...]:
        """The namespace of the control plane."""
        return (self.namespace,)

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """Istiod's Deployments get no replicas."""
        return scaled(self, scene.other(Target(self.app, self.namespace)), 0)

    def evidence(self, scene: Scene) -> Scaled:
        """Istiod's pods are gone and do not come back."""
        istiod = scene.other(Target(self.app, self.namespace))
        return Scaled(istiod.target, len(istiod.pods), 0)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Istiod's."""
        return scene.other(Target(self.app, self.namespace)).pods

    def harm(self, scene: Scene) -> float:
        """Nothing of the target itself."""
        return 0.0


@dataclass(frozen=True)
class BadConfig(Fault):
    """A broken object is pushed, as by a bad merge, and taken back on revert.

    The cluster may refuse it: then nothing was changed, the refusal is the evidence, and the hypothesis has to hold
    under it. When it is admitted, requests of callers have to fail for want of a route or a cluster (flags NR, NC).

    Attributes:
        change: the object to create, as a manifest, or the Patch of one that exists.

    Raises:
        HarnessError: the manifest has no apiVersion, kind or name.
    """

    change: Manifest | Patch = field(hash=False)

    def __post_init__(self) -> None:
        self._change.ref  # noqa: B018 - reading it raises for what is no manifest

    def __str__(self) -> str:
        return f"bad {self._change.ref.kind} {self._change.ref.name}"

    @property
    def refusable(self) -> bool:
        """Yes."""
        return True

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """The one that was given; it says in its labels whose it is."""
        change = self._change
        if isinstance(change, Patch):
            return (change,)
        meta = change.manifest["metadata"]
        ours = {"app.kubernetes.io/managed-by": "harness", "harness.mesh/run": scene.run}
        labels: Mapping[str, str] = {**(meta.get("labels") or {}), **ours}
        return (Create({**change.manifest, "metadata": {**meta, "labels": labels}}),)

    def evidence(self, scene: Scene) -> Share:
        """The callers' own count: a request that finds no route or no cluster never leaves its sidecar."""
        every = {"reporter": "source"}
        return Share(every, every, 100.0, flags=_MISROUTED, partial=True)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Those of the target: nobody reaches them if the worst comes."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """All requests, if the worst comes."""
        return 100.0

    @property
    def _change(self) -> Create | Patch:
        return self.change if isinstance(self.change, Patch) else Create(self.change)


@dataclass(frozen=True)
class Push(Fault):
    """A good configuration is pushed while there is traffic, and taken back on revert: a switch, a move of weights.

    Attributes:
        change: the Patch of an object that exists.
        shows: labels (compared for equality) of `istio_requests_total` that the target's own count of its requests
            carries once the change is in force, and did not all carry before.
        percent: how many of the requests of the target carry them then.

    Raises:
        HarnessError: `shows` names nothing, so nobody could see it, or `percent` is not above 0 and up to 100.
    """

    change: Patch = field(hash=False)
    shows: Mapping[str, str] = field(hash=False)
    percent: float = 100.0

    def __post_init__(self) -> None:
        if not self.shows or not 0 < self.percent <= 100:
            raise HarnessError(
                f"{self} could not be seen: give labels that requests carry then, and a percent above 0 and up to 100."
            )

    def __str__(self) -> str:
        return f"push {self.change.ref.kind} {self.change.ref.name}"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """The one that was given."""
        return (self.change,)

    def evidence(self, scene: Scene) -> Share:
        """The target's own count of its requests."""
        every = counted(scene)
        return Share({**every, **self.shows}, every, self.percent)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Those of the target."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """All requests, if it was not as good as was thought."""
        return 100.0
