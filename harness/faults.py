"""Faults: values that turn the pods of a target into changes, and name the evidence that rises only when they bite.

Everything here is pure. `Nothing()` is the null object: a run without a fault takes no other way than one with it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from harness.changes import Change, Create, Delete, Ref
from harness.errors import HarnessError
from harness.scene import Pod, Scene, Target

__all__ = [
    "PROTECTED",
    "Abort",
    "BlastRadius",
    "Evidence",
    "Fault",
    "NoEvidence",
    "Nothing",
    "Pod",
    "PodKill",
    "Replaced",
    "Scene",
    "Share",
    "Target",
]

PROTECTED: Final = ("istio-system", "kube-system")
"""Namespaces that no fault may touch: without them there is no mesh to learn about."""


@dataclass(frozen=True)
class Share:
    """Of the requests counted under `selector_all`, `percent` are also counted under `selector_hit`.

    Both are labels (compared for equality) of `istio_requests_total`.
    """

    momentary: ClassVar[bool] = False
    selector_hit: Mapping[str, str]
    selector_all: Mapping[str, str]
    percent: float


@dataclass(frozen=True)
class Replaced:
    """The pods with these UIDs are gone, and the target had requests to lose before it.

    Its requests are counted under `selector_all`, labels (compared for equality) of `istio_requests_total`.
    """

    momentary: ClassVar[bool] = True
    uids: tuple[str, ...]
    selector_all: Mapping[str, str]


@dataclass(frozen=True)
class NoEvidence:
    """Nothing was done, so there is nothing to see."""

    momentary: ClassVar[bool] = False


Evidence = Share | Replaced | NoEvidence
"""`momentary` is True when the harm is done at the moment of injection, False when it lasts until the revert."""


class Fault(Protocol):
    """A fault: a frozen value with a short and stable `str()`; all its methods are pure."""

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """What has to be changed in the cluster for the fault to be in force.

        Raises:
            HarnessError: it could not bite in this scene.
        """
        ...

    def evidence(self, scene: Scene) -> Evidence:
        """What can be seen only if the fault bites."""
        ...

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The pods it touches: what the blast radius counts."""
        ...

    def harm(self, scene: Scene) -> float:
        """How much of the target it takes away at most, in percent of the requests or of the pods."""
        ...


