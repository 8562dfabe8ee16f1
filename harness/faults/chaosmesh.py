"""Faults of packets and of names, which Chaos Mesh makes where it is installed. Pure.

A fault is one object of Chaos Mesh (chaos-mesh.org/v1alpha1), whose selector names the pods of the target one by one,
so that it reaches no other. Three things end it: its deletion, on which Chaos Mesh first takes the fault back in
every pod; its own duration; and `harness heal`, which finds it by its label. The finalizer by which Chaos Mesh does
the first is in the object from the start: it would add it only after the creation, and an object that is deleted
before that may leave its fault behind (chaos-mesh/chaos-mesh `controllers/common/finalizers/controller.go`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from harness.changes import Change, Create, Manifest, ref_of
from harness.errors import HarnessError
from harness.faults.evidence import OnEach, Recorded
from harness.faults.fault import Fault, counted, made, need_percent
from harness.scene import Needs, Pod, Scene, Target

API: Final = "chaos-mesh.org/v1alpha1"
_FINALIZER: Final = "chaos-mesh/records"

INJECTS_WITHIN: Final = 15.0
"""Seconds: its controller tells its daemons on the nodes, and writes down what they say."""


@dataclass(frozen=True)
class _ByChaosMesh(Fault, ABC):
    """What all of them have in common.

    Attributes:
        lasting: seconds after which Chaos Mesh ends the fault by itself; not less than the blast radius allows.
    """

    kind: ClassVar[str] = "NetworkChaos"
    instead: ClassVar[str] = "Delay or Abort, which the sidecars do themselves"
    lasting: float = field(default=120.0, kw_only=True)

    @property
    def needs(self) -> Needs:
        """Whether the cluster has Chaos Mesh."""
        return Needs(kinds=((API, self.kind),))

    @property
    def ends(self) -> float:
        """When Chaos Mesh ends it."""
        return self.lasting

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One object of Chaos Mesh."""
        return (Create(self._manifest(scene)),)

    def evidence(self, scene: Scene) -> OnEach:
        """What Chaos Mesh says of each pod in the status of the object."""
        return OnEach(scene.pods, Recorded(ref_of(self._manifest(scene))), counted(scene), INJECTS_WITHIN)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Those of the target."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """All requests of the target, if the worst comes."""
        return 100.0

    def _manifest(self, scene: Scene) -> Manifest:
        if (API, self.kind) not in scene.kinds:
            raise HarnessError(
                f"{self} cannot be had at {scene.target}: the cluster knows no {self.kind} in {API}; "
                f"install Chaos Mesh, or use {self.instead}."
            )
        word = str(self).split(maxsplit=1)[0]
        return chaos(scene, self.kind, word, scene.pods, spec=self._spec(scene), seconds=self.lasting)

    @abstractmethod
    def _spec(self, scene: Scene) -> Manifest:
        """What is asked of Chaos Mesh, besides at which pods and for how long."""


@dataclass(frozen=True)
class PacketLoss(_ByChaosMesh):
    """Of the packets that leave the pods, `percent` are lost, independently of each other.

    TCP sends them again: at a few percent requests are slow rather than failing.

    Attributes:
        percent: of the packets.

    Raises:
        HarnessError: a number that cannot be.
    """

    percent: float

    def __post_init__(self) -> None:
        need_percent("Packet loss", self.percent, "the packets")
        _need_time(self, self.lasting, "last")

    def __str__(self) -> str:
        return f"loss of {self.percent:g}% of packets"

    def _spec(self, scene: Scene) -> Manifest:
        loss = {"loss": f"{self.percent:g}", "correlation": "0"}
        return {"action": "loss", "direction": "to", "loss": loss}


@dataclass(frozen=True)
class PacketDelay(_ByChaosMesh):
    """Every packet that leaves the pods waits for `seconds`, give or take `jitter`.

    A new connection waits several times: once for each packet of its handshakes.

    Attributes:
        seconds: the delay.
        jitter: by how many seconds it varies at most.

    Raises:
        HarnessError: a number that cannot be.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _need_time(self, self.seconds, "delay")
        _need_time(self, self.lasting, "last")
        if not 0 <= self.jitter <= self.seconds:
            raise HarnessError(f"{self} cannot vary by {self.jitter:g} s; choose 0 to {self.seconds:g}.")

    def __str__(self) -> str:
        jitter = f" ± {_span(self.jitter)}" if self.jitter else ""
        return f"delay of packets by {_span(self.seconds)}{jitter}"

    def _spec(self, scene: Scene) -> Manifest:
        delay = {"latency": _span(self.seconds), "jitter": _span(self.jitter), "correlation": "0"}
        return {"action": "delay", "direction": "to", "delay": delay}


