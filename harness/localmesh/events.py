"""Events: what happened to an object, for people who ask `kubectl get events`."""

from __future__ import annotations

from datetime import UTC, datetime

from harness.localmesh.api.resources import EVENTS
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp
from harness.localmesh.store import Store


def complain(store: Store, about: Manifest, reason: str, message: str) -> None:
    """Records a warning about an object, unless the last one about it says the same."""
    uid = about["metadata"]["uid"]
    for event in reversed(store.list(EVENTS, about["metadata"].get("namespace", ""))):
        if event["involvedObject"].get("uid") == uid and event.get("reason") == reason:
            if event.get("message") == message:
                return
            break
    record(store, about, "Warning", reason, message)


def record(store: Store, about: Manifest, kind: str, reason: str, message: str) -> None:
    """Records an event ("Normal" or "Warning") about an object; one whose namespace is going away has none."""
    metadata = about["metadata"]
    now = timestamp(datetime.now(UTC))
    event: Manifest = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": "kubelet"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        store.create(EVENTS, event)
    except Refused as refused:
        if refused.reason not in ("NotFound", "Forbidden"):
            raise
