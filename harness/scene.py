"""What a fault acts on: pods, the target that selects them, and the scene that a target was resolved to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from harness.changes import Manifest, Ref
from harness.errors import HarnessError

PROXY: Final = "istio-proxy"
"""The name of the sidecar's container."""


@dataclass(frozen=True)
class Pod:
    """A pod as far as the harness needs to know it.

    Attributes:
        name: its name; a pod of a Deployment never gets a name again that another one had.
        namespace: where it is.
        uid: the one thing that tells a pod from its replacement.
        labels: its labels.
        ready: whether its condition Ready is True.
        terminating: whether it was asked to end.
        ip: its address, "" before it has one.
        ports: the TCP ports that its containers declare, without those of the sidecar.
        sidecar: whether a container or an init container (a native sidecar) is named istio-proxy.
        node: the node that it is on, "" before it has one.
        account: the service account under which it runs.
        owner: the controller that would replace it, None for a pod of its own.
        proxy_image: that of the container istio-proxy, "" without one.
        restarts: how often each of its containers was started again, by name.
        attached: the ephemeral containers that run in it, by name.
        program: the name of its first container that is not the sidecar's, "" without one.
    """

    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str] = field(hash=False)
    ready: bool
    terminating: bool
    ip: str
    ports: tuple[int, ...]
    sidecar: bool
    node: str = ""
    account: str = "default"
    owner: Ref | None = None
    proxy_image: str = ""
    restarts: Mapping[str, int] = field(default_factory=dict, hash=False)
    attached: frozenset[str] = frozenset()
    program: str = ""

    @property
    def ref(self) -> Ref:
        """Its name as an object of the cluster."""
        return Ref("v1", "Pod", self.namespace, self.name)

    @classmethod
    def of(cls, manifest: Manifest) -> Pod:
        """The pod that a manifest from the API describes."""
        meta, spec, status = manifest["metadata"], manifest["spec"], manifest.get("status") or {}
        containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
        proxies = [container for container in containers if container["name"] == PROXY]
        return cls(
            name=meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            labels=meta.get("labels") or {},
            ready=any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()),
            terminating="deletionTimestamp" in meta,
            ip=status.get("podIP", ""),
            ports=tuple(
                port["containerPort"]
                for container in containers
                if container["name"] != PROXY
                for port in container.get("ports") or ()
                if port.get("protocol", "TCP") == "TCP"
            ),
            sidecar=bool(proxies),
            node=spec.get("nodeName", ""),
            account=spec.get("serviceAccountName", "default"),
            owner=controller_of(manifest),
            proxy_image=proxies[0].get("image", "") if proxies else "",
            restarts={
                one["name"]: one.get("restartCount", 0)
                for kind in ("initContainerStatuses", "containerStatuses")
                for one in status.get(kind) or ()
            },
            attached=frozenset(
                one["name"]
                for one in status.get("ephemeralContainerStatuses") or ()
                if "running" in (one.get("state") or {})
            ),
            program=next((one["name"] for one in spec["containers"] if one["name"] != PROXY), ""),
        )


@dataclass(frozen=True)
class Deployment:
    """A Deployment behind pods.

    Attributes:
        name: its name.
        namespace: where it is.
        replicas: how many pods it is to have.
        max_unavailable: how many of them its strategy lets be missing during a rollout.
        uids: the UIDs of the pods of the scene that it is behind.
    """

    name: str
    namespace: str
    replicas: int
    max_unavailable: int
    uids: tuple[str, ...]

    @property
    def ref(self) -> Ref:
        """Its name as an object of the cluster."""
        return Ref("apps/v1", "Deployment", self.namespace, self.name)

    @classmethod
    def of(cls, manifest: Manifest, uids: tuple[str, ...]) -> Deployment:
        """The Deployment that a manifest from the API describes; what it leaves out is as Kubernetes defaults it."""
        meta, spec = manifest["metadata"], manifest["spec"]
        replicas, strategy = spec.get("replicas", 1), spec.get("strategy") or {}
        missing = (strategy.get("rollingUpdate") or {}).get("maxUnavailable", "25%")
        if strategy.get("type") == "Recreate":
            missing = replicas
        if isinstance(missing, str):  # a percentage, rounded down
            missing = int(missing.rstrip("%")) * replicas // 100
        return cls(meta["name"], meta["namespace"], replicas, missing, uids)


