"""Retries hide a failing callee.

30 % of what catalog answers becomes a 503, at catalog's own sidecar: there the caller's policies can see it. Up to
eight retries leave 0.3^9 = 0.002 % of the requests without an answer, so people at the entry notice nothing. The same
goes for the two ways to payments that have retries of their own; three of them leave 0.3^4 = 0.8 %.

Guards: spec.http[].retries (attempts, retryOn, backoff) of the VirtualServices catalog and payments; the TLS that both
are called with. Evidence: the share of requests that carry the flag FI at the callee.
"""

import pytest

from harness import (
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Nothing,
    Patch,
    Ref,
    Target,
    Verdict,
    availability,
)

CATALOG = Target("catalog", namespace="shop")
UP = SLO("the shop is available at the entry", availability("frontend", namespace="shop"), at_least=0.995)
SERVED = SLO("payments are made", availability("frontend", namespace="shop"), at_least=0.97)

WITHOUT_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"),
    (Edit(("spec", "http", 0, "retries"), {"attempts": 0}),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[UP],
        target=CATALOG,
        fault=fault,
        load=Load("browse", rate=600, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=3),
        guards=[
            "VirtualService catalog spec.http[0].retries",
            "DestinationRule catalog spec.trafficPolicy.tls",
        ],
    )


def payments(fault, path, *guards):
    return Experiment(
        hypothesis=[SERVED],
        target=Target("payments", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=150, paths=(path,)),
        blast_radius=BlastRadius(max_pods=3),
        guards=guards,
    )


FAILING = Abort(503, percent=30)
PAYMENTS = {
    "checkout": payments(FAILING, "/checkout", "VirtualService payments spec.http[4].retries"),
    "invoices": payments(FAILING, "/invoices", "VirtualService payments spec.http[3].retries"),
    "nothing": payments(Nothing(), "/checkout", "DestinationRule payments spec.trafficPolicy.tls"),
}


@pytest.mark.parametrize("fault", [Abort(503, percent=30), Nothing()], ids=str)
def test_retries_hide_a_failing_callee(run, fault):
    run(experiment(fault))


@pytest.mark.parametrize("experiment", PAYMENTS.values(), ids=PAYMENTS)
def test_so_they_do_on_each_way_to_payments(run, experiment):
    run(experiment)


def test_without_retries_the_same_failures_reach_the_entry(run):
    run(experiment(Abort(503, percent=30)), weaken=[WITHOUT_RETRIES], expect=Verdict.VIOLATED)
