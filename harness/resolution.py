"""Finds in a cluster what a target stands for, and what else a fault has to know before it can be judged."""

from __future__ import annotations

from dataclasses import replace

from harness.changes import Ref
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.faults import Fault
from harness.scene import Deployment, Needs, Pod, Scene, Target, controller_of
from harness.sidecars import seconds_left, trusted_root


def resolve(cluster: Cluster, target: Target, *, run: str, seed: int, fault: Fault | None = None) -> Scene:
    """The ready pods of a target that are not about to end, and what `fault` needs to know besides.

    Raises:
        HarnessError: there is no such pod, or what the fault needs cannot be read.
    """
    needs = fault.needs if fault else Needs()
    others = tuple(
        _scene(cluster, other, run=run, seed=seed, deployments=needs.deployments, others=())
        for other in needs.others
    )
    scene = _scene(cluster, target, run=run, seed=seed, deployments=needs.deployments, others=others)
    if needs.kinds:
        scene = replace(scene, kinds=tuple(kind for kind in needs.kinds if cluster.knows(*kind)))
    if needs.attaching:
        scene = replace(scene, attaching=cluster.serves("v1", "pods/ephemeralcontainers"))
    if needs.certificates:
        scene = _certified(cluster, scene)
    if not needs.routes:
        return scene
    routes = cluster.list("networking.istio.io/v1", "VirtualService")
    return replace(scene, services=_services(cluster, scene), routes=routes)


def _scene(
    cluster: Cluster, target: Target, *, run: str, seed: int, deployments: bool, others: tuple[Scene, ...]
) -> Scene:
    found = cluster.pods(target.namespace, target.labels)
    pods = tuple(pod for pod in found if pod.ready and not pod.terminating)
    behind = _deployments(cluster, pods) if deployments else ()
    return Scene(target, pods, run, seed, behind, others)


def _certified(cluster: Cluster, scene: Scene) -> Scene:
    """The scene with what its sidecars' certificates are good for; pods without a sidecar are not asked."""
    meshed = [pod for pod in scene.pods if pod.sidecar]
    root = trusted_root(cluster, scene.target.namespace)
    return replace(scene, certificates=seconds_left(cluster, meshed), root=root)


def _services(cluster: Cluster, scene: Scene) -> tuple[str, ...]:
    """The Services whose selector every pod of the scene fulfils."""
    names = []
    for service in cluster.list("v1", "Service", scene.target.namespace):
        selector = (service["spec"].get("selector") or {}).items()
        if selector and all(selector <= pod.labels.items() for pod in scene.pods):
            names.append(service["metadata"]["name"])
    return tuple(names)


def _deployments(cluster: Cluster, pods: tuple[Pod, ...]) -> tuple[Deployment, ...]:
    """The Deployments behind pods: a pod's controller is a ReplicaSet, and that one's a Deployment."""
    behind: dict[Ref, list[str]] = {}
    owners: dict[Ref, Ref | None] = {}
    for pod in pods:
        if pod.owner is None or pod.owner.kind != "ReplicaSet":
            continue
        if pod.owner not in owners:
            owners[pod.owner] = _controller(cluster, pod.owner)
        if (owner := owners[pod.owner]) is not None and owner.kind == "Deployment":
            behind.setdefault(owner, []).append(pod.uid)
    return tuple(_deployment(cluster, ref, tuple(uids)) for ref, uids in behind.items())


def _controller(cluster: Cluster, ref: Ref) -> Ref | None:
    manifest = cluster.get(ref)
    return controller_of(manifest) if manifest else None


def _deployment(cluster: Cluster, ref: Ref, uids: tuple[str, ...]) -> Deployment:
    manifest = cluster.get(ref)
    if manifest is None:
        raise HarnessError(f"{ref} is gone since its pods were listed; resolve the target again.")
    return Deployment.of(manifest, uids)
