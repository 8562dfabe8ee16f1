"""Calls stay in their zone while it is well, leave it when it is not, and come home afterwards.

frontend and two of payments' three pods are in the zone north, the third is in the zone south. With all well
no call leaves the zone. When both pods in it are gone, every call is served by the one in the south. When they are
there and fail, ejection takes them out of the choice within 2 s, which leaves the zone just as empty. In either case
the calls come home when all is well again.

Guards: DestinationRule payments, spec.trafficPolicy.outlierDetection (without it Istio makes no priorities of
localities) and loadBalancer.localityLbSetting; the label istio-locality of the pods. Evidence: the number of
pods; the flag FI of every attempt at them, until there are no attempts any more.
"""

from harness import (
    ABSENT,
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Nothing,
    Patch,
    Ref,
    Scale,
    Target,
    Verdict,
    availability,
    ejection,
    promql,
)

NORTH = Target("payments-v1", namespace="shop", selector={"app": "payments", "version": "v1"})
CALLS = 'istio_requests_total{reporter="source",source_app="frontend",destination_service_name="payments"'
WITHIN = promql("calls within the zone", good=f'{CALLS},destination_version="v1"}}', total=f"{CALLS}}}")
CALM = SLO("calls stay in their zone", WITHIN, at_least=0.97)
AT_HOME = SLO("calls are back in their zone", WITHIN, at_least=0.97)
# 600 calls are two seconds: long enough to see pods that return too soon, and over before they are due to.
AVOIDED = SLO("the failing zone is avoided", ejection("payments", namespace="shop"), at_least=0.9, enough=600)
SERVED = SLO("checkout is served", availability("frontend", namespace="shop"), at_least=0.98)


def zones_off(**setting):
    path = ("spec", "trafficPolicy", "loadBalancer", "localityLbSetting")
    return Patch(Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"), (Edit(path, setting),))


WITHOUT_EJECTION = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"),
    (Edit(("spec", "trafficPolicy", "outlierDetection"), ABSENT),),
)


def experiment(fault, *hypothesis, guards=(), **more):
    return Experiment(
        hypothesis=hypothesis,
        target=NORTH,
        fault=fault,
        load=Load("browse", rate=300, paths=("/checkout",)),
        blast_radius=BlastRadius(max_pods=2),
        recovery=[AT_HOME],
        recover_within=15.0,
        guards=guards,
        **more,
    )


AS_IT_IS = experiment(
    *(Nothing(), CALM), guards=["DestinationRule payments spec.trafficPolicy.loadBalancer.localityLbSetting"]
)
FAILING = experiment(
    *(Abort(503, percent=100), AVOIDED),
    mitigated_within=2.0,
    guards=["DestinationRule payments spec.trafficPolicy.outlierDetection"],
)


def test_calls_stay_in_their_zone(run):
    run(AS_IT_IS)


def test_another_zone_serves_what_an_empty_one_cannot_and_gives_it_back(run):
    run(experiment(Scale(0), SERVED))


def test_another_zone_serves_what_a_failing_one_cannot_and_gives_it_back(run):
    run(FAILING)


def test_without_priorities_calls_leave_their_zone(run):
    run(AS_IT_IS, weaken=[zones_off(enabled=False)], expect=Verdict.VIOLATED)


def test_without_ejection_there_are_no_priorities(run):
    run(AS_IT_IS, weaken=[WITHOUT_EJECTION], expect=Verdict.VIOLATED)
