"""What a VirtualService's HTTP routes become: every field of them, in istiod's words."""

from __future__ import annotations

import pytest
import yaml
from onlooker import port, view

from harness.localmesh.xds import model
from harness.localmesh.xds.routes import Caller, rule_routes
from harness.localmesh.xds.view import Views
from harness.localmesh.xds.virtualservices import MESH

HOST = "reviews.default.svc.cluster.local"
HERE = "outbound|9080||reviews.default.svc.cluster.local"
TO = {"route": [{"destination": {"host": "reviews"}}]}
MILLIONTHS = {"denominator": "MILLION"}


@pytest.fixture
def routes(build):
    """The routes of a VirtualService of `reviews` with the rules given, for a call of port 9080 by default."""

    def made(*rules, policy=None, called=9080, gateways=(), tls=False, **settings):
        spec = {"hosts": ["reviews"], "http": [*rules], "gateways": [*gateways, MESH]}
        texts = [{"kind": "VirtualService", "metadata": {"name": "r"}, "spec": spec}]
        if policy:
            texts.append({"kind": "DestinationRule", "metadata": {"name": "r"}, "spec": policy})
        services = (
            build.service("reviews", ports=(port(9080),)),
            build.service("ratings", ports=(port(80),)),
        )
        seen = view(build, services, yaml.safe_dump_all(texts), **settings)
        (rule,) = seen.virtual_services("default/edge" if gateways else MESH)
        names = frozenset({"default/edge" if gateways else MESH})
        return rule_routes(rule, Caller(seen, names, called, tls))

    return made


@pytest.fixture
def one(routes):
    """The one route of a rule."""

    def made(rule, **settings):
        (route,) = routes(rule, **settings)
        return route

    return made


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


def test_destinations_share_by_weight(one):
    """A share of zero gets nothing; headers of a destination go with its share; the host can be rewritten there."""
    headers = {
        "request": {"set": {"b": "1", "host": "h"}, "remove": ["z", "a"]},
        "response": {"add": {"c": "2"}},
    }
    rule = {
        "route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 30, "headers": headers},
            {"destination": {"host": "ratings", "port": {"number": 80}}, "weight": 70},
            {"destination": {"host": "nowhere"}, "weight": 0},
        ]
    }
    made = one(rule)
    assert made["route"]["weighted_clusters"]["clusters"] == [
        {
            "name": "outbound|9080|v1|reviews.default.svc.cluster.local",
            "weight": 30,
            "request_headers_to_add": [
                {"header": {"key": "b", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            ],
            "request_headers_to_remove": ["z", "a"],
            "response_headers_to_add": [
                {"header": {"key": "c", "value": "2"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
            ],
            "host_rewrite_literal": "h",
        },
        {"name": "outbound|80||ratings.default.svc.cluster.local", "weight": 70},
    ]
    assert made["decorator"] == {"operation": "r:9080/*"}


def test_headers_of_the_only_destination_follow_those_of_the_route(one):
    """Both are the route's; a rewritten host beats that of the route's headers, and this the destination's."""
    rule = {
        "headers": {"request": {"set": {"a": "1"}}},
        "route": [
            {
                "destination": {"host": "reviews"},
                "headers": {"request": {"add": {"b": "2", ":authority": "there"}}},
            }
        ],
    }
    made = one(rule)
    assert [item["header"]["key"] for item in made["request_headers_to_add"]] == ["a", "b"]
    assert made["route"]["host_rewrite_literal"] == "there"
    assert one({**rule, "rewrite": {"authority": "new"}})["route"]["host_rewrite_literal"] == "new"
    rule["headers"]["request"]["set"]["host"] = "route"
    assert one(rule)["route"]["host_rewrite_literal"] == "route"


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        ({"uri": "/b"}, {"prefix_rewrite": "/b"}),
        (
            {"uriRegexRewrite": {"match": "/a(.*)", "rewrite": r"/b\1"}},
            {"regex_rewrite": {"pattern": {"regex": "/a(.*)"}, "substitution": r"/b\1"}},
        ),
    ],
    ids=["uri", "regex"],
)
def test_a_rewrite_is_of_the_prefix_or_by_a_pattern(one, rewrite, expected):
    """An exact path is rewritten by the same field."""
    action = one({"match": [{"uri": {"prefix": "/a"}}], "rewrite": rewrite, **TO})["route"]
    assert {key: value for key, value in action.items() if key.endswith("_rewrite")} == expected


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (
            {"uri": "/n", "authority": "x", "redirectCode": 302},
            {"path_redirect": "/n", "host_redirect": "x", "response_code": "FOUND"},
        ),
        ({"port": 8443, "scheme": "https"}, {"scheme_redirect": "https", "port_redirect": 8443}),
        ({"port": 443, "scheme": "https"}, {"scheme_redirect": "https"}),
        ({"port": 80, "authority": "x"}, {"host_redirect": "x"}),
        ({"derivePort": "FROM_REQUEST_PORT", "uri": "/n"}, {"path_redirect": "/n", "port_redirect": 9080}),
        ({"derivePort": "FROM_PROTOCOL_DEFAULT", "authority": "x"}, {"host_redirect": "x"}),
    ],
    ids=str,
)
def test_a_redirect_leaves_out_what_the_scheme_implies(one, redirect, expected):
    """The default code is 301; the port of the request is the one called."""
    defaults = {"path_redirect": "", "response_code": "MOVED_PERMANENTLY"}
    assert one({"redirect": redirect})["redirect"] == {**defaults, **expected}


