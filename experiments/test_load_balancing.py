"""Every pod takes its part.

catalog has three pods, two of v1 and one of v2, and no rule about versions: a third of the calls each is what
people expect. LEAST_REQUEST gives everybody its part within what chance and different speeds do; half of that
part is promised.

Guards: DestinationRule catalog, spec.trafficPolicy.loadBalancer.
"""

from harness import SLO, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, promql

CALLS = 'istio_requests_total{reporter="source",source_app="frontend",destination_service_name="catalog"'


def takes(version, at_least):
    sli = promql(f"calls to {version}", good=f'{CALLS},destination_version="{version}"}}', total=f"{CALLS}}}")
    return SLO(f"{version} takes its part", sli, at_least=at_least)


STICKY = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"),
    (Edit(("spec", "trafficPolicy", "loadBalancer"), {"consistentHash": {"httpHeaderName": "host"}}),),
)
EVEN = Experiment(
    hypothesis=[takes("v1", at_least=0.5), takes("v2", at_least=0.16)],
    target=Target("catalog", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=300, paths=("/items",)),
    guards=(),
)


def test_every_pod_takes_its_part(run):
    run(EVEN)


def test_a_hash_of_what_all_calls_have_in_common_gives_them_to_one_pod(run):
    run(EVEN, weaken=[STICKY], expect=Verdict.VIOLATED)
