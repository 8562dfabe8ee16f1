"""How two translations are compared."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.compare import MISSING, Difference, differences

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def _found(ours: Any, theirs: Any) -> list[Difference]:
    return list(differences(ours, theirs))


@given(JSON)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    """Whatever its shape."""
    assert _found(value, value) == []


@given(JSON, JSON)
def test_unequal_values_differ_somewhere(one: Any, other: Any) -> None:
    """And a value that is there on one side only is a difference even when it is empty or false."""
    assert bool(_found([one], [other])) == (repr(one) != repr(other))


def test_a_difference_names_the_field_from_the_resource_down() -> None:
    """Elements of lists go by their name where each has one of its own, else by their place."""
    ours = {"routes": [{"name": "a", "timeout": "1s"}, {"name": "b"}], "ports": [1, 2]}
    theirs = {"routes": [{"name": "a", "timeout": "2s"}, {"name": "b"}], "ports": [1, 3, 4]}
    assert _found(ours, theirs) == [
        Difference("ports[1]", 2, 3),
        Difference("ports[2]", MISSING, 4),
        Difference("routes[a].timeout", "1s", "2s"),
    ]


def test_the_order_of_routes_counts() -> None:
    """Envoy takes the first that matches."""
    ours, theirs = [{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}]
    assert _found({"routes": ours}, {"routes": theirs}) == [
        Difference("routes (order)", ["a", "b"], ["b", "a"])
    ]


def test_the_order_of_domains_and_virtual_hosts_does_not_count() -> None:
    """Envoy takes the closest match."""
    ours = {"virtual_hosts": [{"name": "a", "domains": ["x", "y"]}, {"name": "b"}]}
    theirs = {"virtual_hosts": [{"name": "b"}, {"name": "a", "domains": ["y", "x"]}]}
    assert _found(ours, theirs) == []


def test_domains_that_one_side_lacks_are_told_together() -> None:
    """Not place by place, which would say that all those after the first differ."""
    assert _found({"domains": ["a", "b"]}, {"domains": ["b", "c", "d"]}) == [
        Difference("domains", ["a"], ["c", "d"])
    ]
