"""The status of a Deployment and its conditions Available and Progressing: pure.

Source: kubernetes/kubernetes `pkg/controller/deployment/progress.go` and `util/deployment_util.go`.
"""

from __future__ import annotations

from datetime import datetime

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp
from harness.localmesh.rollout import REVISION_HISTORY, Family
from harness.localmesh.workloads import moment

_NO_DEADLINE = 2**31 - 1
_DONE = "NewReplicaSetAvailable"
_LATE = "ProgressDeadlineExceeded"
_PAUSED = "DeploymentPaused"
_RESUMED = "DeploymentResumed"
_VERBS = ("Created new", "Found new")


def status(family: Family, now: datetime) -> Manifest:
    """The status of the Deployment; a condition keeps its times while it says the same."""
    counts = _counts(family)
    old = {item["type"]: item for item in family.deployment.get("status", {}).get("conditions", ())}
    conditions = [_availability(family, counts, old.get("Available"), now)]
    progressing = _progress(family, counts, old.get("Progressing"), now)
    return {**counts, "conditions": conditions + ([progressing] if progressing else [])}


def complete(family: Family) -> bool:
    """Whether all pods are of the present template, and available (DeploymentComplete)."""
    return _complete(family, _counts(family))


def late_in(family: Family, now: datetime) -> float | None:
    """Seconds until the rollout has taken longer than its deadline; None: it has none or has come to an end."""
    for item in family.deployment.get("status", {}).get("conditions", ()):
        if item["type"] == "Progressing" and item.get("reason") not in (_DONE, _LATE, _PAUSED):
            deadline = _deadline(family)
            if deadline is not None:
                return max(0.0, deadline - (now - moment(item.get("lastUpdateTime"))).total_seconds())
    return None


def _counts(family: Family) -> Manifest:
    statuses = [item.get("status", {}) for item in family.sets]
    counts = {
        name: sum(item.get(name, 0) for item in statuses)
        for name in ("replicas", "readyReplicas", "availableReplicas")
    }
    counts["updatedReplicas"] = family.new.get("status", {}).get("replicas", 0) if family.new else 0
    asked = sum(item["spec"].get("replicas", 1) for item in family.sets)
    if missing := max(0, asked - counts["availableReplicas"]):
        counts["unavailableReplicas"] = missing
    return {"observedGeneration": family.deployment["metadata"].get("generation", 1), **counts}


def _complete(family: Family, counts: Manifest) -> bool:
    names = ("updatedReplicas", "replicas", "availableReplicas")
    return family.new is not None and all(counts[name] == family.wanted for name in names)


def _availability(family: Family, counts: Manifest, old: Manifest | None, now: datetime) -> Manifest:
    enough = counts["availableReplicas"] >= family.wanted - family.bounds[1]
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    message = f"Deployment {'has' if enough else 'does not have'} minimum availability."
    new = _condition("Available", "True" if enough else "False", reason, message, now)
    return old if _says_the_same(old, new) and old else new


def _progress(family: Family, counts: Manifest, old: Manifest | None, now: datetime) -> Manifest | None:
    deadline = _deadline(family)
    if deadline is None:
        return None
    new = _progressing(family, counts, old, deadline, now)
    if new is None or (_says_the_same(old, new) and not _moved(family, counts)):
        return old
    if old is not None and old["status"] == new["status"]:
        new["lastTransitionTime"] = old["lastTransitionTime"]
    return new


def _progressing(
    family: Family, counts: Manifest, old: Manifest | None, deadline: float, now: datetime
) -> Manifest | None:
    """The condition Progressing as it has to be now; None: as it was."""
    reason = old.get("reason", "") if old else ""
    if family.paused or reason == _PAUSED:
        state, word = (_PAUSED, "paused") if family.paused else (_RESUMED, "resumed")
        if family.paused and reason in (_LATE, _PAUSED):
            return None
        return _condition("Progressing", "Unknown", state, f"Deployment is {word}", now)
    if family.new is None:
        return None
    told = _told(family, family.new, counts, old)
    if told is None and old is not None and reason != _DONE:
        waited = (now - moment(old.get("lastUpdateTime"))).total_seconds()
        if reason == _LATE or waited > deadline:
            told = _LATE, "has timed out progressing."
    if told is None:
        return None
    reason, words = told
    name = f'"{family.new["metadata"]["name"]}"'
    message = f"{words} replica set {name}" if words in _VERBS else f"ReplicaSet {name} {words}"
    return _condition("Progressing", "False" if reason == _LATE else "True", reason, message, now)


def _told(family: Family, new: Manifest, counts: Manifest, old: Manifest | None) -> tuple[str, str] | None:
    """The reason why the rollout can be said to get on, with the words for it; None: it does not."""
    concerned = _concerns(old, new["metadata"]["name"])
    reason = old.get("reason") if old else None
    if reason == _DONE and concerned:
        return None  # pods that come and go after a rollout are no rollout
    if not concerned and reason != _RESUMED:
        found = REVISION_HISTORY in new["metadata"].get("annotations", {})
        return ("FoundNewReplicaSet", "Found new") if found else ("NewReplicaSetCreated", "Created new")
    if _complete(family, counts):
        return _DONE, "has successfully progressed."
    return ("ReplicaSetUpdated", "is progressing.") if _moved(family, counts) else None


def _concerns(condition: Manifest | None, set_name: str) -> bool:
    return condition is not None and f'"{set_name}"' in condition.get("message", "")


def _moved(family: Family, counts: Manifest) -> bool:
    """Whether the rollout has got on since the last status (DeploymentProgressing)."""
    before = family.deployment.get("status", {})
    names = ("updatedReplicas", "readyReplicas", "availableReplicas")
    fewer_old = counts["replicas"] - counts["updatedReplicas"] < before.get("replicas", 0) - before.get(
        "updatedReplicas", 0
    )
    return fewer_old or any(counts[name] > before.get(name, 0) for name in names)


def _deadline(family: Family) -> float | None:
    seconds = family.deployment["spec"].get("progressDeadlineSeconds", 600)
    return None if seconds >= _NO_DEADLINE else float(seconds)


def _says_the_same(old: Manifest | None, new: Manifest) -> bool:
    return old is not None and (old["status"], old.get("reason")) == (new["status"], new["reason"])


def _condition(kind: str, state: str, reason: str, message: str, now: datetime) -> Manifest:
    at = timestamp(now)
    return {
        "type": kind,
        "status": state,
        "lastUpdateTime": at,
        "lastTransitionTime": at,
        "reason": reason,
        "message": message,
    }
