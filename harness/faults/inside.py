"""Faults inside a pod: its proxy dies, or it is short of processor time or memory. Pure.

An ephemeral container needs no rights on the node, and no image but its own. Kubernetes has no way to take one out of a
pod again: it stays listed in the pod's spec until the pod goes, so its program has to end by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.changes import Attach, Change, Create, Manifest, ref_of
from harness.errors import HarnessError
from harness.faults.chaosmesh import API, INJECTS_WITHIN, chaos
from harness.faults.evidence import OnEach, Recorded, Restarted, Running
from harness.faults.fault import Fault, counted, need_sidecars
from harness.faults.pods import amount, chosen, need_choice
from harness.scene import PROXY, Needs, Pod, Scene

_STRESS = (API, "StressChaos")
_QUIT_WITHIN = 15.0  # seconds; the request itself takes milliseconds
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsGroup": 1337,
    "runAsNonRoot": True,
    "runAsUser": 1337,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the Pod Security Standard "restricted" asks for; 1337 is the user of Istio's proxy, whose own requests its
iptables rules do not redirect."""


class _Inside(Fault):
    count: int
    percent: float | None

    @property
    def needs(self) -> Needs:
        """Whether ephemeral containers can be had."""
        return Needs(attaching=True)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The same pods for the same seed; HarnessError when the target has fewer."""
        return chosen(self, scene, self.count, self.percent)

    def harm(self, scene: Scene) -> float:
        """The percentage of the pods that it is done to."""
        return 100 * len(self.pods(scene)) / len(scene.pods)


@dataclass(frozen=True)
class ProxyKill(_Inside):
    """The sidecars of `count` pods, or of `percent` of them, chosen by the seed of the run, end; the programs live.

    An ephemeral container with the proxy's own image, which the node has already, asks Envoy to exit as
    `pilot-agent request POST quitquitquit` does. It has to be asked from within the pod: Envoy's admin interface and
    the agent's own door listen to localhost only (istio/istio `pilot/cmd/pilot-agent`, `app/request.go` and
    `status/server.go`). With its Envoy the agent ends as well (`pkg/envoy/agent.go`, `Agent.Run`, first way), and
    the kubelet starts the container again, after a back-off if it has ended before.

    Raises:
        HarnessError: `count` is below 1 or `percent` not above 0 and up to 100.
    """

    count: int = 1
    percent: float | None = None

    def __post_init__(self) -> None:
        need_choice("ProxyKill", self.count, self.percent)

    def __str__(self) -> str:
        return f"kill the proxy of {amount(self.count, self.percent)}"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One ephemeral container in each pod, all of which need sidecars."""
        need_sidecars(self, scene)
        _need_attaching(self, scene)
        counted(scene)
        asked = ["request", "POST", "quitquitquit"]
        name = _name(scene, "proxy-kill")
        return tuple(
            Attach(pod.ref, _container(name, pod.proxy_image, asked), _QUIT_WITHIN)
            for pod in self.pods(scene)
        )

    def evidence(self, scene: Scene) -> Restarted:
        """The restart count of the proxy has risen, that of the programs has not."""
        before = {pod.uid: dict(pod.restarts) for pod in self.pods(scene)}
        return Restarted(PROXY, before, counted(scene))


