"""A pod that only fails is taken out of the choice, asked again after a while, and taken out again.

The one pod of catalog's v2 fails every request. Twelve failures in a row eject it for five seconds, then it
is asked again. Between two ejections it gets a dozen attempts of about 1,500, so far less than the third it
would have. The run sees it come back: only then can the fault show again at that pod, and without that
evidence there is no verdict.

Guards: DestinationRule catalog, spec.trafficPolicy.outlierDetection (consecutive5xxErrors, interval,
baseEjectionTime, maxEjectionPercent, which has to allow one of three). Evidence: every attempt at v2 carries
the flag FI.
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
)

V2 = Target("catalog-v2", namespace="shop", selector={"app": "catalog", "version": "v2"})
AVOIDED = SLO("the failing pod is avoided", ejection("catalog", namespace="shop"), at_least=0.97)
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
)


def test_a_failing_pod_is_ejected_and_returns(run):
    run(FAILING)


@pytest.mark.parametrize("weaken", [WITHOUT_EJECTION, AS_ISTIO_WOULD], ids=["no ejection", "default percent"])
def test_without_ejection_it_is_asked_like_the_others(run, weaken):
    run(FAILING, weaken=[weaken], expect=Verdict.VIOLATED)
