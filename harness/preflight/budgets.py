"""PodDisruptionBudgets that do not let the fault be, or that the fault goes past. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.caveats import Caveat
from harness.changes import Delete, Eviction, Manifest, ref_of
from harness.faults import Pod
from harness.preflight.premises import Premises


def budgets(premises: Premises) -> Iterator[Caveat]:
    """Evictions that a budget refuses; deletions that go past one, which no budget stops."""
    pods = {pod.ref: pod for pod in (*premises.pods, *premises.scene.pods)}
    evicted = [pods[one.ref] for one in premises.changes if isinstance(one, Eviction) and one.ref in pods]
    deleted = [pods[one.ref] for one in premises.changes if isinstance(one, Delete) and one.ref in pods]
    for item in premises.of("PodDisruptionBudget"):
        allowed = disruptions_allowed(item, premises.pods)
        out, gone = (sum(_covers(item, pod) for pod in taken) for taken in (evicted, deleted))
        if out > allowed:
            yield _refused(premises, item, out, allowed, len(evicted))
        if gone > allowed:
            yield Caveat(
                "budget",
                "warn",
                f"{premises.experiment.fault} takes {gone} pods of which this budget lets {max(0, allowed)} go: it is "
                "asked about evictions only, and does not stop this",
                _field(item),
                "evict instead of killing, if the budget is to be tested",
            )


def disruptions_allowed(budget: Manifest, pods: tuple[Pod, ...]) -> int:
    """How many of these ready pods a budget lets go now: what its status says, else what its spec comes to.

    A percentage is rounded up, both as minAvailable and as maxUnavailable (kubernetes
    `pkg/controller/disruption/disruption.go`).
    """
    said = (budget.get("status") or {}).get("disruptionsAllowed")
    if said is not None:
        return int(said)
    spec, healthy = budget["spec"], sum(_covers(budget, pod) for pod in pods)
    if "maxUnavailable" in spec:
        return _whole(spec["maxUnavailable"], healthy)
    return max(0, healthy - _whole(spec.get("minAvailable", 1), healthy))


def _refused(premises: Premises, item: Manifest, out: int, allowed: int, every: int) -> Caveat:
    """All evictions refused leave nothing to be seen; some refused leave less than was asked for."""
    nothing = allowed <= 0 and out == every
    rest = "nothing would happen" if nothing else "the others would be refused"
    return Caveat(
        "budget",
        "refuse" if nothing else "warn",
        f"{premises.experiment.fault} evicts {out} pods of which this budget lets {max(0, allowed)} go now: {rest}",
        _field(item),
        "run more pods, let the budget allow more, or evict fewer",
    )


def _field(item: Manifest) -> str:
    name = "maxUnavailable" if "maxUnavailable" in item["spec"] else "minAvailable"
    return f"{ref_of(item)} spec.{name}"


def _covers(budget: Manifest, pod: Pod) -> bool:
    """Whether a budget is about a pod; an empty selector selects all of its namespace (policy/v1)."""
    selector: Mapping[str, Any] | None = budget["spec"].get("selector")
    if selector is None or budget["metadata"]["namespace"] != pod.namespace:
        return False
    if not (selector.get("matchLabels") or {}).items() <= pod.labels.items():
        return False
    return all(_expressed(one, pod.labels) for one in selector.get("matchExpressions") or ())


def _expressed(one: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    there, value = one["key"] in labels, labels.get(one["key"])
    match one["operator"]:
        case "Exists":
            return there
        case "DoesNotExist":
            return not there
        case "In":
            return value in (one.get("values") or ())
        case _:
            return value not in (one.get("values") or ())


def _whole(value: int | str, of: int) -> int:
    """A number, or a percentage of so many, rounded up."""
    return -(-int(value.rstrip("%")) * of // 100) if isinstance(value, str) else value
