"""Preflight about callers, gateways, what is counted, and budgets: refused where a run could not tell anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from premised import HOST, ISTIO, UP, codes, manifest, pod, premises, shop, spoiled, with_sli

from harness.faults import Abort, BlastRadius, Delay, Evict, Nothing, PodKill
from harness.indicators import (
    availability,
    ejection,
    mtls_share,
    plaintext_refused,
    promql,
    retry_amplification,
)
from harness.load import Load
from harness.preflight import examine
from harness.preflight.budgets import disruptions_allowed
from harness.slo import SLO

CALLEE = Abort(503, 30)
CALLER = Delay(0.2, at="caller")
OWN = 't{reporter="destination",destination_app="payments"%s}'
AT_CALLEE = [
    SLO("mutual", mtls_share("payments", "shop"), at_least=0.99),
    SLO("amplified", retry_amplification("payments", "shop"), at_most=2.0),
    SLO("healthy", ejection("payments", "shop"), at_least=0.9),
    SLO("own", promql("own", total=OWN % "", good=OWN % ',response_code="200"'), at_least=0.9),
]  # fmt: skip


def _plain(objects):
    """Nothing on the route that a fault at the caller would hide."""
    objects["calls"]["spec"]["http"][0] = {"route": objects["calls"]["spec"]["http"][0]["route"]}
    objects.pop("rule")


@pytest.mark.parametrize("slo", AT_CALLEE, ids=lambda slo: slo.name)
def test_what_the_callee_counts_cannot_see_a_fault_at_the_caller(slo):
    """By whatever labels it is known; at the callee the same is fine."""
    [one] = examine(with_sli(spoiled(_plain, fault=CALLER), slo))
    assert (one.code, one.severity, one.field) == ("blind-reporter", "refuse", f'SLO "{slo.name}" reporter')
    assert 'reporter="source"' in one.fix
    assert codes(with_sli(spoiled(lambda objects: None, fault=CALLEE), slo)) == []


@pytest.mark.parametrize(
    "slo",
    [
        UP,
        SLO("other", mtls_share("frontend", "shop"), at_least=0.9),
        SLO("mine", availability("payments", "shop"), at_least=0.9),
    ],
    ids=lambda slo: slo.name,
)
def test_what_others_count_can_see_a_fault_at_the_caller(slo):
    """The caller's own count, and the count of a callee further up."""
    assert codes(with_sli(spoiled(_plain, fault=CALLER), slo)) == []


@given(observe=st.floats(0.5, 60), interval=st.floats(1, 60), seconds=st.floats(0.5, 60))
def test_a_window_is_too_short_exactly_below_two_scrapes(observe, interval, seconds):
    """The blast radius may end it before."""
    limits = {"observe": observe, "blast_radius": BlastRadius(max_pods=9, seconds=seconds)}
    found = premises(fault=Nothing(), interval=interval, load=Load("browse", rate=1e6), **limits)
    assert (codes(found) == ["refuse short-window"]) is (min(observe, seconds) < 2 * interval)


def test_an_interval_that_nobody_knows_is_no_reason():
    """Neither is one where nothing is counted from Prometheus."""
    assert codes(premises(interval=None, observe=5.0)) == []
    probed = SLO("refused", plaintext_refused(premises().scene.target, 80), at_least=1.0)
    found = with_sli(premises(interval=15.0, observe=5.0), probed)
    assert codes(found) == []


def test_what_the_load_cannot_decide_is_refused_where_held_is_expected():
    """A control run may still be VIOLATED, so it is only told."""
    strict = SLO("strict", UP.sli, at_least=0.9999)
    [one] = examine(with_sli(premises(), strict))
    assert (one.code, one.severity, one.field) == ("undecidable", "refuse", 'SLO "strict" at_least')
    assert "200 requests per second" in one.fix
    assert codes(with_sli(premises(expects_held=False), strict)) == ["warn undecidable"]
    assert codes(with_sli(premises(load=Load("browse", rate=10_000)), strict)) == []


