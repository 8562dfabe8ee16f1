"""A switch from one version to the other is not noticed.

All invoices come from payments v1. While people ask for them the route is changed to v2, and back again at
the end, and not one request is lost: requests under way end where they began, new ones go to the new version.

Guards: VirtualService payments, spec.http[invoices]; DestinationRule payments, spec.subsets[] (labels, trafficPolicy):
the new version has to be there and to take as many requests as the old one. Evidence: every request at payments is one
at v2.
"""

from harness import SLO, BlastRadius, Edit, Experiment, Load, Patch, Push, Ref, Target, Verdict, availability

TO_GREEN = Push(
    Patch(
        Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
        (Edit(("spec", "http", 3, "route", 0, "destination", "subset"), "v2"),),
    ),
    shows={"destination_version": "v2"},
)
SWITCHED = Experiment(
    hypothesis=[SLO("every invoice comes", availability("frontend", namespace="shop"), at_least=1.0)],
    target=Target("payments", namespace="shop"),
    fault=TO_GREEN,
    load=Load("browse", rate=200, paths=("/invoices",)),
    blast_radius=BlastRadius(max_pods=3),
    guards=["DestinationRule payments spec.subsets[1]"],
)
NARROW = {"connectionPool": {"http": {"http2MaxRequests": 1}}}
A_NARROW_GREEN = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"),
    (Edit(("spec", "subsets", 1, "trafficPolicy"), NARROW),),
)


def test_a_switch_costs_no_request(run):
    run(SWITCHED)


def test_a_version_that_cannot_take_them_all_is_noticed(run):
    run(SWITCHED, weaken=[A_NARROW_GREEN], expect=Verdict.VIOLATED)
