"""A pod that only fails is taken out of the choice, and asked again when it is well.

The one pod of catalog's v2 fails every request. Twelve failures in a row at each of its callers' sidecars eject it for
five seconds, all within 2 s: from then on it gets none of the attempts, where it would have a third. When the fault is
over it has to come back, which the recovery promises: a pod that stays out for good is a pod less.

Guards: DestinationRule catalog, spec.trafficPolicy.outlierDetection (consecutive5xxErrors, interval,
baseEjectionTime, maxEjectionPercent, which has to allow one of three). Evidence: every attempt at v2 carries
the flag FI, until there are no attempts any more.
"""

import pytest

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
    availability,
    ejection,
    promql,
)

V2 = Target("catalog-v2", namespace="shop", selector={"app": "catalog", "version": "v2"})
AVOIDED = SLO("the failing pod is avoided", ejection("catalog", namespace="shop"), at_least=0.97)
CALLS = 'istio_requests_total{reporter="source",source_app="frontend",destination_service_name="catalog"'
BACK = SLO(
    "v2 is asked again",
    promql("calls to v2", good=f'{CALLS},destination_version="v2"}}', total=f"{CALLS}}}"),
    at_least=0.2,
)
SERVED = SLO("items are served", availability("frontend", namespace="shop"), at_least=0.99)

WITHOUT_EJECTION = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"),
    (Edit(("spec", "trafficPolicy", "outlierDetection"), ABSENT),),
)
AS_ISTIO_WOULD = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"),
    (Edit(("spec", "trafficPolicy", "outlierDetection", "maxEjectionPercent"), ABSENT),),
)


FAILING = Experiment(
    hypothesis=[AVOIDED, SERVED],
    target=V2,
    fault=Abort(503, percent=100),
    load=Load("browse", rate=300, paths=("/items",)),
    blast_radius=BlastRadius(max_pods=1),
    mitigated_within=2.0,
    recovery=[BACK],
    recover_within=12.0,
    guards=["DestinationRule catalog spec.trafficPolicy.outlierDetection"],
)


def test_a_failing_pod_is_ejected_and_returns(run):
    run(FAILING)


@pytest.mark.parametrize("weaken", [WITHOUT_EJECTION, AS_ISTIO_WOULD], ids=["no ejection", "default percent"])
def test_without_ejection_it_is_asked_like_the_others(run, weaken):
    run(FAILING, weaken=[weaken], expect=Verdict.VIOLATED)
