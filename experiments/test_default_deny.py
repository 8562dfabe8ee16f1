"""What nobody thought of is refused.

payments' own policy is gone, as for a service that was deployed without one. Then the policy that allows
nobody anything is all there is, and every call is refused, also frontend's. Without that policy as well,
everybody may call.

Guards: AuthorizationPolicy nobody.
"""

from harness import SLO, Delete, Experiment, Load, Nothing, Ref, Target, Verdict, promql

REQUESTS = 'istio_requests_total{reporter="destination",destination_service_name="payments"'
REFUSED = SLO(
    "every call is refused",
    promql("calls answered 403", good=f'{REQUESTS},response_code="403"}}', total=f"{REQUESTS}}}"),
    at_least=1.0,
)
UNTHOUGHT_OF = Experiment(
    hypothesis=[REFUSED],
    target=Target("payments", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=300, paths=("/checkout",)),
    guards=["AuthorizationPolicy nobody"],
)


def without(name):
    return Delete(Ref("security.istio.io/v1", "AuthorizationPolicy", "shop", name))


def test_a_service_without_a_policy_is_closed(run):
    run(UNTHOUGHT_OF, weaken=[without("payments")])


def test_without_the_default_it_is_open(run):
    run(UNTHOUGHT_OF, weaken=[without("payments"), without("nobody")], expect=Verdict.VIOLATED)
