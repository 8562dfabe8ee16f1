"""The controllers: Deployments become ReplicaSets become pods, and EndpointSlices follow readiness.

Level-based as Kubernetes' own: each looks at what is there and takes one step towards what is wanted; every step
wakes the control loop again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from harness.localmesh import (
    claims,
    disruption,
    endpoints,
    events,
    nodes,
    progress,
    rollout,
    scheduler,
    slices,
    workloads,
)
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
from harness.localmesh.rollout import Family
from harness.localmesh.store import Store
from harness.localmesh.workloads import available_in, by_controller, is_terminating

_BURST = 50  # pods that a ReplicaSet may make in one turn
_LOG = logging.getLogger(__name__)

_Owned = dict[str, list[Manifest]]
"""What each controller owns, by its UID, oldest first."""


def reconcile(store: Store, chance: random.Random) -> float | None:
    """Takes every Deployment, ReplicaSet, Service, Node and pod without a place one step further.

    Args:
        store: what there is.
        chance: names the pods.

    Returns:
        Seconds until it is needed again even if nothing happens; None: not before something happens.
    """
    now = datetime.now(UTC)
    claims.reconcile(store)
    pods = store.list(PODS)
    owned = by_controller((*store.list(REPLICA_SETS), *pods, *store.list(ENDPOINT_SLICES)))
    waits = [_settle(_deployment, store, item, owned, now) for item in store.list(DEPLOYMENTS)]
    waits += [_settle(_replica_set, store, item, owned, chance, now) for item in store.list(REPLICA_SETS)]
    for service in store.list(SERVICES):
        _settle(_balance, store, service)
        _settle(_endpoint_slices, store, service, pods, owned)
    endpoints.reconcile(store)
    disruption.reconcile(store)
    nodes.reconcile(store)
    scheduler.reconcile(store)
    return min((wait for wait in waits if wait is not None), default=None)


def _settle(
    step: Callable[..., float | None], store: Store, owner: Manifest, *arguments: Any
) -> float | None:
    try:
        return step(store, owner, *arguments)
    except Refused as refused:
        # Somebody changed or deleted the object since it was read: the wake-up that comes with it tries again.
        if refused.reason not in ("NotFound", "Conflict", "AlreadyExists", "Forbidden"):
            events.record(store, owner, "Warning", "FailedCreate", refused.message)
    except Exception as error:
        # One object that cannot be settled must not keep the others from it.
        _LOG.exception("Cannot settle %s %s", owner["kind"], owner["metadata"]["name"])
        events.record(store, owner, "Warning", "FailedReconcile", f"{type(error).__name__}: {error}")
    return None


def _deployment(store: Store, deployment: Manifest, owned: _Owned, now: datetime) -> float | None:
    if is_terminating(deployment):
        return None
    family = Family.of(deployment, _of(deployment, owned))
    old_pods = any(_of(item, owned) for item in family.old)
    targets = rollout.plan(family, old_pods=old_pods)
    if family.new is None and "" in targets:
        made = workloads.replica_set(deployment, targets[""], rollout.marks(family))
        store.create(REPLICA_SETS, made)
        _tell_scaled(store, deployment, made, 0, targets[""])
    for item in family.sets:
        _keep_set(store, family, item, targets.get(item["metadata"]["name"]))
    _keep_revision(store, family)
    _set_status(store, DEPLOYMENTS, deployment, progress.status(family, now))
    if progress.complete(family):
        for item in rollout.surplus(family):
            store.delete(REPLICA_SETS, item["metadata"]["namespace"], item["metadata"]["name"])
    return progress.late_in(family, now)


def _keep_set(store: Store, family: Family, item: Manifest, replicas: int | None) -> None:
    """Gives a ReplicaSet its size and its annotations; the newest also follows minReadySeconds."""
    metadata, spec = item["metadata"], item["spec"]
    wanted, size = dict(metadata.get("annotations", {})), dict(spec)
    if replicas is not None:
        size["replicas"] = replicas
    if item is family.new and not family.paused:
        wanted = rollout.marks(family)
        size["minReadySeconds"] = family.deployment["spec"].get("minReadySeconds", 0)
        if not size["minReadySeconds"]:
            del size["minReadySeconds"]
    elif size["replicas"]:
        wanted |= rollout.sizes(family)
    if (wanted, size) == (metadata.get("annotations", {}), spec):
        return
    store.update(
        REPLICA_SETS,
        metadata["namespace"],
        metadata["name"],
        lambda old: {**old, "metadata": {**old["metadata"], "annotations": wanted}, "spec": size},
    )
    if size["replicas"] != spec["replicas"]:
        _tell_scaled(store, family.deployment, item, spec["replicas"], size["replicas"])


def _tell_scaled(store: Store, deployment: Manifest, item: Manifest, before: int, after: int) -> None:
    verb = "up" if after > before else "down"
    name = item["metadata"]["name"]
    message = f"Scaled {verb} replica set {name} from {before} to {after}"
    events.record(store, deployment, "Normal", "ScalingReplicaSet", message, by="deployment-controller")


def _keep_revision(store: Store, family: Family) -> None:
    """The Deployment carries the revision of its newest ReplicaSet."""
    metadata = family.deployment["metadata"]
    if family.new is None or family.paused:
        return
    revision = rollout.marks(family)[rollout.REVISION]
    if metadata.get("annotations", {}).get(rollout.REVISION) == revision:
        return

    def carry(old: Manifest) -> Manifest:
        kept = {**old["metadata"].get("annotations", {}), rollout.REVISION: revision}
        return {**old, "metadata": {**old["metadata"], "annotations": kept}}

    store.update(DEPLOYMENTS, metadata["namespace"], metadata["name"], carry)


def _replica_set(
    store: Store, owner: Manifest, owned: _Owned, chance: random.Random, now: datetime
) -> float | None:
    if is_terminating(owner):
        return None
    live = [pod for pod in _of(owner, owned) if not is_terminating(pod)]
    missing = owner["spec"].get("replicas", 1) - len(live)
    for _ in range(min(missing, _BURST)):
        made = store.create(PODS, workloads.pod(owner, chance))
        message = f"Created pod: {made['metadata']['name']}"
        events.record(store, owner, "Normal", "SuccessfulCreate", message, by="replicaset-controller")
    for pod in workloads.first_to_go(live)[: max(0, -missing)]:
        metadata = pod["metadata"]
        store.delete(PODS, metadata["namespace"], metadata["name"])
        message = f"Deleted pod: {metadata['name']}"
        events.record(store, owner, "Normal", "SuccessfulDelete", message, by="replicaset-controller")
    _set_status(store, REPLICA_SETS, owner, workloads.replica_set_status(owner, live, now))
    min_ready = owner["spec"].get("minReadySeconds", 0)
    waits = [wait for pod in live if (wait := available_in(pod, min_ready, now))]
    return min(waits, default=None)


def _endpoint_slices(store: Store, service: Manifest, pods: tuple[Manifest, ...], owned: _Owned) -> None:
    wanted = {item["metadata"]["name"]: item for item in slices.endpoint_slices(service, pods)}
    for item in _of(service, owned):
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


def _of(owner: Manifest, owned: _Owned) -> list[Manifest]:
    return owned.get(owner["metadata"]["uid"], [])


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
