"""How objects go: grace, finalizers, owners and what they own, namespaces and what is in them.

Rules: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination. Unlike a cluster's garbage
collector, which works in the background, everything here has happened when the call returns.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from harness.localmesh.api.resources import NAMESPACES, PODS, Resource
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import disowned, owner_uids, timestamp, with_metadata
from harness.localmesh.state import Found, State

Propagation = Literal["Background", "Foreground", "Orphan"]
"""What becomes of the objects a deleted one owns: they go after it, before it, or lose it as their owner."""

_FOREGROUND = "foregroundDeletion"
_DEFAULT_GRACE = 30.0


def delete(
    state: State, resource: Resource, old: Manifest, grace: float | None, propagation: Propagation
) -> Manifest:
    """Mark `old` as deleted, and finish it when nothing holds it back; returns its last state.

    `grace` in seconds concerns pods only; None is the pod's own, and a pod that has ended has none.
    """
    dependents = state.owned(old)
    if propagation == "Orphan":
        for kind, dependent in dependents:
            state.commit("MODIFIED", kind, disowned(dependent, old["metadata"]["uid"]), dependent)
    finalizers = list(old["metadata"].get("finalizers") or ())
    if propagation == "Foreground" and dependents and _FOREGROUND not in finalizers:
        finalizers.append(_FOREGROUND)
    seconds = _grace(resource, old, grace)
    if seconds == 0 and not finalizers and resource != NAMESPACES:
        return _finish(state, resource, old)
    marked = _mark(state, resource, old, seconds, finalizers)
    if resource == NAMESPACES:
        _delete_all(state, state.within(old["metadata"]["name"]), "Background")
        _release_namespace(state, old["metadata"]["name"])
    elif propagation == "Foreground":
        _delete_all(state, dependents, "Foreground")
    return marked


def finish_if_free(state: State, resource: Resource, manifest: Manifest) -> None:
    """Take a deleted object out when neither a finalizer nor its grace holds it back any more."""
    metadata = manifest["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return
    if resource == NAMESPACES:
        _release_namespace(state, metadata["name"])
    elif not metadata.get("deletionGracePeriodSeconds"):
        _finish(state, resource, manifest)


def collect_if_orphan(state: State, resource: Resource, manifest: Manifest) -> None:
    """Delete an object all of whose owners are gone."""
    owners = owner_uids(manifest)
    if owners and not any(state.find_uid(owner) for owner in owners):
        delete(state, resource, manifest, None, "Background")


def _mark(state: State, resource: Resource, old: Manifest, seconds: float, finalizers: list[str]) -> Manifest:
    left = old["metadata"].get("deletionGracePeriodSeconds")
    if left is not None and left <= seconds and finalizers == (old["metadata"].get("finalizers") or []):
        return old
    marked = with_metadata(
        old,
        deletionTimestamp=timestamp(datetime.now(UTC) + timedelta(seconds=seconds)),
        deletionGracePeriodSeconds=int(seconds),
        finalizers=finalizers or None,
    )
    if resource == NAMESPACES:
        marked = {**marked, "status": {**marked.get("status", {}), "phase": "Terminating"}}
    return state.commit("MODIFIED", resource, marked, old)


def _finish(state: State, resource: Resource, old: Manifest) -> Manifest:
    """Take `old` out for good, then whatever went only with it or waited for it."""
    dependents = state.owned(old)
    gone = state.commit("DELETED", resource, old, old)
    for _, dependent in dependents:
        # Its owner's other dependents may have taken this one along.
        if found := state.find_uid(dependent["metadata"]["uid"]):
            _lose_owner(state, *found, old["metadata"]["uid"])
    for owner in owner_uids(old):
        _release_owner(state, owner)
    if namespace := old["metadata"].get("namespace"):
        _release_namespace(state, namespace)
    return gone


def _lose_owner(state: State, resource: Resource, dependent: Manifest, uid: str) -> None:
    if any(state.find_uid(owner) for owner in owner_uids(dependent)):
        state.commit("MODIFIED", resource, disowned(dependent, uid), dependent)
    else:
        delete(state, resource, dependent, None, "Background")


def _delete_all(state: State, objects: list[Found], propagation: Propagation) -> None:
    for _, manifest in objects:
        # An earlier one of them may have taken this one along, or changed it.
        if found := state.find_uid(manifest["metadata"]["uid"]):
            delete(state, *found, None, propagation)


def _release_owner(state: State, uid: str) -> None:
    found = state.find_uid(uid)
    if not found or state.owned(found[1]):
        return
    resource, owner = found
    finalizers = owner["metadata"].get("finalizers") or []
    if _FOREGROUND in finalizers:
        left = [finalizer for finalizer in finalizers if finalizer != _FOREGROUND]
        owner = state.commit("MODIFIED", resource, with_metadata(owner, finalizers=left or None), owner)
        finish_if_free(state, resource, owner)


def _release_namespace(state: State, name: str) -> None:
    namespace = state.find(NAMESPACES, "", name)
    if namespace and "deletionTimestamp" in namespace["metadata"]:
        waits = namespace["metadata"].get("finalizers")
        if not waits and not state.within(name):
            _finish(state, NAMESPACES, namespace)


def _grace(resource: Resource, manifest: Manifest, asked: float | None) -> float:
    if resource != PODS or manifest.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if asked is not None:
        return asked
    return float(manifest.get("spec", {}).get("terminationGracePeriodSeconds", _DEFAULT_GRACE))
