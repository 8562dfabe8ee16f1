"""PodDisruptionBudgets: how many pods may be evicted now. The status is computed here, the eviction keeps to it.

Rules: kubernetes/kubernetes `pkg/controller/disruption` and `pkg/registry/core/pod/storage/eviction.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from harness.localmesh.api.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
)
from harness.localmesh.api.selectors import label_selector
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp, with_section
from harness.localmesh.store import Store
from harness.localmesh.workloads import is_ready

_PENDING_SECONDS = 120.0
_ALLOWED = "SufficientPods"
_SPENT = "InsufficientPods"


def reconcile(store: Store) -> None:
    """Tells every PodDisruptionBudget how many of its pods are healthy and how many may go."""
    budgets = store.list(DISRUPTION_BUDGETS)
    if not budgets:
        return
    owners = {
        item["metadata"]["uid"]: item
        for resource in (REPLICA_SETS, DEPLOYMENTS)
        for item in store.list(resource)
    }
    pods = store.list(PODS)
    for budget in budgets:
        status = budget_status(budget, pods, owners, datetime.now(UTC))
        if status != budget.get("status"):
            _tell(store, budget, status)


def budget_status(
    budget: Manifest, pods: Iterable[Manifest], owners: dict[str, Manifest], now: datetime
) -> Manifest:
    """The status of a budget with these pods, whose ReplicaSets and Deployments `owners` holds by UID."""
    guarded = [pod for pod in pods if selects(budget, pod)]
    old = budget.get("status", {})
    disrupted = _still_disrupted(old.get("disruptedPods", {}), guarded, now)
    healthy = sum(is_ready(pod) and pod["metadata"]["name"] not in disrupted for pod in guarded)
    expected = _expected(budget, guarded, owners)
    desired = _desired(budget, expected)
    allowed = max(0, healthy - desired) if expected else 0
    status: Manifest = {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": [_condition(old.get("conditions") or (), allowed > 0, budget, now)],
    }
    return {**status, **({"disruptedPods": disrupted} if disrupted else {})}


def selects(budget: Manifest, pod: Manifest) -> bool:
    """Whether the budget guards the pod; an empty selector guards every pod of the namespace, none at all no pod."""
    selector = (budget.get("spec") or {}).get("selector")
    same = pod["metadata"].get("namespace") == budget["metadata"].get("namespace")
    return selector is not None and same and label_selector(selector)(pod)


def evict(store: Store, pod: Manifest, *, dry_run: bool = False) -> None:
    """Takes one eviction of `pod` from its budget, when there is one; the pod itself is then the caller's to delete.

    Raises:
        Refused: 429 when the budget does not allow it now, 500 when more than one budget guards the pod.
    """
    budgets = [item for item in store.list(DISRUPTION_BUDGETS) if selects(item, pod)]
    if not budgets or _is_over(pod):
        return
    if len(budgets) > 1:
        why = (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
        raise Refused(500, "InternalError", why)
    budget = budgets[0]
    if _needs_no_budget(budget, pod):
        return
    _check(budget)
    if not dry_run:
        _take(store, budget, pod)


def _take(store: Store, budget: Manifest, pod: Manifest) -> None:
    name = pod["metadata"]["name"]

    def less(now: Manifest) -> Manifest:
        # Another eviction may have been faster.
        _check(now)
        status = now["status"]
        disrupted = {**status.get("disruptedPods", {}), name: timestamp(datetime.now(UTC))}
        taken = {"disruptionsAllowed": status["disruptionsAllowed"] - 1, "disruptedPods": disrupted}
        return {**now, "status": {**status, **taken}}

    metadata = budget["metadata"]
    store.update(DISRUPTION_BUDGETS, metadata["namespace"], metadata["name"], less, section="status")


def _check(budget: Manifest) -> None:
    status = budget.get("status", {})
    name = budget["metadata"]["name"]
    why = "Cannot evict pod as it would violate the pod's disruption budget."
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 1):
        cause = f"The disruption budget {name} is still being processed by the server."
        raise _too_many(why, cause, 10)
    if status.get("disruptionsAllowed", 0) > 0:
        return
    needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    raise _too_many(
        why, f"The disruption budget {name} needs {needs} healthy pods and has {has} currently", 0
    )


def _too_many(why: str, cause: str, retry_after: int) -> Refused:
    causes = (("DisruptionBudget", cause, ""),)
    return Refused(429, "TooManyRequests", why, causes=causes, retry_after=retry_after)


def _is_over(pod: Manifest) -> bool:
    """Whether the pod serves nobody and never will: it has ended, not yet begun, or is on its way out."""
    over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed", "Pending")
    return over or "deletionTimestamp" in pod["metadata"]


def _needs_no_budget(budget: Manifest, pod: Manifest) -> bool:
    """Whether an unhealthy pod may go: always, or when there are enough healthy ones without it."""
    if is_ready(pod):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status", {})
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    return bool(healthy >= desired > 0)


def _expected(budget: Manifest, pods: Sequence[Manifest], owners: dict[str, Manifest]) -> int:
    """How many pods there should be: with a plain minAvailable those there are, else what their controllers want."""
    spec = budget.get("spec") or {}
    if "minAvailable" not in spec and "maxUnavailable" not in spec:
        return 0
    if isinstance(spec.get("minAvailable"), int):
        return len(pods)
    wanted: dict[str, int] = {}
    for pod in pods:
        owner = _root(pod, owners)
        if owner is None:
            wanted[pod["metadata"]["uid"]] = 1
        else:
            wanted[owner["metadata"]["uid"]] = owner["spec"].get("replicas", 1)
    return sum(wanted.values())


def _root(pod: Manifest, owners: dict[str, Manifest]) -> Manifest | None:
    """What scales the pod: the Deployment of its ReplicaSet, or the ReplicaSet."""
    found, item = None, pod
    while (uid := _controller(item)) in owners:
        found = item = owners[uid]
    return found


def _controller(item: Manifest) -> str:
    references = item["metadata"].get("ownerReferences", ())
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), "")


def _desired(budget: Manifest, expected: int) -> int:
    spec = budget.get("spec") or {}
    if "maxUnavailable" in spec:
        return max(0, expected - _count(spec["maxUnavailable"], expected))
    return _count(spec.get("minAvailable", 0), expected)


def _count(value: int | str, of: int) -> int:
    """A number of pods; a percentage is rounded up."""
    if isinstance(value, int):
        return value
    return -(-int(value.rstrip("%")) * of // 100)


def _still_disrupted(disrupted: dict[str, str], pods: Sequence[Manifest], now: datetime) -> dict[str, str]:
    """The evicted pods whose deletion has not been seen yet, and is not overdue."""
    alive = {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
    earliest = timestamp(now - timedelta(seconds=_PENDING_SECONDS))
    return {name: at for name, at in disrupted.items() if name in alive and str(at) >= earliest}


def _condition(old: Sequence[Manifest], allowed: bool, budget: Manifest, now: datetime) -> Manifest:
    status = "True" if allowed else "False"
    since = next(
        (
            item.get("lastTransitionTime")
            for item in old
            if item.get("type") == "DisruptionAllowed" and item["status"] == status
        ),
        None,
    )
    return {
        "type": "DisruptionAllowed",
        "status": status,
        "reason": _ALLOWED if allowed else _SPENT,
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 1),
        "lastTransitionTime": since or timestamp(now),
    }


def _tell(store: Store, budget: Manifest, status: Manifest) -> None:
    metadata = budget["metadata"]

    def told(now: Manifest) -> Manifest | None:
        if now["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            return None  # changed since it was read: the wake-up that comes with it computes again
        return with_section(now, "status", {"status": status})

    try:
        store.update(DISRUPTION_BUDGETS, metadata["namespace"], metadata["name"], told, section="status")
    except Refused as refused:
        if refused.reason != "NotFound":
            raise
