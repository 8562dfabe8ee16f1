"""What an AuthorizationPolicy becomes in Envoy's RBAC, as istiod makes it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import yaml

from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.kinds.istio.rules.metadata import dry_run
from harness.localmesh.xds.authz import Policy, rbac_filters

ANYTHING = {"any": True}
ADDRESS = {"address_prefix": "10.0.0.1", "prefix_len": 32}


def _policy(text: str, name: str = "it", *, namespace: str = "shop", dry_run: bool = False) -> Policy:
    return Policy(name, namespace, dry_run, msgspec.convert(yaml.safe_load(text) or {}, AuthorizationPolicy))


def _config(*policies: Policy, tcp: bool = False) -> Any:
    """The configuration of the only filter."""
    (made,) = rbac_filters(policies, tcp=tcp)
    return made["typed_config"]


def _rule(text: str, *, action: str = "ALLOW", tcp: bool = False) -> Any:
    """The only rule of a policy with the rule `text`, None when it is dropped."""
    made = _config(_policy(f"{{action: {action}, rules: [{text}]}}"), tcp=tcp)
    return made["rules"].get("policies", {}).get("ns[shop]-policy[it]-rule[0]")


def _some(*parts: Any) -> Any:
    return {"or_rules": {"rules": [*parts]}}


def _host(**matcher: str) -> Any:
    return {"header": {"name": ":authority", "string_match": {**matcher, "ignore_case": True}}}


def _somebody(*parts: Any) -> Any:
    return {"or_ids": {"ids": [*parts]}}


def _identity(**matcher: Any) -> Any:
    return _somebody({"authenticated": {"principal_name": matcher}})


def _regex(regex: str) -> Any:
    return {"safe_regex": {"regex": regex}}


def test_a_rule_becomes_a_policy_named_after_its_place():
    """Namespace, policy and index are in the name; what a rule does not ask for is anything."""
    made = _config(_policy("rules: [{}, {to: [{operation: {ports: ['80']}}]}]"))
    first, second = made["rules"]["policies"].values()
    assert list(made["rules"]["policies"]) == ["ns[shop]-policy[it]-rule[0]", "ns[shop]-policy[it]-rule[1]"]
    assert first == {
        "permissions": [{"and_rules": {"rules": [ANYTHING]}}],
        "principals": [{"and_ids": {"ids": [ANYTHING]}}],
    }
    assert second["permissions"] == [{"and_rules": {"rules": [_some({"destination_port": 80})]}}]


@pytest.mark.parametrize("text", ["", "rules: []", "action: ALLOW"])
def test_a_policy_without_rules_matches_nothing(text):
    """`spec: {}` is an ALLOW policy that lets nobody in."""
    never = {
        "permissions": [{"not_rule": ANYTHING}],
        "principals": [{"not_id": ANYTHING}],
    }
    for tcp in (False, True):
        made = _config(_policy(text), tcp=tcp)
        assert made["rules"] == {"policies": {"ns[shop]-policy[it]-rule[0]": never}}


def test_there_is_a_filter_for_each_action_in_envoys_order():
    """AUDIT, DENY, ALLOW, each with all policies of that action; ALLOW is Envoy's default action."""
    texts = ["{action: ALLOW, rules: [{}]}", "{action: DENY, rules: [{}]}", "{action: AUDIT, rules: [{}]}"]
    policies = [_policy(text, f"p{number}") for number, text in enumerate([*texts, texts[0]])]
    for tcp, name in ((False, "http"), (True, "network")):
        made = rbac_filters(policies, tcp=tcp)
        assert [one["name"] for one in made] == [f"envoy.filters.{name}.rbac"] * 3
        kind = f"type.googleapis.com/envoy.extensions.filters.{name}.rbac.v3.RBAC"
        assert {one["typed_config"]["@type"] for one in made} == {kind}
        rules = [one["typed_config"]["rules"] for one in made]
        assert [one.get("action") for one in rules] == ["LOG", "DENY", None]
        assert [len(one["policies"]) for one in rules] == [1, 1, 2]
        assert [one["typed_config"].get("stat_prefix") for one in made] == ["tcp." if tcp else None] * 3


def test_without_policies_there_is_no_filter():
    """A workload nobody wrote a policy for is open."""
    assert rbac_filters([], tcp=False) == rbac_filters([], tcp=True) == []


