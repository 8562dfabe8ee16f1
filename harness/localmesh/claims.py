"""Whose is what: ReplicaSets adopt pods that match their selector and nobody has, and release those that do not match.

So a pod whose labels are changed is left to itself and replaced, and what `kubectl delete --cascade=orphan` has left
is taken over by the next owner. Deployments do the same with ReplicaSets. Source: kubernetes/kubernetes
`pkg/controller/controller_ref_manager.go`.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.localmesh.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Resource
from harness.localmesh.api.selectors import label_selector
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import disowned, with_metadata
from harness.localmesh.store import Store
from harness.localmesh.workloads import controller_of, is_terminating, owner_reference


def reconcile(store: Store) -> None:
    """Lets every Deployment claim ReplicaSets, and every ReplicaSet claim pods."""
    for owners, resource in ((DEPLOYMENTS, REPLICA_SETS), (REPLICA_SETS, PODS)):
        _claim(store, [item for item in store.list(owners) if not is_terminating(item)], resource)


def _claim(store: Store, owners: Iterable[Manifest], resource: Resource) -> None:
    by_uid = {owner["metadata"]["uid"]: owner for owner in owners}
    for item in store.list(resource):
        if is_terminating(item):
            continue
        uid = controller_of(item)
        if not uid:
            _adopt(store, by_uid.values(), resource, item)
        elif uid in by_uid and not _matches(by_uid[uid], item):
            _change(store, resource, disowned(item, uid))


def _adopt(store: Store, owners: Iterable[Manifest], resource: Resource, item: Manifest) -> None:
    namespace = item["metadata"]["namespace"]
    for owner in owners:
        if owner["metadata"]["namespace"] == namespace and _matches(owner, item):
            references = [*(item["metadata"].get("ownerReferences") or ()), owner_reference(owner)]
            _change(store, resource, with_metadata(item, ownerReferences=references))
            return


def _matches(owner: Manifest, item: Manifest) -> bool:
    return label_selector(owner["spec"]["selector"]).match(item["metadata"].get("labels", {}))


def _change(store: Store, resource: Resource, item: Manifest) -> None:
    try:
        store.replace(resource, item)
    except Refused as refused:
        if refused.reason not in ("Conflict", "NotFound"):  # changed meanwhile: the next turn looks again
            raise
