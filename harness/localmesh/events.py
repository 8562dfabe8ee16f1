"""Events: what happened to an object, for people who ask `kubectl get events` or `kubectl describe`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from harness.localmesh.api.resources import EVENTS
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp
from harness.localmesh.store import Store


def record(
    store: Store, about: Manifest, kind: str, reason: str, message: str, *, by: str = "kubelet"
) -> None:
    """Records an event ("Normal" or "Warning") about an object; one that is repeated is counted, as in Kubernetes.

    An object whose namespace is going away has none. `by` is the component that says so.
    """
    now = timestamp(datetime.now(UTC))
    event = _event(about, kind, reason, message, by=by, at=now)
    metadata = event["metadata"]
    try:
        store.create(EVENTS, event)
    except Refused as refused:
        if refused.reason == "AlreadyExists":
            _again(store, metadata["namespace"], metadata["name"], now)
        elif refused.reason not in ("NotFound", "Forbidden"):
            raise


def complain(store: Store, about: Manifest, reason: str, message: str, *, by: str = "kubelet") -> None:
    """Records a warning about an object, unless it has been said before."""
    event = _event(about, "Warning", reason, message, by=by, at=timestamp(datetime.now(UTC)))
    try:
        store.create(EVENTS, event)
    except Refused as refused:
        if refused.reason not in ("AlreadyExists", "NotFound", "Forbidden"):
            raise


def _again(store: Store, namespace: str, name: str, now: str) -> None:
    try:
        store.update(
            EVENTS,
            namespace,
            name,
            lambda old: {**old, "count": old.get("count", 1) + 1, "lastTimestamp": now},
        )
    except Refused as refused:
        if refused.reason not in ("NotFound", "Conflict"):  # somebody has tidied up
            raise


def _event(about: Manifest, kind: str, reason: str, message: str, *, by: str, at: str) -> Manifest:
    metadata = about["metadata"]
    # Of a fixed name, so that the same thing said again is found without a search.
    mark = hashlib.sha256("\0".join((metadata["uid"], kind, reason, message)).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:200]}.{mark}",
            "namespace": metadata.get("namespace") or "default",
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            **({"namespace": metadata["namespace"]} if metadata.get("namespace") else {}),
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": by},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
