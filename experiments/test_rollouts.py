"""Pods come and go on purpose, and nobody notices.

A rolling restart replaces every pod of catalog, and an eviction, as when a node is drained, takes one. Both let a pod
end what it is doing and both happen every day, so they must cost nothing. A PodDisruptionBudget that wants all three
pods does not let any be evicted.

Guards: Deployment catalog, replicas and strategy; VirtualService catalog, spec.http[].retries, for the requests that
meet a pod at its end. Evidence: the UIDs are others; for the budget, the refusal.
"""

import pytest

from harness import (
    SLO,
    BlastRadius,
    Create,
    Evict,
    Experiment,
    Load,
    RollingRestart,
    Target,
    Verdict,
    availability,
)

CATALOG = Target("catalog", namespace="shop")
SERVED = SLO("items are served", availability("frontend", namespace="shop"), at_least=0.99)

ALL_ARE_NEEDED = Create(
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "catalog", "namespace": "shop"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "catalog"}}},
    }
)


def experiment(fault):
    return Experiment(
        hypothesis=[SERVED],
        target=CATALOG,
        fault=fault,
        load=Load("browse", rate=200, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=3),
    )


@pytest.mark.parametrize("fault", [RollingRestart(), Evict(1)], ids=str)
def test_pods_that_are_replaced_on_purpose_are_not_missed(run, fault):
    run(experiment(fault))


def test_a_budget_that_needs_all_pods_lets_none_go(run):
    run(experiment(Evict(1)), weaken=[ALL_ARE_NEEDED], expect=Verdict.INCONCLUSIVE)
