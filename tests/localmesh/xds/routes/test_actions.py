"""What a route does besides: rewrites, redirects, answers, retries, faults, CORS rules and mirrors."""

from __future__ import annotations

import pytest
from onlooker import TO

MILLIONTHS = {"denominator": "MILLION"}


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