@dataclass(frozen=True)
class Abort:
    """`percent` of the requests are answered with `status` at the callee's inbound listener.

    That is behind the caller's router, so the caller's retries, timeouts and ejection see it; the `fault` of a
    VirtualService acts before the router, where none of them does (Envoy: the fault filter precedes the router).

    Raises:
        HarnessError: `status` is not within 200-599 (Envoy's FaultAbort.http_status) or `percent` not within 0-100.
    """

    status: int
    percent: float

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise HarnessError(f"Abort cannot answer with status {self.status}; choose one from 200 to 599.")
        if not 0 <= self.percent <= 100:
            raise HarnessError(f"Abort cannot hit {self.percent:g} % of the requests; choose 0 to 100.")

    def __str__(self) -> str:
        return f"abort {self.status} {self.percent:g}%"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One EnvoyFilter beside the target; every pod of the scene needs a sidecar for it to bite."""
        bare = sorted(pod.name for pod in scene.pods if not pod.sidecar)
        if bare:
            raise HarnessError(
                f"{self} cannot bite at {scene.target}: no sidecar in {', '.join(bare)}; "
                f"enable injection in namespace {scene.target.namespace} and restart these pods."
            )
        _reported(scene)
        slug = re.sub(r"[^a-z0-9]+", "-", f"{scene.run}-abort-{self.status}-{scene.target.app}".lower())
        manifest = {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {
                "name": f"harness-{slug}".strip("-"),
                "namespace": scene.target.namespace,
                "labels": {"app.kubernetes.io/managed-by": "harness", "harness.mesh/run": scene.run},
            },
            "spec": {
                "workloadSelector": {"labels": dict(scene.target.labels)},
                "configPatches": [_inbound_filter("envoy.filters.http.fault", self._config())],
            },
        }
        return (Create(manifest),)

    def evidence(self, scene: Scene) -> Share:
        """The callee's own count: Envoy flags what its fault filter answered with FI."""
        all_requests = _reported(scene)
        hit = {**all_requests, "response_flags": "FI", "response_code": str(self.status)}
        return Share(hit, all_requests, self.percent)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """All: the filter is in every sidecar of the target."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """The percentage of requests it answers."""
        return self.percent

    def _config(self) -> dict[str, Any]:
        return {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": {
                "http_status": self.status,
                "percentage": {"numerator": round(self.percent * 10_000), "denominator": "MILLION"},
            },
        }


@dataclass(frozen=True)
class PodKill:
    """`count` pods, chosen by the seed of the run, are deleted with `grace_seconds` to end.

    Raises:
        HarnessError: `count` is below 1 or `grace_seconds` below 0.
    """

    count: int = 1
    grace_seconds: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.grace_seconds < 0:
            raise HarnessError(
                f"PodKill(count={self.count}, grace_seconds={self.grace_seconds}) kills nothing; "
                "choose a count of 1 or more and a grace period of 0 s or more."
            )

    def __str__(self) -> str:
        return f"kill {self.count} pod{'s' if self.count > 1 else ''}"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One Delete for each pod."""
        return tuple(Delete(pod.ref, self.grace_seconds) for pod in self.pods(scene))

    def evidence(self, scene: Scene) -> Replaced:
        """New UIDs, for a pod of the same name would prove nothing, and the callee's own count of requests."""
        return Replaced(tuple(pod.uid for pod in self.pods(scene)), _reported(scene))

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The same pods for the same seed; HarnessError when the target has fewer."""
        if self.count > len(scene.pods):
            raise HarnessError(
                f"{scene.target} has only {len(scene.pods)} ready pods; it is asked to {self}."
            )
        by_name = sorted(scene.pods, key=lambda pod: pod.name)
        return tuple(random.Random(scene.seed).sample(by_name, self.count))

    def harm(self, scene: Scene) -> float:
        """The percentage of the pods it kills."""
        return 100 * self.count / len(scene.pods)


@dataclass(frozen=True)
class Nothing:
    """No change at all: the control run."""

    def __str__(self) -> str:
        return "nothing"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """None."""
        return ()

    def evidence(self, scene: Scene) -> NoEvidence:
        """None is needed."""
        return NoEvidence()

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """None."""
        return ()

    def harm(self, scene: Scene) -> float:
        """Nothing is taken away."""
        return 0.0


@dataclass(frozen=True)
class BlastRadius:
    """Limits that are checked before the first write.

    Attributes:
        max_pods: how many pods a fault may touch.
        max_percent: how much of the target it may take away (see `Fault.harm`), in percent.
        namespaces: where the target may be (empty: wherever it is); `PROTECTED` ones never.
        seconds: how long a fault may be in force.
    """

    max_pods: int = 1
    max_percent: float = 100.0
    namespaces: tuple[str, ...] = ()
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.max_pods < 0 or not 0 <= self.max_percent <= 100 or self.seconds <= 0:
            raise HarnessError(f"{self} is no limit; use max_pods >= 0, max_percent 0-100 and seconds > 0.")

    def check(self, fault: Fault, scene: Scene) -> None:
        """Lets a fault pass that stays within these limits.

        Raises:
            HarnessError: it would reach further; names the limit.
        """
        allowed = set(self.namespaces or (scene.target.namespace,)) - set(PROTECTED)
        for item in (*scene.pods, *fault.changes(scene)):
            _within(allowed, item.ref, fault)
        pods, harm = len(fault.pods(scene)), fault.harm(scene)
        if pods > self.max_pods:
            raise HarnessError(
                f"{fault} would touch {pods} pods of {scene.target}, the blast radius allows {self.max_pods}; "
                "raise max_pods if that is what you want."
            )
        if harm > self.max_percent:
            raise HarnessError(
                f"{fault} would take away {harm:.3g} % of {scene.target}, the blast radius allows "
                f"{self.max_percent:g} %; raise max_percent if that is what you want."
            )


def _within(allowed: set[str], ref: Ref, fault: Fault) -> None:
    if ref.namespace not in allowed:
        cause = "is protected" if ref.namespace in PROTECTED else "is outside the blast radius"
        raise HarnessError(
            f"{fault} would touch {ref}: its namespace {cause}; choose another target"
            f"{'' if ref.namespace in PROTECTED else ' or name the namespace in the blast radius'}."
        )


def _reported(scene: Scene) -> dict[str, str]:
    """The labels under which the sidecars of the target count their requests (Istio's standard metrics)."""
    apps = {pod.labels.get("app", "") for pod in scene.pods}
    if len(apps) > 1 or "" in apps:
        raise HarnessError(
            f"The requests of {scene.target} cannot be counted: its pods do not carry one label app in common; "
            "give them one, since Istio's metrics are labelled with it."
        )
    return {
        "reporter": "destination",
        "destination_workload_namespace": scene.target.namespace,
        "destination_app": apps.pop(),
    }


def _inbound_filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A patch of an EnvoyFilter that puts an HTTP filter before the router of a sidecar's inbound listeners."""
    manager = "envoy.filters.network.http_connection_manager"
    listener = {
        "filterChain": {"filter": {"name": manager, "subFilter": {"name": "envoy.filters.http.router"}}}
    }
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": listener},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": name, "typed_config": config}},
    }
