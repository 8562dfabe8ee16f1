"""The status of a pod, as the kubelet tells it: pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp


def pending(pod: Manifest, *, address: str, started: str) -> Manifest:
    """A pod that has its place and its address, and nothing that runs yet."""
    return {
        **pod.get("status", {}),
        "phase": "Pending",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "startTime": started,
        "conditions": _conditions(pod, ready=False),
    }


def running(
    pod: Manifest, *, ready: bool, restarts: Mapping[str, int], waiting: Collection[str], started: str
) -> Manifest:
    """A pod whose containers run, but for those in `waiting`, which wait to be started again."""
    containers = [
        _container(
            item,
            ready=ready,
            restarts=restarts.get(item["name"], 0),
            waits=item["name"] in waiting,
            at=started,
        )
        for item in pod["spec"]["containers"]
    ]
    return {
        **pod.get("status", {}),
        "phase": "Running",
        "conditions": _conditions(pod, ready=ready),
        "containerStatuses": containers,
    }


def _container(item: Manifest, *, ready: bool, restarts: int, waits: bool, at: str) -> Manifest:
    state = {"waiting": {"reason": "CrashLoopBackOff"}} if waits else {"running": {"startedAt": at}}
    return {
        "name": item["name"],
        "image": item["image"],
        "imageID": "",
        "ready": ready and not waits,
        "started": not waits,
        "restartCount": restarts,
        "state": state,
    }


def _conditions(pod: Manifest, *, ready: bool) -> list[Manifest]:
    old = {item["type"]: item for item in pod.get("status", {}).get("conditions", ())}
    wanted = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    return [_condition(kind, holds, old.get(kind)) for kind, holds in wanted.items()]


def _condition(kind: str, holds: bool, old: Manifest | None) -> Manifest:
    status = "True" if holds else "False"
    if old is not None and old["status"] == status:
        return old
    return {"type": kind, "status": status, "lastTransitionTime": timestamp(datetime.now(UTC))}


def unschedulable(pod: Manifest, *, why: str) -> Manifest:
    """A pod for which there is no node."""
    old = {item["type"]: item for item in pod.get("status", {}).get("conditions", ())}
    condition = _condition("PodScheduled", False, old.get("PodScheduled"))
    told = {**condition, "reason": "Unschedulable", "message": why}
    return {**pod.get("status", {}), "phase": "Pending", "conditions": [told]}
