"""Which requests a route is for: matches, callers, and routes that nothing reaches."""

from __future__ import annotations

import pytest
from onlooker import TO, port

from harness.localmesh.xds import model
from harness.localmesh.xds.routes import Caller, rule_routes
from harness.localmesh.xds.view import Views
from harness.localmesh.xds.virtualservices import MESH

HOST = "reviews.default.svc.cluster.local"
HERE = "outbound|9080||reviews.default.svc.cluster.local"


def test_a_plain_rule_has_istios_defaults(one):
    """No timeout, two retries elsewhere, the VirtualService's name in the metadata, and what traces call it."""
    predicate = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    assert one(TO) == {
        "match": {"prefix": "/"},
        "route": {
            "cluster": HERE,
            "timeout": "0s",
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                "num_retries": 2,
                "host_selection_retry_max_attempts": "5",
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {"@type": f"type.googleapis.com/{predicate}"},
                    }
                ],
            },
        },
        "metadata": {
            "filter_metadata": {
                "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/r",
                }
            }
        },
        "decorator": {"operation": f"{HOST}:9080/*"},
    }


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"uri": {"exact": "/a"}}, {"path": "/a", "case_sensitive": True}),
        ({"uri": {"prefix": "/a"}, "ignoreUriCase": True}, {"prefix": "/a", "case_sensitive": False}),
        ({"uri": {"regex": "/a.*"}}, {"safe_regex": {"regex": "/a.*"}, "case_sensitive": True}),
        (
            {"headers": {"b": {"exact": "1"}, "d": {}}, "withoutHeaders": {"a": {"prefix": "x"}, "c": {}}},
            {
                "prefix": "/",
                "case_sensitive": True,
                "headers": [
                    {
                        "name": "a",
                        "string_match": {"prefix": "x"},
                        "invert_match": True,
                        "treat_missing_header_as_empty": True,
                    },
                    {"name": "b", "string_match": {"exact": "1"}},
                    {"name": "c", "present_match": True, "invert_match": True},
                    {"name": "d", "present_match": True},
                ],
            },
        ),
        (
            {"scheme": {"exact": "https"}, "authority": {"prefix": "a"}, "method": {"regex": "P.*"}},
            {
                "prefix": "/",
                "case_sensitive": True,
                "headers": [
                    {"name": ":method", "string_match": {"safe_regex": {"regex": "P.*"}}},
                    {"name": ":authority", "string_match": {"prefix": "a"}},
                    {"name": ":scheme", "string_match": {"exact": "https"}},
                ],
            },
        ),
        (
            {"queryParams": {"q": {"exact": ""}, "p": {}}},
            {
                "prefix": "/",
                "case_sensitive": True,
                "query_parameters": [
                    {"name": "p", "present_match": True},
                    {"name": "q", "string_match": {"exact": ""}},
                ],
            },
        ),
    ],
    ids=["exact", "prefix", "regex", "headers", "pseudo", "query"],
)
def test_a_match_says_what_the_virtual_service_says(one, match, expected):
    """Headers come in the order of their names, then method, authority and scheme."""
    assert one({"match": [match], **TO})["match"] == expected


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({"port": 9080}, True),
        ({"port": 80}, False),
        ({"sourceLabels": {"app": "client"}}, True),
        ({"sourceLabels": {"app": "client", "tier": "x"}}, False),
        ({"sourceNamespace": "default"}, True),
        ({"sourceNamespace": "other"}, False),
        ({"gateways": ["edge"]}, False),
        ({"gateways": ["edge", "mesh"], "sourceLabels": {"app": "other"}}, True),
    ],
    ids=str,
)
def test_what_depends_on_the_caller_is_decided_before_envoy(routes, match, holds):
    """A match for other callers makes no route; where it names gateways, these alone decide."""
    assert len(routes({"match": [match], **TO})) == holds


def test_the_first_rule_that_takes_everything_is_the_last(routes):
    """The order is kept, each alternative of a match is a route, and what can never be reached is left out."""
    made = routes(
        {"name": "n", "match": [{"name": "m", "uri": {"prefix": "/a"}}, {"method": {"exact": "GET"}}], **TO},
        {"match": [{"name": "m", "uri": {"prefix": "/"}, "statPrefix": "s"}], **TO},
        TO,
    )
    assert [route.get("name") for route in made] == ["n.m", "n", ".m"]
    assert made[2]["stat_prefix"] == "s"


def test_callers_to_whom_routes_are_the_same_share_them(build):
    """Labels that no match asks for make no difference; those that one asks for do."""
    text = """
    kind: VirtualService
    metadata: {name: r}
    spec:
      hosts: [reviews]
      http:
      - match: [{sourceLabels: {tier: front}}]
        route: [{destination: {host: reviews, subset: v1}}]
      - route: [{destination: {host: reviews}}]
    """
    pods = [
        build.workload(
            "client", f"127.9.0.{number}", version=f"v{number}", labels={"app": "client", **labels}
        )
        for number, labels in enumerate([{}, {"version": "v2"}, {"tier": "front"}])
    ]
    services = (build.service("reviews", ports=(port(9080),)),)
    views = Views(build.with_rules(model.Mesh(services=services, workloads=tuple(pods)), text))
    plain, same, other = (_asked(views.of(model.Proxy(pod, {}, pod.ip))) for pod in pods)
    assert same is plain
    subsets = [made[0]["route"]["cluster"].split("|")[2] for made in (plain, other)]
    assert subsets == ["", "v1"]


def _asked(seen):
    (rule,) = seen.virtual_services(MESH)
    return rule_routes(rule, Caller(seen, frozenset({MESH}), 9080))
