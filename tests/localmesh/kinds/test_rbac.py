"""What Envoy's RBAC would choke on is found before it gets there."""

from __future__ import annotations

import msgspec
import pytest
import yaml

from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.kinds.istio.rbac import problems


def _fields(rule: str) -> list[str]:
    spec = msgspec.convert(yaml.safe_load(f"rules: [{rule}]"), AuthorizationPolicy)
    return [field for field, _ in problems(spec)]


@pytest.mark.parametrize(
    "path",
    ["a/{*}", "{**}", "//{*}", "/a//{*}", "/{*}//", "/{**}/{*}", "/{**}/{**}", "/a?/{*}", "/{*}{*}", "/a{*}",
     "/{x}/{*}", "/é/{*}", "/*/{*}", "/" + "a" * 254 + "/{*}"],
)  # fmt: skip
def test_a_template_that_crashes_envoy_is_found(path):
    """It has single slashes, whole segments of one kind, nothing open behind {**}, and at most 256 characters."""
    rule = "{to: [{operation: {paths: [/a, '%s']}}, {operation: {notPaths: ['%s']}}]}"
    assert _fields(rule % (path, path)) == [
        "rules[0].to[0].operation.paths[1]",
        "rules[0].to[1].operation.notPaths[0]",
    ]


@pytest.mark.parametrize(
    "path",
    ["/{*}", "/{**}", "/a/{*}/", "/{*}/%a/{*}/{**}/x.y/", "/" + "a" * 253 + "/{*}", "a//b", "//", "a?*"],
)
def test_other_paths_are_let_pass(path):
    """The limits are those of templates only."""
    assert _fields(f"{{to: [{{operation: {{paths: ['{path}']}}}}]}}") == []


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("{from: [{source: {ipBlocks: [1.2.3.4, 'fe80::1%eth0']}}]}", "rules[0].from[0].source.ipBlocks[1]"),
        (
            "{from: [{source: {notRemoteIpBlocks: ['::1%x']}}]}",
            "rules[0].from[0].source.notRemoteIpBlocks[0]",
        ),
        ("{when: [{key: source.ip, notValues: ['::1%x']}]}", "rules[0].when[0].notValues[0]"),
    ],
)
def test_an_address_with_a_zone_is_found(rule, field):
    """Envoy refuses a zone that is no network interface of its machine."""
    assert _fields(rule) == [field]


def test_an_identity_of_endless_length_is_found():
    """It would be a regular expression beyond Envoy's limit; a header's value is none."""
    long = "é" * 1025
    assert _fields(f"{{from: [{{source: {{namespaces: [a, {long}]}}}}]}}") == [
        "rules[0].from[0].source.namespaces[1]"
    ]
    assert _fields(f"{{when: [{{key: source.principal, values: ['*{long}']}}]}}") == [
        "rules[0].when[0].values[0]"
    ]
    assert _fields(f"{{when: [{{key: 'request.headers[x]', values: [{long}]}}]}}") == []
