"""Faults as experiments through real Envoys: what was seen of each comes with the verdict."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from catalog import BUDGET, CATALOG, WIDE, ready, specs
from support import eventually

from harness import (
    Abort,
    ControlPlaneOutage,
    Delay,
    Evict,
    PodKill,
    ProxyKill,
    Scale,
    Stress,
    Verdict,
)
from harness.changes import Ref

pytestmark = pytest.mark.e2e


@pytest.fixture
def perform(cluster, judged):
    """Runs an experiment on catalog with a fault: the judgement; every spec is then what it was."""

    def perform(fault, radius=WIDE):
        eventually(lambda: len(ready(cluster)) == 3)
        before = specs(cluster)
        found = judged(CATALOG, fault, radius, recover_within=15)
        assert specs(cluster) == before
        return found

    return perform


@pytest.mark.parametrize(
    ("fault", "verdict", "evidence"),
    [
        (Scale(0), Verdict.VIOLATED, "0 pods, 0 of them ready, asked 0"),
        (ControlPlaneOutage(), Verdict.HELD, "0 pods, 0 of them ready, asked 0"),
    ],
    ids=str,
)
def test_a_verdict_comes_with_what_was_seen_of_the_pods(perform, fault, verdict, evidence):
    """Nobody answers without catalog; without istiod everybody does."""
    judgement = perform(fault)
    assert judgement.verdict is verdict, judgement.reasons
    assert judgement.evidence == evidence


@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        (ProxyKill(), r"1 of 1 proxies started again, 3 of 3 ready, [\d,]+ requests"),
        (PodKill(every=2), r"([2-7]) of \1 pods gone, [23] of 3 ready, killed \1 times"),
        (Abort(503, 40, ramp=2), "asked 40 %, seen "),
        (Delay(0.05, 40, ramp=2), "asked 40 %, seen "),
        (Stress(seconds=10), "1 of 1 pods run harness-test-stress$"),
    ],
    ids=str,
)
def test_faults_that_go_on_or_act_inside_pods_are_proven(perform, fault, evidence):
    """Retries and the other pods hide all of them."""
    judgement = perform(fault, replace(WIDE, max_pods=7, seconds=13))
    assert judgement.verdict is Verdict.HELD, judgement
    assert re.match(evidence, judgement.evidence)


def test_an_experiment_whose_evictions_are_all_refused_tells_nothing(perform, cluster):
    """INCONCLUSIVE, in the budget's words."""
    ref = Ref("policy/v1", "PodDisruptionBudget", "shop", "catalog")
    cluster.create(BUDGET)
    try:
        eventually(lambda: cluster.get(ref).get("status", {}).get("expectedPods") == 3)
        judgement = perform(Evict())
    finally:
        cluster.delete(ref)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert any("disruption budget catalog needs 3" in reason for reason in judgement.reasons)