def test_a_caller_that_an_slo_names_needs_a_sidecar():
    """Without any, no policy on the way is in force; the field that keeps it out is named."""

    def bare(objects):
        objects["frontend-0"] = pod("frontend", sidecar=False)
        template = {"metadata": {"labels": {"app": "frontend", "sidecar.istio.io/inject": "false"}}}
        spec = {"selector": {"matchLabels": {"app": "frontend"}}, "template": template}
        objects["deployment"] = manifest("apps/v1", "Deployment", "frontend", spec)

    [one] = examine(spoiled(bare))
    assert (one.code, one.severity) == ("no-sidecar", "refuse")
    assert one.field == 'Deployment shop/frontend spec.template.metadata.labels["sidecar.istio.io/inject"]'
    assert "frontend-0" in one.reason

    def half(objects):
        objects["frontend-1"] = pod("frontend", 1, sidecar=False)

    assert codes(spoiled(half)) == ["warn no-sidecar"]


def test_callers_that_nobody_names_are_the_other_pods_of_the_namespace():
    """Unless a gateway sends requests to the target."""
    mine = SLO("mine", availability("payments", "shop"), at_least=0.9)

    def bare(objects):
        objects["frontend-0"] = pod("frontend", sidecar=False)

    [one] = examine(with_sli(spoiled(bare), mine))
    assert (one.code, one.severity) == ("no-sidecar", "warn")
    assert one.fix.startswith("if it calls the target, ")

    def exposed(objects):
        bare(objects)
        objects["entry"]["spec"]["http"][0]["route"] = [{"destination": {"host": "payments"}}]
        objects["entry"]["spec"]["http"][0]["retries"] = {"attempts": 2, "retryOn": "5xx"}
        objects["calls"]["spec"]["gateways"] = ["mesh", "entry"]

    assert codes(with_sli(spoiled(exposed), mine)) == []


def test_a_callee_that_counts_needs_a_sidecar():
    """What it is to count, nobody else does."""
    counted = SLO("mutual", mtls_share("frontend", "shop"), at_least=0.9)

    def bare(objects):
        objects["frontend-0"] = pod("frontend", sidecar=False)

    assert set(codes(with_sli(spoiled(bare), counted))) == {"refuse no-sidecar"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [("./*", []), ("shop/*", []), ("*/*", []), (f"shop/{HOST}", []), ("istio-system/*", ["warn hidden-target"]),
     ("./frontend.shop.svc.cluster.local", ["warn hidden-target"])],
)  # fmt: skip
def test_callers_whose_sidecar_leaves_the_target_out_do_not_know_its_policies(host, expected):
    """By the egress hosts of their Sidecar."""
    spec = {"egress": [{"hosts": [host]}]}
    found = spoiled(lambda objects: objects.update(scope=manifest(ISTIO, "Sidecar", "default", spec)))
    assert codes(found) == expected
    mine = {**spec, "workloadSelector": {"labels": {"app": "frontend"}}}
    found = spoiled(lambda objects: objects.update(scope=manifest(ISTIO, "Sidecar", "frontend", mine)))
    assert codes(found) == expected
    others = {**spec, "workloadSelector": {"labels": {"app": "cart"}}}
    found = spoiled(lambda objects: objects.update(scope=manifest(ISTIO, "Sidecar", "cart", others)))
    assert codes(found) == []


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        (["mesh"], []),
        (["mesh", "entry"], []),
        (["mesh", "gone"], ["warn unbound"]),
        (["gone"], ["refuse unbound", "refuse unbound"]),
        (["entry"], ["refuse unbound"]),
        (["elsewhere/entry", "mesh"], ["warn unbound"]),
    ],
    ids=str,
)
def test_a_route_has_to_be_bound_where_the_callers_are(gateways, expected):
    """Sidecars are `mesh`; a gateway that is not there is none."""
    assert codes(spoiled(lambda objects: objects["calls"]["spec"].update(gateways=gateways))) == expected


def test_a_route_that_is_left_over_beside_one_in_force_is_only_told():
    """Sidecars have another way, with its policies."""

    def change(objects, gateway):
        old = {**objects["calls"]["spec"], "gateways": [gateway]}
        objects["old"] = manifest(ISTIO, "VirtualService", "old", old)

    for gateway in ("gone", "entry"):
        found = examine(spoiled(lambda objects, gateway=gateway: change(objects, gateway)))
        assert {(one.severity, one.field.partition(" spec")[0]) for one in found} == {
            ("warn", "VirtualService shop/old")
        }


