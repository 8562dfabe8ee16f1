"""A sidecar that ends takes nobody along.

The sidecar of one of catalog's pods is asked to quit; the program beside it lives, but can neither be reached nor reach
anybody until the kubelet has started the sidecar again. Callers try again at another pod meanwhile. The same happens to
one of frontend's two, whose caller is the gateway.

Guards: VirtualService catalog, spec.http[].retries (retryOn with connect-failure and reset); VirtualService shop,
spec.http[].retries; Deployment frontend-v1, spec.replicas. Evidence: the restart count of istio-proxy, and of no other
container.
"""

import pytest

from harness import (
    ABSENT,
    SLO,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Patch,
    ProxyKill,
    Ref,
    Target,
    Verdict,
    availability,
)

SERVED = SLO("items are served", availability("frontend", namespace="shop"), at_least=0.98)

UNPROTECTED = [
    Patch(
        Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"),
        (Edit(("spec", "http", 0, "retries"), {"attempts": 0}),),
    ),
    Patch(
        Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"),
        (Edit(("spec", "trafficPolicy", "outlierDetection"), ABSENT),),
    ),
]


def experiment(app, *guards):
    return Experiment(
        hypothesis=[SERVED],
        target=Target(app, namespace="shop"),
        fault=ProxyKill(1),
        load=Load("browse", rate=200, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1),
        guards=guards,
    )


CATALOG = experiment("catalog")
FRONTEND = experiment(
    "frontend", "VirtualService shop spec.http[0].retries", "Deployment frontend-v1 spec.replicas"
)


@pytest.mark.parametrize("experiment", [CATALOG, FRONTEND], ids=["catalog", "frontend"])
def test_a_sidecar_that_ends_is_not_noticed(run, experiment):
    run(experiment)


def test_without_retries_and_ejection_it_is(run):
    run(CATALOG, weaken=UNPROTECTED, expect=Verdict.VIOLATED)
