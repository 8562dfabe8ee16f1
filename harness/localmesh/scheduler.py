"""The scheduler: gives each pod a node.

Pods of one owner are spread: the node with the fewest of them, then with the fewest pods, then the first by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from harness.localmesh import events
from harness.localmesh.api.resources import NODES, PODS
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import with_section
from harness.localmesh.podstatus import unschedulable
from harness.localmesh.store import Store
from harness.localmesh.workloads import controller_of, is_terminating

_CORDON = "node.kubernetes.io/unschedulable"
_KEEPING_OUT = ("NoSchedule", "NoExecute")


def reconcile(store: Store) -> None:
    """Places every pod without a node; one that fits nowhere says why in its condition PodScheduled and an event."""
    pods = store.list(PODS)
    waiting = [pod for pod in pods if not pod["spec"].get("nodeName") and not is_terminating(pod)]
    if not waiting:
        return
    nodes = store.list(NODES)
    placed = [pod for pod in pods if pod["spec"].get("nodeName")]
    for pod in waiting:
        name, why = choose(pod, nodes, placed)
        if name:
            bound = _bind(store, pod, name)
            placed += [bound] if bound else []
        else:
            _refuse(store, pod, why)


def choose(pod: Manifest, nodes: Sequence[Manifest], placed: Iterable[Manifest]) -> tuple[str, str]:
    """The node for `pod` and "", or "" and why none of `nodes` will do, in the scheduler's own words."""
    obstacles = {node["metadata"]["name"]: _obstacle(pod, node) for node in nodes}
    free = sorted(name for name, obstacle in obstacles.items() if not obstacle)
    if not free:
        reasons = Counter(obstacles.values())
        listed = ", ".join(f"{count} node(s) {reason}" for reason, count in sorted(reasons.items()))
        return "", f"0/{len(nodes)} nodes are available: {listed or 'there are none'}."
    everybody: Counter[str] = Counter()
    siblings: Counter[str] = Counter()
    for other in placed:
        everybody[other["spec"]["nodeName"]] += 1
        siblings[other["spec"]["nodeName"]] += _owner(other) == _owner(pod) and not is_terminating(other)
    return min(free, key=lambda name: (siblings[name], everybody[name], name)), ""


def _obstacle(pod: Manifest, node: Manifest) -> str:
    """Why the pod may not be on that node, or ""."""
    spec, metadata = node.get("spec", {}), node["metadata"]
    if is_terminating(node):
        return "were being deleted"
    taints = list(spec.get("taints") or ())
    if spec.get("unschedulable"):
        taints.append({"key": _CORDON, "effect": "NoSchedule"})
    for taint in taints:
        if taint.get("effect") in _KEEPING_OUT and not _tolerated(pod, taint):
            return (
                "were unschedulable" if taint["key"] == _CORDON else f"had untolerated taint {taint['key']}"
            )
    selector = pod["spec"].get("nodeSelector") or {}
    if not selector.items() <= metadata.get("labels", {}).items():
        return "didn't match Pod's node affinity/selector"
    return ""


def _tolerated(pod: Manifest, taint: Manifest) -> bool:
    return any(_tolerates(item, taint) for item in pod["spec"].get("tolerations") or ())


def _tolerates(toleration: Manifest, taint: Manifest) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(
        toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
    )


def _owner(pod: Manifest) -> str:
    uid: str = pod["metadata"]["uid"]
    return controller_of(pod) or uid


def _bind(store: Store, pod: Manifest, node: str) -> Manifest | None:
    metadata = pod["metadata"]

    def bind(now: Manifest) -> Manifest | None:
        if now["metadata"]["uid"] != metadata["uid"] or now["spec"].get("nodeName"):
            return None
        return {**now, "spec": {**now["spec"], "nodeName": node}}

    try:
        bound = store.update(PODS, metadata["namespace"], metadata["name"], bind)
    except Refused as refused:
        if refused.reason != "NotFound":
            raise
        return None  # deleted meanwhile
    message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
    events.record(store, bound, "Normal", "Scheduled", message, by="default-scheduler")
    return bound


def _refuse(store: Store, pod: Manifest, why: str) -> None:
    metadata = pod["metadata"]
    status = partial(unschedulable, why=why)
    try:
        store.update(
            PODS,
            metadata["namespace"],
            metadata["name"],
            lambda now: with_section(now, "status", {"status": status(now)}),
            section="status",
        )
    except Refused as refused:
        if refused.reason != "NotFound":
            raise
        return
    events.complain(store, pod, "FailedScheduling", why, by="default-scheduler")