@dataclass(frozen=True)
class Stress(_Inside):
    """stress-ng runs in `count` pods, or in `percent` of them, chosen by the seed of the run, for `seconds`.

    Where the cluster has Chaos Mesh, an object of its kind StressChaos makes it: stress-ng runs in the control group
    of the first container that is not the sidecar's, held by its limits, and is gone at the revert.

    Elsewhere it is an ephemeral container. That has no limits of its own, so it is held by those of the pod as a
    whole, if it has any, and otherwise takes from the node. Nobody can end it before its time: the revert waits for
    that, and a guardrail that is breached stops the run, but the stress lasts for as long as was asked. So `seconds`
    has to be within those of the blast radius.

    Attributes:
        cpu: workers that use up processor time, each of them up to one processor.
        load: how busy each of them is, in percent.
        memory_mib: how much memory is held besides, in MiB.
        seconds: for how long, a whole number; the observation has to fit in.
        count: how many pods.
        percent: how many pods, in percent, in place of `count`.
        image: of the ephemeral container, whose entry point is stress-ng.

    Raises:
        HarnessError: it would do nothing, or not end.
    """

    cpu: int = 1
    load: int = 100
    memory_mib: int = 0
    seconds: int = 30
    count: int = 1
    percent: float | None = None
    image: str = "alexeiled/stress-ng:latest"

    def __post_init__(self) -> None:
        if self.cpu < 0 or self.memory_mib < 0 or not (self.cpu or self.memory_mib):
            raise HarnessError(f"{self!r} does nothing; give it processors or memory.")
        if not 1 <= self.load <= 100 or self.seconds < 1:
            raise HarnessError(f"{self!r} cannot be; choose a load of 1 to 100 % and 1 s or more.")
        need_choice("Stress", self.count, self.percent)

    def __str__(self) -> str:
        busy = f" cpu {self.cpu}x{self.load}%" if self.cpu else ""
        held = f" memory {self.memory_mib} MiB" if self.memory_mib else ""
        return f"stress{busy}{held} in {amount(self.count, self.percent)}"

    @property
    def needs(self) -> Needs:
        """Whether the cluster has Chaos Mesh, and whether ephemeral containers can be had."""
        return Needs(attaching=True, kinds=(_STRESS,))

    @property
    def lasts(self) -> float:
        """As long as was asked."""
        return float(self.seconds)

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One object of Chaos Mesh, or one ephemeral container in each pod."""
        if _STRESS in scene.kinds:
            return (Create(self._chaos(scene)),)
        _need_attaching(self, scene)
        cpu = ["--cpu", str(self.cpu), "--cpu-load", str(self.load)] if self.cpu else []
        memory = ["--vm", "1", "--vm-bytes", f"{self.memory_mib}M", "--vm-keep"] if self.memory_mib else []
        container = _container(
            _name(scene, "stress"), self.image, [*cpu, *memory, "--timeout", f"{self.seconds}s"]
        )
        return tuple(Attach(pod.ref, container, float(self.seconds)) for pod in self.pods(scene))

    def evidence(self, scene: Scene) -> OnEach:
        """Chaos Mesh says that it has injected each of the pods, or the container runs in it."""
        if _STRESS in scene.kinds:
            witness = Recorded(ref_of(self._chaos(scene)))
            return OnEach(self.pods(scene), witness, within=INJECTS_WITHIN)
        return OnEach(self.pods(scene), Running(_name(scene, "stress")))

    def _chaos(self, scene: Scene) -> Manifest:
        cpu = {"cpu": {"workers": self.cpu, "load": self.load}} if self.cpu else {}
        memory = {"memory": {"workers": 1, "size": f"{self.memory_mib}MiB"}} if self.memory_mib else {}
        pods = self.pods(scene)
        # unless it is named, Chaos Mesh takes the first container, which may be the sidecar's
        programs = sorted({pod.program for pod in pods if pod.program})
        named = {"containerNames": programs} if programs else {}
        spec = {**named, "stressors": {**cpu, **memory}}
        return chaos(scene, _STRESS[1], "stress", pods, spec=spec, seconds=self.seconds)


def _need_attaching(fault: Fault, scene: Scene) -> None:
    """Lets a fault pass where ephemeral containers can be put into pods.

    Raises:
        HarnessError: the cluster does not let that be done.
    """
    if not scene.attaching:
        instead = ", or install Chaos Mesh" if _STRESS in fault.needs.kinds else ""
        raise HarnessError(
            f"{fault} cannot be had at {scene.target}: the cluster has no ephemeral containers "
            f"(pods/ephemeralcontainers is not in its API); it takes Kubernetes 1.25{instead}."
        )


def _name(scene: Scene, what: str) -> str:
    """A DNS label that says whose it is."""
    return "harness-" + re.sub(r"[^a-z0-9]+", "-", f"{scene.run}-{what}".lower()).strip("-")


def _container(name: str, image: str, args: Sequence[str]) -> Manifest:
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "args": list(args),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": dict(_RESTRICTED),
    }
    return container
