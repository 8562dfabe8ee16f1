"""Pods come and go on purpose, and nobody notices.

A rolling restart replaces every pod, of catalog and of frontend, and an eviction, as when a node is drained, takes one.
Both let a pod end what it is doing and both happen every day, so they must cost nothing. Invoices come from one version
of payments alone: while one of its pods is gone the other one serves. A PodDisruptionBudget that wants all three pods
of catalog does not let any be evicted.

Guards: Deployment frontend-v1, strategy; Deployment payments-v1, replicas; the retries of the callers, for requests
that meet a pod at its end. Evidence: the UIDs are others; for the budget, the refusal.
"""

import pytest

from harness import (
    SLO,
    BlastRadius,
    Create,
    Edit,
    Evict,
    Experiment,
    Load,
    Patch,
    PodKill,
    Ref,
    RollingRestart,
    Target,
    Verdict,
    availability,
)

CATALOG = Target("catalog", namespace="shop")
FRONTEND = Target("frontend", namespace="shop")
PAYMENTS_V1 = Target("payments-v1", namespace="shop", selector={"app": "payments", "version": "v1"})
SERVED = SLO("pages are served", availability("frontend", namespace="shop"), at_least=0.98)

ALL_ARE_NEEDED = Create(
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "catalog", "namespace": "shop"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "catalog"}}},
    }
)
ALONE = Patch(
    Ref("apps/v1", "Deployment", "shop", "payments-v1"),
    (Edit(("spec", "replicas"), 1),),
)


def experiment(fault, target, *guards, path="/items"):
    return Experiment(
        hypothesis=[SERVED],
        target=target,
        fault=fault,
        load=Load("browse", rate=200, paths=(path,)),
        blast_radius=BlastRadius(max_pods=3),
        guards=guards,
    )


KILL = PodKill(count=1, grace_seconds=0)
INVOICES = experiment(KILL, PAYMENTS_V1, "Deployment payments-v1 spec.replicas", path="/invoices")
REPLACED = {
    "restart of catalog": experiment(RollingRestart(), CATALOG),
    "restart of frontend": experiment(RollingRestart(), FRONTEND, "Deployment frontend-v1 spec.strategy"),
    "eviction": experiment(Evict(1), CATALOG),
    "one of two": INVOICES,
}


@pytest.mark.parametrize("experiment", REPLACED.values(), ids=REPLACED)
def test_pods_that_are_replaced_are_not_missed(run, experiment):
    run(experiment)


def test_the_only_one_is(run):
    run(INVOICES, weaken=[ALONE], expect=Verdict.VIOLATED)


def test_a_budget_that_needs_all_pods_lets_none_go(run):
    run(experiment(Evict(1), CATALOG), weaken=[ALL_ARE_NEEDED], expect=Verdict.INCONCLUSIVE)