def test_a_redirect_at_a_tls_server_knows_its_scheme(one):
    """443 is the default there, and 80 is not."""
    settings = {"gateways": ["edge"], "tls": True, "gateway": True}
    assert "port_redirect" not in one({"redirect": {"port": 443}}, **settings)["redirect"]
    assert one({"redirect": {"port": 80}}, **settings)["redirect"]["port_redirect"] == 80


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, {"status": 418}),
        ({"string": "tea"}, {"status": 418, "body": {"inline_string": "tea"}}),
        ({"bytes": "dGVh"}, {"status": 418, "body": {"inline_bytes": "dGVh"}}),
    ],
    ids=str,
)
def test_a_direct_response_has_a_body_of_text_or_bytes(one, body, expected):
    """Bytes stay in base64, as in the manifest."""
    answer = {"status": 418, **({"body": body} if body else {})}
    assert one({"directResponse": answer})["direct_response"] == expected


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ({"attempts": 1, "retryOn": "503,reset"}, {"retry_on": "reset,retriable-status-codes"}),
        ({"attempts": 1, "retryOn": "503"}, {"retry_on": ",retriable-status-codes"}),
        ({"attempts": 1, "retryOn": "503"}, {"retriable_status_codes": [503]}),
        ({"attempts": 7}, {"num_retries": 7}),
        ({"attempts": 1, "perTryTimeout": "250ms"}, {"per_try_timeout": "0.25s"}),
        ({"attempts": 1, "backoff": "10ms"}, {"retry_back_off": {"base_interval": "0.01s"}}),
        ({"attempts": 1, "retryIgnorePreviousHosts": False}, {"retry_host_predicate": None}),
    ],
    ids=str,
)
def test_retries_have_what_they_say(one, retries, expected):
    """Numbers among the conditions are statuses."""
    policy = one({"retries": retries, **TO})["route"]["retry_policy"]
    assert {key: policy.get(key) for key in expected} == expected


def test_retries_elsewhere_prefer_other_localities(one):
    """Only when asked."""
    name = one({"retries": {"attempts": 1, "retryRemoteLocalities": True}, **TO})["route"]["retry_policy"]
    assert name["retry_priority"]["name"] == "envoy.retry_priorities.previous_priorities"
    assert "retry_priority" not in one(TO)["route"]["retry_policy"]


def test_no_attempts_are_no_policy(one):
    """Zero switches retries off."""
    assert "retry_policy" not in one({"retries": {"attempts": 0}, **TO})["route"]