def test_the_order_of_the_policies_has_no_influence():
    """The same policies give the same JSON, so that nothing is published for nothing."""
    policies = [_policy("rules: [{}]", name, namespace=where) for name in "cab" for where in ("x", "a")]
    shuffled = random.Random(7).sample(policies, len(policies))
    assert msgspec.json.encode(rbac_filters(policies, tcp=False)) == msgspec.json.encode(
        rbac_filters(shuffled, tcp=False)
    )


@pytest.mark.parametrize(
    ("action", "prefix"),
    [("ALLOW", "istio_dry_run_allow_"), ("DENY", "istio_dry_run_deny_"), ("AUDIT", None)],
)
def test_a_dry_run_goes_to_the_shadow_rules(action, prefix):
    """Its result gets a prefix of its own; without an enforced policy there are no rules at all."""
    tried = _policy(f"{{action: {action}, rules: [{{}}]}}", "tried", dry_run=True)
    made = _config(tried)
    assert list(made["shadow_rules"]["policies"]) == ["ns[shop]-policy[tried]-rule[0]"]
    assert "rules" not in made
    assert made.get("shadow_rules_stat_prefix") == prefix
    both = _config(tried, _policy(f"{{action: {action}, rules: [{{}}]}}"))
    assert list(both["rules"]["policies"]) == ["ns[shop]-policy[it]-rule[0]"]
    assert both["shadow_rules"] == made["shadow_rules"]


@pytest.mark.parametrize("action", ["ALLOW", "DENY", "AUDIT"])
def test_without_a_dry_run_the_prefix_is_that_of_allow(action):
    """In istiod, shadow rules that are not there are asked for their action."""
    made = _config(_policy(f"{{action: {action}, rules: [{{}}]}}"))
    assert made["shadow_rules_stat_prefix"] == "istio_dry_run_allow_"
    assert "shadow_rules" not in made


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"istio.io/dry-run": "true"}, True),
        ({"istio.io/dry-run": "1"}, True),
        ({"istio.io/dry-run": "false"}, False),
        ({"istio.io/dry-run": "yes"}, False),
        ({}, False),
    ],
)
def test_the_annotation_is_read_as_go_reads_it(annotations, expected):
    """Go's spellings of true make a dry run, and nothing else does."""
    assert dry_run({"metadata": {"annotations": annotations}}) is expected


