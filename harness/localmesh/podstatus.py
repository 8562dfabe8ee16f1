"""The status of a pod, as the kubelet tells it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from harness.localmesh.containers import Container, Ended
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp

_HOST = "127.0.0.1"


def unschedulable(pod: Manifest, *, why: str) -> Manifest:
    """A pod for which there is no node."""
    old = {item["type"]: item for item in pod.get("status", {}).get("conditions", ())}
    condition = _condition("PodScheduled", False, old.get("PodScheduled"))
    told = {**condition, "reason": "Unschedulable", "message": why}
    return {**pod.get("status", {}), "phase": "Pending", "conditions": [told]}


def pending(pod: Manifest, *, address: str, started: str) -> Manifest:
    """A pod that has its place and its address, and nothing that runs yet."""
    return {
        **pod.get("status", {}),
        "phase": "Pending",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": _HOST,
        "hostIPs": [{"ip": _HOST}],
        "qosClass": quality(pod),
        "startTime": started,
        "conditions": _conditions(pod, []),
        "containerStatuses": [_waiting(item) for item in pod["spec"]["containers"]],
    }


def running(pod: Manifest, containers: Sequence[Container]) -> Manifest:
    """A pod whose containers have been started."""
    lasting = [item for item in containers if not item.ephemeral]
    unready = [item.name for item in lasting if not item.ready]
    attached = [_container(item, pod["metadata"]) for item in containers if item.ephemeral]
    return {
        **pod.get("status", {}),
        "phase": "Running",
        "conditions": _conditions(pod, unready, begun=True),
        "containerStatuses": [_container(item, pod["metadata"]) for item in lasting],
        **({"ephemeralContainerStatuses": attached} if attached else {}),
    }


def quality(pod: Manifest) -> str:
    """The quality of service class that the resources of its containers come to.

    https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
    """
    resources = [item.get("resources") or {} for item in pod["spec"]["containers"]]
    if not any(item.get("limits") or item.get("requests") for item in resources):
        return "BestEffort"
    for item in resources:
        limits = item.get("limits") or {}
        requests = {**limits, **(item.get("requests") or {})}
        if not {"cpu", "memory"} <= limits.keys() or any(requests[key] != limits[key] for key in limits):
            return "Burstable"
    return "Guaranteed"


def _waiting(item: Manifest) -> Manifest:
    state = {"waiting": {"reason": "ContainerCreating"}}
    return _described(item, ready=False, started=False, restarts=0, state=state)


def _container(item: Container, pod: Manifest) -> Manifest:
    last = {"lastState": _terminated(item.ended)} if item.ended and (item.runs or item.restart_at) else {}
    told = _described(
        item.spec,
        ready=item.ready,
        started=item.has_started,
        restarts=item.restarts,
        state=_state(item, pod),
    )
    return {**told, **last}


def _described(item: Manifest, *, ready: bool, started: bool, restarts: int, state: Manifest) -> Manifest:
    return {
        "name": item["name"],
        "image": item["image"],
        "imageID": "",
        "ready": ready,
        "started": started,
        "restartCount": restarts,
        "state": state,
    }


def _state(item: Container, pod: Manifest) -> Manifest:
    if item.runs and item.started is not None:
        return {"running": {"startedAt": timestamp(item.started)}}
    if item.restart_at is not None:
        message = (
            f"back-off {item.delay:g}s restarting failed container={item.name} "
            f"pod={pod['name']}_{pod['namespace']}({pod['uid']})"
        )
        return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    if item.ended is not None:
        return _terminated(item.ended)
    return {"waiting": {"reason": "ContainerCreating"}}


def _terminated(ended: Ended) -> Manifest:
    return {
        "terminated": {
            "exitCode": ended.code,
            "reason": ended.reason,
            "startedAt": timestamp(ended.started),
            "finishedAt": timestamp(ended.finished),
        }
    }


def _conditions(pod: Manifest, unready: Sequence[str], *, begun: bool = False) -> list[Manifest]:
    old = {item["type"]: item for item in pod.get("status", {}).get("conditions", ())}
    ready = begun and not unready
    names = unready or [item["name"] for item in pod["spec"]["containers"]]
    why = {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(names)}]",
    }
    states = {
        "PodReadyToStartContainers": True,
        "Initialized": True,
        "Ready": ready,
        "ContainersReady": ready,
    }
    conditions = [
        _condition(kind, holds, old.get(kind)) | ({} if holds else why) for kind, holds in states.items()
    ]
    return [*conditions, _condition("PodScheduled", True, old.get("PodScheduled"))]


def _condition(kind: str, holds: bool, old: Manifest | None) -> Manifest:
    """The condition, with the time of its last change of status."""
    status = "True" if holds else "False"
    same = old is not None and old["status"] == status
    at = old["lastTransitionTime"] if same and old else timestamp(datetime.now(UTC))
    return {"type": kind, "status": status, "lastTransitionTime": at}