def test_a_fault_strikes_the_share_it_names(one):
    """Percentages are millionths, cut off; the older `percent` is whole; an abort without a share strikes never."""
    fault = {
        "delay": {"fixedDelay": "5s", "percentage": {"value": 0.29}},
        "abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 12.3456789}},
    }
    made = one({"fault": fault, **TO})["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert made["delay"] == {"fixed_delay": "5s", "percentage": {"numerator": 2900, **MILLIONTHS}}
    assert made["abort"] == {"grpc_status": 14, "percentage": {"numerator": 123456, **MILLIONTHS}}
    old = {"delay": {"fixedDelay": "5s", "percent": 10}, "abort": {"httpStatus": 503}}
    made = one({"fault": old, **TO})["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert made["delay"]["percentage"] == {"numerator": 10, "denominator": "HUNDRED"}
    assert made["abort"] == {"http_status": 503}


def test_cors_rules_become_the_filters(one):
    """Lists are joined by commas, the age is in whole seconds; preflights that fit nothing are forwarded by default."""
    policy = {
        "allowOrigins": [{"prefix": "https://"}, {"regex": "http.*"}],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["a", "b"],
        "exposeHeaders": ["c"],
        "maxAge": "1m30s",
        "allowCredentials": False,
    }
    made = one({"corsPolicy": policy, **TO})["typed_per_filter_config"]["envoy.filters.http.cors"]
    del made["@type"]
    assert made == {
        "allow_origin_string_match": [{"prefix": "https://"}, {"safe_regex": {"regex": "http.*"}}],
        "allow_methods": "GET,PUT",
        "allow_headers": "a,b",
        "expose_headers": "c",
        "max_age": "90",
        "allow_credentials": False,
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        "forward_not_matching_preflights": True,
    }
    ignoring = {"allowOrigin": ["http://a"], "unmatchedPreflights": "IGNORE"}
    made = one({"corsPolicy": ignoring, **TO})["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert made["allow_origin_string_match"] == [{"exact": "http://a"}]
    assert made["forward_not_matching_preflights"] is False


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ({}, {"numerator": 100, "denominator": "HUNDRED"}),
        ({"mirrorPercentage": {"value": 12.5}}, {"numerator": 125_000, **MILLIONTHS}),
        ({"mirrorPercent": 20}, {"numerator": 20, "denominator": "HUNDRED"}),
        ({"mirror_percent": 30}, {"numerator": 30, "denominator": "HUNDRED"}),
        ({"mirrorPercentage": {"value": 0}, "mirrorPercent": 20}, None),
        ({"mirrorPercent": 0}, None),
    ],
    ids=str,
)
def test_a_mirror_gets_its_share(one, share, expected):
    """All of it by default, and nothing for zero; the newer field counts."""
    action = one({"mirror": {"host": "ratings"}, **share, **TO})["route"]
    policies = action.get("request_mirror_policies", [])
    assert [item["runtime_fraction"]["default_value"] for item in policies] == (
        [expected] if expected else []
    )


def test_several_mirrors_follow_one_another(one):
    """Each has its own share, and copies keep the host they were sent to."""
    mirrors = [
        {"destination": {"host": "ratings", "port": {"number": 80}}, "percentage": {"value": 50}},
        {"destination": {"host": "reviews"}, "percentage": {"value": 0}},
        {"destination": {"host": "reviews", "subset": "v1"}},
    ]
    policies = one({"mirrors": mirrors, **TO})["route"]["request_mirror_policies"]
    assert [item["cluster"].split("|")[1:3] for item in policies] == [["80", ""], ["9080", "v1"]]
    assert all(item["disable_shadow_host_suffix_append"] for item in policies)
    assert not any(item["trace_sampled"] for item in policies)


HEADER = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
COOKIE = {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "c", "ttl": "0s", "path": "/p"}}}}
QUERY = {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "q"}}}
ADDRESS = {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}
AT_9080 = {"port": {"number": 9080}}
POLICY = {
    "host": "reviews",
    "trafficPolicy": {**HEADER, "portLevelSettings": [{**AT_9080, **COOKIE}]},
    "subsets": [
        {"name": "plain"},
        {"name": "own", "trafficPolicy": ADDRESS},
        {"name": "port", "trafficPolicy": {**ADDRESS, "portLevelSettings": [{**AT_9080, **QUERY}]}},
    ],
}


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ({}, {"header": {"header_name": "x-user"}}),
        (AT_9080, {"cookie": {"name": "c", "ttl": "0s", "path": "/p"}}),
        ({"subset": "plain"}, {"header": {"header_name": "x-user"}}),
        ({"subset": "own", **AT_9080}, {"connection_properties": {"source_ip": True}}),
        ({"subset": "port", **AT_9080}, {"query_parameter": {"name": "q"}}),
        ({"subset": "port"}, {"connection_properties": {"source_ip": True}}),
    ],
    ids=str,
)
def test_hosts_are_hashed_as_the_destination_rule_says(one, destination, expected):
    """The subset's policy before the host's, a port's first where the destination names the port; retries stay."""
    rule = {"route": [{"destination": {"host": "reviews", **destination}}]}
    action = one(rule, policy=POLICY)["route"]
    assert action["hash_policy"] == [expected]
    assert "retry_host_predicate" not in action["retry_policy"]
    retries = {"attempts": 1, "retryIgnorePreviousHosts": True}
    assert one({**rule, "retries": retries}, policy=POLICY)["route"]["retry_policy"]["retry_host_predicate"]


def test_several_destinations_hash_all_ways(one):
    """Each destination that gets requests adds its policy; retries go elsewhere, which one alone would not do."""
    shares = [
        {"destination": {"host": "reviews"}, "weight": 1},
        {"destination": {"host": "reviews", "subset": "own"}, "weight": 1},
        {"destination": {"host": "reviews", **AT_9080}, "weight": 0},
        {"destination": {"host": "ratings"}, "weight": 1},
    ]
    action = one({"route": shares}, policy=POLICY)["route"]
    assert [list(item) for item in action["hash_policy"]] == [["header"], ["connection_properties"]]
    assert "retry_host_predicate" in action["retry_policy"]


def test_a_destination_without_a_port_is_at_the_port_called_or_at_a_gateway_at_its_only_one(one):
    """Istiod looks for a sidecar's destination among the Services at the port called."""
    rule = {"match": [{"uri": {"prefix": "/"}}], "route": [{"destination": {"host": "ratings"}}]}
    assert one(rule)["route"]["cluster"] == "outbound|9080||ratings.default.svc.cluster.local"
    settings = {"gateways": ["edge"], "gateway": True, "called": 443}
    assert one(rule, **settings)["route"]["cluster"] == "outbound|80||ratings.default.svc.cluster.local"


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