def test_a_gateway_that_serves_other_hosts_is_not_bound():
    """The gateway and its route have to agree on a name."""

    def change(objects):
        objects["gateway"]["spec"]["servers"][0]["hosts"] = ["shop/cart.example.com"]
        objects["calls"]["spec"]["gateways"] = ["mesh", "entry"]

    [one] = examine(spoiled(change))
    assert one.field == "VirtualService shop/payments spec.gateways[1]"
    assert "serves none of its hosts" in one.reason


def test_a_gateway_that_calls_by_another_route_does_not_have_the_policies_of_the_sidecars():
    """Where nobody else is known to call."""

    def change(objects):
        objects["entry"]["spec"]["http"][0]["route"] = [{"destination": {"host": "payments"}}]

    mine = SLO("mine", availability("payments", "shop"), at_least=0.9)
    [one] = examine(with_sli(spoiled(change), mine))
    assert (one.code, one.severity) == ("unbound", "warn")
    assert one.field == "VirtualService shop/payments spec.gateways"


def _budget(spec, status=None):
    made = manifest(
        "policy/v1",
        "PodDisruptionBudget",
        "payments",
        {"selector": {"matchLabels": {"app": "payments"}}, **spec},
    )
    return made if status is None else {**made, "status": {"disruptionsAllowed": status}}


@pytest.mark.parametrize(
    ("fault", "spec", "expected"),
    [
        (Evict(1), {"minAvailable": 3}, ["refuse budget"]),
        (Evict(1), {"minAvailable": 2}, []),
        (Evict(2), {"minAvailable": 2}, ["warn budget"]),
        (Evict(1), {"maxUnavailable": 0}, ["refuse budget"]),
        (Evict(1), {"minAvailable": "100%"}, ["refuse budget"]),
        (PodKill(1), {"minAvailable": 3}, ["warn budget"]),
        (PodKill(1), {"minAvailable": 2}, []),
        (CALLEE, {"minAvailable": 3}, []),
    ],
    ids=str,
)
def test_a_budget_forbids_evictions_and_is_passed_by_by_kills(fault, spec, expected):
    """Its field is named."""
    found = spoiled(lambda objects: objects.update(budget=_budget(spec)), fault=fault)
    assert codes(found) == expected
    for one in examine(found):
        assert one.field == f"PodDisruptionBudget shop/payments spec.{next(iter(spec))}"


@given(pods=st.integers(1, 9), least=st.integers(0, 9), count=st.integers(1, 9))
def test_evictions_that_the_budget_lets_go_are_not_mentioned(pods, least, count):
    """Nothing is said exactly where all of them may go."""
    count = min(count, pods)
    spec = {"minAvailable": least}
    found = spoiled(lambda objects: objects.update(budget=_budget(spec)), pods, fault=Evict(count))
    said = [code for code in codes(found) if "budget" in code]
    assert (said == []) is (count <= max(0, pods - least))


def test_what_a_budget_says_of_itself_counts_and_its_selector_is_read_whole():
    """By expressions, too; an empty one is of the whole namespace, none of nobody."""
    pods = premises().pods
    assert disruptions_allowed(_budget({"minAvailable": 1}, status=0), pods) == 0
    for selector, allowed in (
        ({}, 3),
        (None, 0),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["payments"]}]}, 2),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["payments"]}]}, 0),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, 3),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, 0),
    ):
        budget = _budget({"minAvailable": 1})
        budget["spec"]["selector"] = selector
        assert disruptions_allowed(budget, pods) == allowed, selector


def test_caveats_that_refuse_come_first_and_each_comes_once():
    """Two routes with the same trouble are two; the same object is said once."""
    objects = shop()
    objects["calls"]["spec"]["http"][0]["timeout"] = "1s"
    found = examine(with_sli(premises(objects, observe=1.0), SLO("up", UP.sli, at_least=0.9999)))
    assert [one.severity for one in found] == ["refuse", "refuse", "warn"]
    assert len(set(found)) == len(found)