@pytest.mark.parametrize(
    ("operation", "matcher"),
    [
        ("hosts: [Shop.test]", _some(_host(exact="Shop.test"))),
        ("hosts: ['*.test']", _some(_host(suffix=".test"))),
        ("hosts: ['shop.*']", _some(_host(prefix="shop."))),
        ("hosts: ['*']", _some({"header": {"name": ":authority", "present_match": True}})),
        ("methods: [GET, 'P*']", _some(
            {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
            {"header": {"name": ":method", "string_match": {"prefix": "P"}}},
        )),
        ("paths: [/x, '/a*', '*.js', '*']", _some(
            {"url_path": {"path": {"exact": "/x"}}},
            {"url_path": {"path": {"prefix": "/a"}}},
            {"url_path": {"path": {"suffix": ".js"}}},
            {"url_path": {"path": _regex(".+")}},
        )),
        ("ports: ['80', '8080']", _some({"destination_port": 80}, {"destination_port": 8080})),
        ("notPorts: ['80']", {"not_rule": _some({"destination_port": 80})}),
        ("notMethods: ['*']", {"not_rule": _some({"header": {"name": ":method", "present_match": True}})}),
    ],
)  # fmt: skip
def test_fields_of_an_operation(operation, matcher):
    """Exact, prefix, suffix and presence; hosts in any case, paths without their query."""
    made = _rule(f"{{to: [{{operation: {{{operation}}}}}]}}")
    assert made["permissions"] == [{"and_rules": {"rules": [matcher]}}]


@pytest.mark.parametrize(
    ("path", "template"),
    [("/a/{*}/b", "/a/*/b"), ("/a/{**}", "/a/**"), ("/{*}/{**}", "/*/**")],
)
def test_path_templates(path, template):
    """{*} is one segment, {**} any number of them."""
    made = _rule(f"{{to: [{{operation: {{paths: ['{path}']}}}}]}}")
    (matcher,) = made["permissions"][0]["and_rules"]["rules"][0]["or_rules"]["rules"]
    assert matcher["uri_template"]["name"] == "uri-template"
    assert matcher["uri_template"]["typed_config"]["path_template"] == template


@pytest.mark.parametrize(
    ("source", "matcher"),
    [
        ("principals: [cluster.local/ns/a/sa/b]", _identity(exact="spiffe://cluster.local/ns/a/sa/b")),
        ("principals: ['cluster.local/ns/a/*']", _identity(prefix="spiffe://cluster.local/ns/a/")),
        ("principals: ['*/sa/b.c-d']", _identity(**_regex(r"spiffe://.*/sa/b\.c-d"))),
        ("principals: ['*']", _identity(**_regex(".+"))),
        ("principals: ['clus*/ns/a/sa/b']", _identity(exact="spiffe://cluster.local/ns/a/sa/b")),
        ("principals: ['*local/ns/a/sa/b']", _identity(**_regex("spiffe://.*local/ns/a/sa/b"))),
        ("principals: [other/ns/a/sa/b]", _identity(exact="spiffe://other/ns/a/sa/b")),
        ("namespaces: [a]", _identity(**_regex(".*/ns/a/.*"))),
        ("namespaces: ['a*b.c']", _identity(**_regex(r".*/ns/a.*b\.c/.*"))),
        ("serviceAccounts: [b]", _identity(**_regex("spiffe://.+/ns/shop/(.+/|)sa/b(/.+)?"))),
        ("serviceAccounts: [a/b]", _identity(**_regex("spiffe://.+/ns/a/(.+/|)sa/b(/.+)?"))),
        ("trustDomains: ['*']", _identity(prefix="spiffe://")),
        ("trustDomains: [td, td]", _identity(prefix="spiffe://td/")),
        ("trustDomains: ['a.b*']", _identity(**_regex(r"spiffe://a\.b[^/]*/.*"))),
        ("notNamespaces: [a]", {"not_id": _identity(**_regex(".*/ns/a/.*"))}),
        ("ipBlocks: [10.1.2.3/16]", {"or_ids": {"ids": [
            {"direct_remote_ip": {"address_prefix": "10.1.2.3", "prefix_len": 16}}]}}),
        ("ipBlocks: ['2001:DB8:0::1', '::ffff:1.2.3.4']", {"or_ids": {"ids": [
            {"direct_remote_ip": {"address_prefix": "2001:db8::1", "prefix_len": 128}},
            {"direct_remote_ip": {"address_prefix": "::ffff:1.2.3.4", "prefix_len": 128}}]}}),
        ("notRemoteIpBlocks: [10.1.2.3]", {"not_id": {"or_ids": {"ids": [
            {"remote_ip": {"address_prefix": "10.1.2.3", "prefix_len": 32}}]}}}),
    ],
)  # fmt: skip
def test_fields_of_a_source(source, matcher):
    """Identities are compared as SPIFFE URIs; addresses are blocks, with and without a length."""
    made = _rule(f"{{from: [{{source: {{{source}}}}}]}}")
    assert made["principals"] == [{"and_ids": {"ids": [matcher]}}]


@pytest.mark.parametrize(
    ("key", "value", "matcher"),
    [
        ("destination.ip", "10.0.0.0/8", _some({"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}})),
        ("destination.port", "0", _some({"destination_port": 0})),
        ("connection.sni", "*.test", _some({"requested_server_name": {"suffix": ".test"}})),
        ("experimental.envoy.filters.a.b[c]", "x*", {"metadata": {
            "filter": "envoy.filters.a.b", "path": [{"key": "c"}], "value": {"string_match": {"prefix": "x"}}}}),
        ("experimental.envoy.filters.a.b[c]", "[x]", {"metadata": {
            "filter": "envoy.filters.a.b", "path": [{"key": "c"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": "x"}}}}}}),
        ("request.headers[X-Who]", "*", {"or_ids": {"ids": [{"header": {"name": "X-Who", "present_match": True}}]}}),
        ("source.ip", "10.0.0.1", _somebody({"direct_remote_ip": ADDRESS})),
        ("remote.ip", "10.0.0.1", _somebody({"remote_ip": ADDRESS})),
        ("source.principal", "a", _identity(exact="spiffe://a")),
        ("source.namespace", "a", _identity(**_regex(".*/ns/a/.*"))),
        ("source.serviceAccount", "a", _identity(**_regex("spiffe://.+/ns/shop/(.+/|)sa/a(/.+)?"))),
        ("source.trustDomain", "a", _identity(prefix="spiffe://a/")),
    ],
)  # fmt: skip
def test_conditions(key, value, matcher):
    """A condition belongs to what is asked for or to who asks, and can be wanted or unwanted."""
    side, every, items, no = (
        ("principals", "and_ids", "ids", "not_id")
        if "or_ids" in matcher
        else ("permissions", "and_rules", "rules", "not_rule")
    )
    made = _rule(f"{{when: [{{key: '{key}', values: ['{value}'], notValues: ['{value}']}}]}}")
    assert made[side] == [{every: {items: [matcher, {no: matcher}]}}]


def test_several_values_of_metadata_are_one_matcher():
    """Unlike those of other attributes, they stand in one `or_match`."""
    made = _rule("{when: [{key: 'experimental.envoy.filters.a[b]', values: [x, y]}]}")
    value = made["permissions"][0]["and_rules"]["rules"][0]["metadata"]["value"]
    assert value == {
        "or_match": {"value_matchers": [{"string_match": {"exact": "x"}}, {"string_match": {"exact": "y"}}]}
    }


def test_conditions_join_every_alternative_of_their_side():
    """Each `to` and each `from` is an alternative, fields stand in istiod's order, conditions behind them."""
    made = _rule("""{
      from: [{source: {ipBlocks: [1.1.1.1], principals: [a]}}, {source: {principals: [b]}}],
      to: [{operation: {ports: ["1"], paths: [/x], methods: [GET], hosts: [h]}}, {operation: {ports: ["2"]}}],
      when: [{key: destination.ip, values: [2.2.2.2]}, {key: remote.ip, values: [3.3.3.3]}]
    }""")
    asked = [
        [next(iter(_inner(part))) for part in each["and_rules"]["rules"]] for each in made["permissions"]
    ]
    assert asked == [
        ["header", "header", "url_path", "destination_port", "destination_ip"],
        ["destination_port", "destination_ip"],
    ]
    asking = [[next(iter(_inner(part))) for part in each["and_ids"]["ids"]] for each in made["principals"]]
    assert asking == [["authenticated", "direct_remote_ip", "remote_ip"], ["authenticated", "remote_ip"]]


def _inner(part: Any) -> Any:
    (group,) = part.values()
    (items,) = group.values()
    return items[0]


HTTP_ONLY = [
    "{to: [{operation: {ports: ['80'], methods: [GET]}}]}",
    "{to: [{operation: {ports: ['80'], notPaths: [/x]}}]}",
    "{to: [{operation: {ports: ['80'], hosts: [x]}}]}",
    "{to: [{operation: {ports: ['80']}}], when: [{key: 'request.headers[x]', notValues: [x]}]}",
]


@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_on_tcp_an_allow_rule_that_needs_http_is_dropped(rule):
    """The rest of such a rule would let in more than was written; what is left of the policy lets nobody in."""
    assert _rule(rule) is not None
    assert _rule(rule, tcp=True) is None
    assert _config(_policy(f"rules: [{rule}]"), tcp=True)["rules"] == {}


@pytest.mark.parametrize("action", ["DENY", "AUDIT"])
@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_on_tcp_a_deny_rule_forgets_what_needs_http(rule, action):
    """What is left of it matches more than was written."""
    made = _rule(rule, action=action, tcp=True)
    assert made == {
        "permissions": [{"and_rules": {"rules": [_some({"destination_port": 80})]}}],
        "principals": [{"and_ids": {"ids": [ANYTHING]}}],
    }


def test_on_tcp_the_other_rules_keep_their_index():
    """A dropped rule leaves a gap in the names."""
    rules = f"rules: [{HTTP_ONLY[0]}, {{from: [{{source: {{namespaces: [a]}}}}]}}]"
    made = _config(_policy(rules), tcp=True)
    assert list(made["rules"]["policies"]) == ["ns[shop]-policy[it]-rule[1]"]


@pytest.mark.parametrize("key", ["request.headersx[y]", "request.headers"])
def test_a_header_without_a_proper_name_narrows_allow_and_widens_deny(key):
    """The webhook lets `request.headersx[y]` pass, istiod cannot translate it."""
    rule = f"{{when: [{{key: '{key}', values: [a]}}]}}"
    assert _rule(rule) is None
    assert _rule(rule, action="DENY")["principals"] == [{"and_ids": {"ids": [ANYTHING]}}]


@pytest.mark.parametrize("key", ["request.auth.claims[iss]", "source.color", "path"])
def test_an_attribute_that_is_not_translated_is_an_error(key):
    """Admission refuses it; should it ever come here, it is not ignored."""
    with pytest.raises(LookupError, match="no attribute"):
        _rule(f"{{when: [{{key: '{key}', values: [a]}}]}}", action="DENY")