def controller_of(manifest: Manifest) -> Ref | None:
    """The object that replaces the one in `manifest` when it is deleted, None when nobody does."""
    meta = manifest["metadata"]
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return Ref(owner.get("apiVersion", ""), owner["kind"], meta.get("namespace", ""), owner["name"])
    return None


@dataclass(frozen=True)
class Target:
    """The pods an experiment is about: those in `namespace` that carry `selector` (default `{"app": app}`).

    Raises:
        HarnessError: the selector is empty, which would mean every pod of the namespace.
    """

    app: str
    namespace: str = "default"
    selector: Mapping[str, str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if not self.app or not self.namespace or (self.selector is not None and not self.selector):
            raise HarnessError(
                f"The target {self} selects everything; give it an app, a namespace and labels."
            )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.app}"

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that every pod of the target carries."""
        return {"app": self.app} if self.selector is None else self.selector


@dataclass(frozen=True)
class Needs:
    """What a fault has to know besides the pods of its target.

    Attributes:
        others: other workloads.
        deployments: the Deployments behind all of these pods.
        routes: the Services that select the pods of the target, and the VirtualServices of the whole mesh.
        attaching: whether the cluster lets ephemeral containers be put into pods.
        certificates: for how long the certificates of these pods are good, and the root of the mesh.
        kinds: which of these kinds (API version and kind) the cluster has.
    """

    others: tuple[Target, ...] = ()
    deployments: bool = False
    routes: bool = False
    attaching: bool = False
    certificates: bool = False
    kinds: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Scene:
    """What a target was resolved to.

    Attributes:
        target: what was asked for.
        pods: ready pods, none of them terminating.
        run: the name of the run; it is part of the names of the objects that a fault creates.
        seed: of every random choice.
        deployments: those behind the pods, if the fault needs to know them.
        others: the other workloads that the fault needs to know.
        services: the names of the Services that select the pods, if the fault needs to know them.
        routes: the VirtualServices of the mesh, if the fault needs to know them.
        certificates: for how many seconds the certificate of each pod's sidecar was good, by the pod's name, and
            `root`, the fingerprint of the root that istiod signed with, if the fault needs to know them.
        root: see there.
        kinds: those among the kinds that the fault needs which the cluster has.
        attaching: whether the cluster lets ephemeral containers be put into pods, if the fault needs to know.

    Raises:
        HarnessError: there is no pod, or one that is not ready or is terminating.
    """

    target: Target
    pods: tuple[Pod, ...]
    run: str
    seed: int
    deployments: tuple[Deployment, ...] = ()
    others: tuple[Scene, ...] = ()
    services: tuple[str, ...] = ()
    routes: tuple[Manifest, ...] = field(default=(), hash=False)
    certificates: Mapping[str, float] = field(default_factory=dict, hash=False)
    root: str = ""
    kinds: tuple[tuple[str, str], ...] = ()
    attaching: bool = False

    def __post_init__(self) -> None:
        if not self.pods:
            labels = ",".join(f"{name}={value}" for name, value in self.target.labels.items())
            raise HarnessError(
                f"No ready pod in namespace {self.target.namespace} carries {labels}; "
                f"look at `kubectl get pods -n {self.target.namespace} -l {labels}`."
            )
        for pod in self.pods:
            if not pod.ready or pod.terminating:
                raise HarnessError(
                    f"Pod {pod.namespace}/{pod.name} is not ready; resolve {self.target} again."
                )

    def other(self, target: Target) -> Scene:
        """What another workload was resolved to.

        Raises:
            HarnessError: it was not resolved.
        """
        for scene in self.others:
            if scene.target == target:
                return scene
        raise HarnessError(f"{target} was not resolved; resolve {self.target} for the fault that needs it.")
