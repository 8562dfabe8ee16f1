"""Where a route leads: shares, headers of destinations, and how hosts are hashed."""

from __future__ import annotations

import pytest


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