@dataclass(frozen=True)
class Partition(_ByChaosMesh):
    """No packet passes between the target and another workload, in either direction, and nobody is told.

    Attributes:
        other: that workload; its pods count for the blast radius.

    Raises:
        HarnessError: a number that cannot be.
    """

    instead: ClassVar[str] = "Disconnect, which the sidecars do themselves"
    other: Target

    def __post_init__(self) -> None:
        _need_time(self, self.lasting, "last")

    def __str__(self) -> str:
        return f"partition from {self.other}"

    @property
    def needs(self) -> Needs:
        """Whether the cluster has Chaos Mesh, and the pods of the other workload."""
        return Needs((self.other,), kinds=((API, self.kind),))

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Those at both ends."""
        return (*scene.pods, *(pod for pod in scene.other(self.other).pods if pod not in scene.pods))

    def _spec(self, scene: Scene) -> Manifest:
        other = _selected(scene.other(self.other).pods)
        return {"action": "partition", "direction": "both", "target": other}


@dataclass(frozen=True)
class DnsFailure(_ByChaosMesh):
    """The programs of the pods cannot have names resolved.

    It takes the DNS server that comes with Chaos Mesh (`dnsServer.create`). A request to a host of the mesh is sent
    to its address by the sidecar, which has it from istiod: harm comes to what the program itself looks up first.

    Attributes:
        names: which names; `?` stands for one character, `*` at the end for any; none for all names.

    Raises:
        HarnessError: a number or a name that cannot be.
    """

    kind: ClassVar[str] = "DNSChaos"
    instead: ClassVar[str] = "Disconnect or Abort: the sidecars do not ask for the names of the mesh"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _need_time(self, self.lasting, "last")
        if odd := [name for name in self.names if not name or "*" in name[:-1]]:
            raise HarnessError(f"DNS failure cannot match {odd[0]!r}; a * has to be the last character.")

    def __str__(self) -> str:
        return f"dns failure of {', '.join(self.names) or 'all names'}"

    def _spec(self, scene: Scene) -> Manifest:
        return {"action": "error", **({"patterns": list(self.names)} if self.names else {})}


def chaos(
    scene: Scene, kind: str, word: str, pods: tuple[Pod, ...], *, spec: Manifest, seconds: float
) -> Manifest:
    """An object of Chaos Mesh.

    Args:
        scene: for which.
        kind: its kind.
        word: what it does; a part of its name.
        pods: exactly at these.
        spec: what is asked of Chaos Mesh, besides at which pods and for how long.
        seconds: after which Chaos Mesh ends it by itself.
    """
    whole = {**_selected(pods), **spec, "duration": _span(seconds)}
    manifest = made(scene, API, kind, (word,), whole)
    return {**manifest, "metadata": {**manifest["metadata"], "finalizers": [_FINALIZER]}}


def _selected(pods: tuple[Pod, ...]) -> dict[str, Any]:
    """A selector of exactly these pods."""
    names: dict[str, list[str]] = {}
    for pod in pods:
        names.setdefault(pod.namespace, []).append(pod.name)
    return {"mode": "all", "selector": {"namespaces": sorted(names), "pods": names}}


def _span(seconds: float) -> str:
    """A time as Go writes it: in whole milliseconds or, where that is not enough, microseconds."""
    micros = round(seconds * 1_000_000)
    return f"{micros}us" if micros % 1000 else f"{micros // 1000}ms"


def _need_time(fault: Fault, seconds: float, verb: str) -> None:
    if not 1e-6 <= seconds <= 86_400:
        raise HarnessError(f"{type(fault).__name__} cannot {verb} for {seconds:g} s; choose up to a day.")
