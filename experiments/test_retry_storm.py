"""Retries do not become a storm.

payments fails every request. Up to eight retries each would make nine attempts of every call, at the very
moment when payments can take them least. The retry budget lets only so many retries be under way at a time:
those that find none free are given up at once. The calls fail either way; what is promised is that payments
does not get three times the requests that were made.

Guards: DestinationRule payments, spec.trafficPolicy.retryBudget (percent, minRetryConcurrency);
VirtualService payments, spec.http[].retries.attempts. Evidence: every attempt at payments carries the flag
FI.
"""

from harness import (
    ABSENT,
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Patch,
    Ref,
    Target,
    Verdict,
    retry_amplification,
)

PAYMENTS = Target("payments", namespace="shop")
BUDGET = SLO(
    "payments gets no storm of retries", retry_amplification("payments", namespace="shop"), at_most=3.0
)

WITHOUT_BUDGET = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"),
    (Edit(("spec", "trafficPolicy", "retryBudget"), ABSENT),),
)


STORMY = Experiment(
    hypothesis=[BUDGET],
    target=PAYMENTS,
    fault=Abort(503, percent=100),
    load=Load("browse", rate=300, users=200, paths=("/checkout",)),
    blast_radius=BlastRadius(max_pods=3),
    guards=["DestinationRule payments spec.trafficPolicy.retryBudget"],
)


def test_retries_do_not_become_a_storm(run):
    run(STORMY)


def test_without_a_budget_they_do(run):
    run(STORMY, weaken=[WITHOUT_BUDGET], expect=Verdict.VIOLATED)
