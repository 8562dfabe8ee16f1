"""The three patch formats, by the examples of their specifications and by their laws."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.api.patch import json_patch, merge_patch, patcher
from harness.localmesh.api.resources import PODS, VIRTUAL_SERVICES
from harness.localmesh.api.strategic import strategic_merge
from harness.localmesh.errors import Refused

NAMES = st.sampled_from(["a", "b", "c", "d"])
LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)


def without_null(value):
    """`value` without null members."""
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_examples_of_rfc_7386(original, patch, result):
    """Appendix A."""
    assert merge_patch(original, patch) == result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_idempotent_and_leaves_its_input_alone(original, patch):
    """Applied twice it changes nothing more."""
    kept = copy.deepcopy(original)
    once = merge_patch(original, patch)
    assert merge_patch(once, patch) == once
    assert original == kept


@given(OBJECTS)
def test_merging_into_nothing_gives_the_patch_without_nulls(patch):
    """What is not there can only be set."""
    assert merge_patch({}, patch) == without_null(patch)


def test_json_patch_refuses_what_it_cannot_apply():
    """A failed test is a 422, a malformed patch a 400, and the object stays as it is."""
    original = {"metadata": {"name": "a"}}
    assert json_patch(original, [{"op": "replace", "path": "/metadata/name", "value": "b"}]) == {
        "metadata": {"name": "b"}
    }
    for patch, code in (
        ([{"op": "test", "path": "/metadata/name", "value": "b"}], 422),
        ([{"op": "remove", "path": "/nothing"}], 422),
        ([{"op": "replace", "path": "/no/where", "value": 1}], 422),
        ([{"op": "explode", "path": "/metadata"}], 400),
        ([{"path": "/metadata"}], 400),
        ([{"op": "remove", "path": "metadata"}], 422),
        (["x"], 400),
        ({}, 400),
    ):
        with pytest.raises(Refused) as refused:
            json_patch(original, patch)
        assert refused.value.code == code, patch
    assert original == {"metadata": {"name": "a"}}


def containers(*items):
    """A pod of these containers."""
    return {"spec": {"containers": list(items)}}


def names(merged):
    """The names of its containers."""
    return [item["name"] for item in merged["spec"]["containers"]]


def test_elements_of_keyed_lists_are_merged_by_their_key():
    """A container by name, its variables by name, its ports by number, a Service's ports by port."""
    original = containers(
        {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]},
        {"name": "b", "image": "1"},
    )
    patch = containers(
        {"name": "a", "env": [{"name": "Y", "value": "2"}], "ports": [{"containerPort": 80, "name": "http"}]}
    )
    merged = strategic_merge(original, patch)["spec"]["containers"]
    assert merged == [
        {
            "name": "a",
            "image": "1",
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
            "ports": [{"containerPort": 80, "name": "http"}],
        },
        {"name": "b", "image": "1"},
    ]
    service = strategic_merge(
        {"spec": {"ports": [{"port": 80}]}}, {"spec": {"ports": [{"port": 80, "name": "x"}]}}
    )
    assert service == {"spec": {"ports": [{"port": 80, "name": "x"}]}}


def test_lists_without_a_key_are_replaced():
    """Arguments of a container are one value; so are the ports of an EndpointSlice."""
    assert strategic_merge({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}
    assert strategic_merge({"ports": [{"port": 1}]}, {"ports": [{"port": 2}]}) == {"ports": [{"port": 2}]}


def test_directives_delete_replace_and_retain():
    """`$patch`, `$retainKeys` and `$deleteFromPrimitiveList` do what their names say."""
    original = containers({"name": "a"}, {"name": "b"})
    assert names(strategic_merge(original, containers({"name": "a", "$patch": "delete"}))) == ["b"]
    assert names(strategic_merge(original, containers({"$patch": "replace"}, {"name": "c"}))) == ["c"]
    assert strategic_merge({"x": {"a": 1}}, {"x": {"$patch": "replace", "b": 2}}) == {"x": {"b": 2}}
    assert strategic_merge({"x": {"a": 1}}, {"x": {"$patch": "delete"}}) == {"x": {}}
    strategy = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    recreate = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert strategic_merge(strategy, recreate) == {"strategy": {"type": "Recreate"}}
    finalizers = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}
    assert strategic_merge(finalizers, patch) == {"metadata": {"finalizers": ["b", "c"]}}


def test_the_order_asked_for_is_the_order_given():
    """Elements the patch does not know stay where they were in relation to the others."""
    original = containers({"name": "a"}, {"name": "server"}, {"name": "b"})
    patch = containers({"name": "c"})
    patch["spec"]["$setElementOrder/containers"] = [{"name": "b"}, {"name": "c"}, {"name": "a"}]
    merged = names(strategic_merge(original, patch))
    assert [name for name in merged if name != "server"] == ["b", "c", "a"]
    assert "server" in merged


def test_an_element_without_its_key_is_refused():
    """With 400, naming the key."""
    with pytest.raises(Refused, match="does not contain declared merge key: name"):
        strategic_merge({}, containers({"image": "a"}))
    with pytest.raises(Refused, match="unknown patch type: explode"):
        strategic_merge({}, {"a": {"$patch": "explode"}})


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"$retainKeys": 5}},
        {"spec": {"$setElementOrder/containers": 5}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": 5}},
        {"spec": {"$deleteFromPrimitiveList/replicas": [1]}},
    ],
    ids=str,
)
def test_a_directive_of_the_wrong_shape_is_refused(patch):
    """With 400, naming the directive or the field it is for."""
    with pytest.raises(Refused, match="is no list") as refused:
        strategic_merge({"spec": {"replicas": 2, "containers": [{"name": "a"}]}, "metadata": {}}, patch)
    assert refused.value.code == 400


def test_what_is_odd_inside_a_list_is_left_to_the_kind():
    """Finalizers that are no text, items beside `$patch`, and a field without a name go into the object."""
    assert strategic_merge({}, {"finalizers": [{}, {}]}) == {"finalizers": [{}]}
    assert strategic_merge({}, {"": [1]}) == {"": [1]}
    assert strategic_merge(containers({"name": "a"}), containers({"$patch": "replace"}, 5)) == containers(5)


ITEMS = st.lists(
    st.builds(lambda name, value: {"name": name, **value}, NAMES, st.dictionaries(st.just("image"), NAMES)),
    max_size=4,
    unique_by=lambda item: item["name"],
)


@given(ITEMS, ITEMS)
def test_a_strategic_patch_is_idempotent_and_loses_no_element(original, patch):
    """Every element of both is there once; applied twice it changes nothing more; its input is left alone."""
    before = containers(*copy.deepcopy(original))
    once = strategic_merge(before, containers(*patch))
    assert sorted(names(once)) == sorted({item["name"] for item in [*original, *patch]})
    assert strategic_merge(once, containers(*patch)) == once
    assert before == containers(*original)


@given(OBJECTS, OBJECTS)
def test_without_keyed_lists_and_directives_it_is_a_merge_patch(original, patch):
    """The two formats agree on everything else."""
    assert strategic_merge(original, patch) == merge_patch(original, patch)


def test_custom_resources_take_no_strategic_merge_patch():
    """415, as from a real cluster; server-side apply likewise for every kind."""
    for resource, media_type in (
        (VIRTUAL_SERVICES, "application/strategic-merge-patch+json"),
        (PODS, "application/apply-patch+yaml"),
        (PODS, "application/json"),
    ):
        with pytest.raises(Refused) as refused:
            patcher(resource, media_type)
        assert refused.value.code == 415
