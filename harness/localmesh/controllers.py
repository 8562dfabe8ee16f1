"""The controllers: Deployments become ReplicaSets become pods, and EndpointSlices follow readiness.

Level-based as Kubernetes' own: each looks at what is there and takes one step towards what is wanted; every step
wakes the control loop again.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from harness.localmesh import disruption, endpoints, events, workloads
from harness.localmesh.api.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Resource,
)
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp
from harness.localmesh.store import Store
from harness.localmesh.workloads import is_ready, owned_by

_BURST = 50  # pods that a ReplicaSet may make in one turn
_LOG = logging.getLogger(__name__)


def reconcile(store: Store, chance: random.Random) -> None:
    """Takes every Deployment, ReplicaSet and Service one step further; `chance` names the pods."""
    sets = store.list(REPLICA_SETS)
    pods = store.list(PODS)
    for deployment in store.list(DEPLOYMENTS):
        _settle(_deployment, store, deployment, owned_by(deployment, sets))
    for replica_set in store.list(REPLICA_SETS):
        _settle(_replica_set, store, replica_set, owned_by(replica_set, pods), chance)
    slices = store.list(ENDPOINT_SLICES)
    for service in store.list(SERVICES):
        _settle(_balance, store, service)
        _settle(_endpoint_slices, store, service, pods, owned_by(service, slices))
    endpoints.reconcile(store)
    disruption.reconcile(store)


def _settle(step: Callable[..., None], store: Store, owner: Manifest, *arguments: Any) -> None:
    try:
        step(store, owner, *arguments)
    except Refused as refused:
        # Somebody changed or deleted the object since it was read: the wake-up that comes with it tries again.
        if refused.reason not in ("NotFound", "Conflict", "AlreadyExists", "Forbidden"):
            events.complain(store, owner, "FailedCreate", refused.message)
    except Exception as error:
        # One object that cannot be settled must not keep the others from it.
        _LOG.exception("Cannot settle %s %s", owner["kind"], owner["metadata"]["name"])
        events.complain(store, owner, "FailedReconcile", f"{type(error).__name__}: {error}")


def _deployment(store: Store, deployment: Manifest, sets: list[Manifest]) -> None:
    if "deletionTimestamp" in deployment["metadata"]:
        return
    hashed = workloads.template_hash(deployment)
    current = next(
        (item for item in sets if item["metadata"].get("labels", {}).get(workloads.HASH_LABEL) == hashed),
        None,
    )
    old = [item for item in sets if item is not current and item["spec"]["replicas"] > 0]
    new, left = _rollout(deployment, current, old)
    if current is None:
        store.create(REPLICA_SETS, workloads.replica_set(deployment, new))
    elif current["spec"]["replicas"] != new:
        _scale(store, current, new)
    for item in old:
        keep = min(left, item["spec"]["replicas"])
        left -= keep
        if keep != item["spec"]["replicas"]:
            _scale(store, item, keep)
    status = workloads.deployment_status(deployment, sets, timestamp(datetime.now(UTC)))
    _set_status(store, DEPLOYMENTS, deployment, status)


def _rollout(deployment: Manifest, current: Manifest | None, old: list[Manifest]) -> tuple[int, int]:
    """How many pods the present ReplicaSet shall have, and the older ones together."""
    wanted = deployment["spec"].get("replicas", 1)
    if not old:
        return wanted, 0
    if deployment["spec"].get("strategy", {}).get("type") == "Recreate":
        gone = all(item.get("status", {}).get("replicas", 0) == 0 for item in old)
        return (wanted if gone else 0), 0
    surge, unavailable = workloads.surge_and_unavailable(deployment)
    old_pods = sum(item["spec"]["replicas"] for item in old)
    old_ready = sum(map(_ready, old))
    ready = old_ready + (_ready(current) if current else 0)
    dispensable = max(0, ready - (wanted - unavailable)) + old_pods - old_ready
    have = current["spec"]["replicas"] if current else 0
    new = have if have > wanted else max(have, min(wanted, wanted + surge - old_pods))
    return min(new, wanted), max(0, old_pods - dispensable)


def _ready(replica_set: Manifest) -> int:
    # Those that are about to go do not count, though the status may still name them.
    return min(
        int(replica_set.get("status", {}).get("readyReplicas", 0)), int(replica_set["spec"]["replicas"])
    )


def _replica_set(store: Store, owner: Manifest, pods: list[Manifest], chance: random.Random) -> None:
    if "deletionTimestamp" in owner["metadata"]:
        return
    live = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    missing = owner["spec"].get("replicas", 1) - len(live)
    for _ in range(min(missing, _BURST)):
        store.create(PODS, workloads.pod(owner, chance))
    # As Kubernetes does: pods that do not serve go first, then the youngest.
    youngest_first = live[::-1]
    surplus = sorted(youngest_first, key=is_ready)[: max(0, -missing)]
    for pod in surplus:
        store.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
    _set_status(store, REPLICA_SETS, owner, workloads.replica_set_status(owner, live))


def _endpoint_slices(
    store: Store, service: Manifest, pods: tuple[Manifest, ...], slices: list[Manifest]
) -> None:
    wanted = {item["metadata"]["name"]: item for item in endpoint_slices(service, pods)}
    for item in slices:
        name = item["metadata"]["name"]
        new = wanted.pop(name, None)
        if new is None:
            store.delete(ENDPOINT_SLICES, item["metadata"]["namespace"], name)
        elif new["endpoints"] != item.get("endpoints") or new["ports"] != item.get("ports"):
            store.update(
                ENDPOINT_SLICES,
                item["metadata"]["namespace"],
                name,
                partial(_with, endpoints=new["endpoints"], ports=new["ports"]),
            )
    for new in wanted.values():
        store.create(ENDPOINT_SLICES, new)


def _balance(store: Store, service: Manifest) -> None:
    """Gives a LoadBalancer its address, which here is the one inside the mesh too."""
    if service["spec"].get("type") == "LoadBalancer":
        ingress = [{"ip": service["spec"]["clusterIP"]}]
        _set_status(store, SERVICES, service, {"loadBalancer": {"ingress": ingress}})


def endpoint_slices(service: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The EndpointSlices of a Service: one for each way in which its named target ports resolve."""
    selector = service["spec"].get("selector")
    if not selector:
        return []
    by_ports: dict[tuple[tuple[str, int], ...], list[Manifest]] = defaultdict(list)
    for pod in pods:
        metadata = pod["metadata"]
        address = pod.get("status", {}).get("podIP")
        labels = metadata.get("labels", {})
        if metadata["namespace"] != service["metadata"]["namespace"] or not address:
            continue
        if selector.items() <= labels.items():
            by_ports[_resolved(service, pod)].append(_endpoint(pod, address))
    return [_slice(service, ports, endpoints) for ports, endpoints in by_ports.items()]


