"""A callee knows who calls, by certificate.

Every request that catalog gets from frontend carries the identity of frontend's service account, as catalog's
own sidecar has verified it. That is what authorization rests on: without mutual TLS there is a call and
nobody who made it.

Guards: PeerAuthentication default, spec.mtls.mode; DestinationRule catalog, spec.trafficPolicy.tls (left to
the mesh).
"""

from harness import SLO, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, promql

REQUESTS = 'istio_requests_total{reporter="destination",destination_service_name="catalog"'
KNOWN = SLO(
    "catalog knows that frontend calls",
    promql(
        "requests with frontend's identity",
        good=f'{REQUESTS},source_principal="spiffe://cluster.local/ns/shop/sa/frontend"}}',
        total=f"{REQUESTS}}}",
    ),
    at_least=1.0,
)
WITHOUT_TLS = [
    Patch(
        Ref("security.istio.io/v1", "PeerAuthentication", "shop", "default"),
        (Edit(("spec", "mtls", "mode"), "PERMISSIVE"),),
    ),
    Patch(
        Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"),
        (Edit(("spec", "trafficPolicy", "tls"), {"mode": "DISABLE"}),),
    ),
]
IDENTIFIED = Experiment(
    hypothesis=[KNOWN],
    target=Target("catalog", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=300, paths=("/items",)),
    guards=["PeerAuthentication default"],
)


def test_the_callee_knows_who_calls(run):
    run(IDENTIFIED)


def test_without_mutual_tls_it_does_not(run):
    run(IDENTIFIED, weaken=WITHOUT_TLS, expect=Verdict.VIOLATED)
