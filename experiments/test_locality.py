"""Calls stay in their zone while it is well, leave it when it is not, and come home afterwards.

frontend and two of payments' three pods are in the zone north, the third is in the zone south. With all well
no call leaves the zone. When both pods in it are gone, every call is served by the one in the south; when
they are back, so are the calls.

Guards: DestinationRule payments, spec.trafficPolicy.outlierDetection (without it Istio makes no priorities of
localities) and loadBalancer.localityLbSetting; the label istio-locality of the pods. Evidence: the number of
pods.
"""

from harness import (
    ABSENT,
    SLO,
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
    promql,
)

NORTH = Target("payments-v1", namespace="shop", selector={"app": "payments", "version": "v1"})
CALLS = 'istio_requests_total{reporter="source",source_app="frontend",destination_service_name="payments"'
AT_HOME = SLO(
    "calls stay in their zone",
    promql("calls within the zone", good=f'{CALLS},destination_version="v1"}}', total=f"{CALLS}}}"),
    at_least=0.97,
)
SERVED = SLO("checkout is served", availability("frontend", namespace="shop"), at_least=0.98)


def zones_off(**setting):
    path = ("spec", "trafficPolicy", "loadBalancer", "localityLbSetting")
    return Patch(Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"), (Edit(path, setting),))


WITHOUT_EJECTION = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"),
    (Edit(("spec", "trafficPolicy", "outlierDetection"), ABSENT),),
)


def experiment(fault, *hypothesis):
    return Experiment(
        hypothesis=hypothesis,
        target=NORTH,
        fault=fault,
        load=Load("browse", rate=200, paths=("/checkout",)),
        blast_radius=BlastRadius(max_pods=2),
    )


def test_another_zone_serves_what_this_one_cannot_and_gives_it_back(run):
    run(experiment(Scale(0), SERVED))
    run(experiment(Nothing(), AT_HOME))


def test_without_priorities_calls_leave_their_zone(run):
    run(experiment(Nothing(), AT_HOME), weaken=[zones_off(enabled=False)], expect=Verdict.VIOLATED)


def test_without_ejection_there_are_no_priorities(run):
    run(experiment(Nothing(), AT_HOME), weaken=[WITHOUT_EJECTION], expect=Verdict.VIOLATED)