def target_port(port: Manifest, pod: Manifest) -> int | None:
    """The number on `pod` that a Service's `port` stands for; None when the pod has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for candidate in container.get("ports", ()):
            if candidate.get("name") == target:
                return int(candidate["containerPort"])
    return None


def _resolved(service: Manifest, pod: Manifest) -> tuple[tuple[str, int], ...]:
    found = ((port.get("name", ""), target_port(port, pod)) for port in service["spec"].get("ports") or ())
    return tuple((name, number) for name, number in found if number is not None)


def _endpoint(pod: Manifest, address: str) -> Manifest:
    terminating = "deletionTimestamp" in pod["metadata"]
    ready = is_ready(pod)
    return {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": ready, "terminating": terminating},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "uid": pod["metadata"]["uid"],
        },
    }


def _slice(service: Manifest, ports: tuple[tuple[str, int], ...], endpoints: list[Manifest]) -> Manifest:
    metadata = service["metadata"]
    suffix = hashlib.sha256(repr((metadata["uid"], ports)).encode()).hexdigest()[:5]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-{suffix}",
            "namespace": metadata["namespace"],
            "labels": {"kubernetes.io/service-name": metadata["name"]},
            "ownerReferences": [workloads.owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": name, "port": number, "protocol": "TCP"} for name, number in ports],
    }


def _scale(store: Store, replica_set: Manifest, replicas: int) -> None:
    metadata = replica_set["metadata"]
    store.update(
        REPLICA_SETS,
        metadata["namespace"],
        metadata["name"],
        lambda old: _with(old, spec={**old["spec"], "replicas": replicas}),
    )


def _set_status(store: Store, resource: Resource, manifest: Manifest, status: Manifest) -> None:
    if manifest.get("status") != status:
        metadata = manifest["metadata"]
        store.update(
            resource,
            metadata["namespace"],
            metadata["name"],
            partial(_with, status=status),
            section="status",
        )


def _with(manifest: Manifest, **sections: Any) -> Manifest:
    return {**manifest, **sections}
