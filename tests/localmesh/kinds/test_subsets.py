"""Subsets that a VirtualService sends to and no DestinationRule defines."""

from __future__ import annotations

import pytest
import yaml

from harness.localmesh.kinds import istio


def spec(kind, text):
    """The typed spec that a text in YAML says."""
    return istio.spec_of(
        {"kind": kind.__name__, "metadata": {"name": "it"}, "spec": yaml.safe_load(text)}, kind
    )


ROUTED = "{hosts: [a], http: [{route: [{destination: {host: reviews, subset: v2}}]}]}"
MIRRORED = "{hosts: [a], http: [{route: [{destination: {host: a}}], mirror: {host: reviews, subset: v2}}]}"


def warnings(virtual_service, *rules):
    """The warnings for a VirtualService of namespace "default" beside rules, each with its namespace."""
    typed = [(spec(istio.DestinationRule, rule), namespace) for rule, namespace in rules]
    return istio.subset_warnings(spec(istio.VirtualService, virtual_service), "default", typed)


@pytest.mark.parametrize(
    "rule",
    [
        ("{host: reviews, subsets: [{name: v2}]}", "default"),
        ("{host: reviews.default.svc.cluster.local, subsets: [{name: v2}]}", "other"),
        ("{host: '*.default.svc.cluster.local', subsets: [{name: v2}]}", "other"),
    ],
)
@pytest.mark.parametrize("virtual_service", [ROUTED, MIRRORED])
def test_a_subset_that_a_rule_for_the_host_defines_is_no_surprise(virtual_service, rule):
    """Short names are those of the namespace, and wildcards cover."""
    assert warnings(virtual_service, rule) == ()


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [("{host: reviews, subsets: [{name: v1}]}", "default")],
        [("{host: reviews, subsets: [{name: v2}]}", "other")],
        [("{host: ratings, subsets: [{name: v2}]}", "default")],
    ],
)
def test_a_subset_that_no_rule_defines_is_named(rules):
    """The sentence names the field, the subset and the host."""
    (warning,) = warnings(ROUTED, *rules)
    assert warning.startswith(
        "spec.http[0].route[0].destination.subset: no DestinationRule defines the subset 'v2'"
    )
    assert "reviews.default.svc.cluster.local" in warning
