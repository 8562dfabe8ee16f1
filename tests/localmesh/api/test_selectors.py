"""Selectors: the grammar of Kubernetes, and the laws of its operators."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.api.resources import EVENTS, PODS
from harness.localmesh.api.selectors import Labels, Requirement, fields, label_selector, labels
from harness.localmesh.errors import Refused

KEYS = st.sampled_from(["app", "tier", "app.kubernetes.io/name", "in", "notin"])
VALUES = st.sampled_from(["a", "b", "v1.2", "x_y", ""])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(["in", "notin"]), st.frozensets(VALUES, min_size=1)),
    st.builds(Requirement, KEYS, st.sampled_from(["exists", "!"])),
)


def text_of(requirement, space):
    """The requirement as text."""
    match requirement.operator:
        case "exists":
            return requirement.key
        case "!":
            return f"!{space}{requirement.key}"
        case operator:
            members = f"{space},{space}".join(sorted(requirement.values))
            return f"{requirement.key} {operator} ({members})"


@given(st.lists(REQUIREMENTS, max_size=4), st.sampled_from(["", " "]))
def test_what_is_written_is_what_is_parsed(requirements, space):
    """Writing any selector and parsing it gives the same selector."""
    text = f"{space},{space}".join(text_of(requirement, space) for requirement in requirements)
    assert labels(text) == Labels(tuple(requirements))


@given(KEYS, VALUES, LABELS)
def test_every_operator_is_the_opposite_of_its_negation(key, value, found):
    """For any labels exactly one of each pair holds."""
    for text, negation in ((f"{key}={value}", f"{key}!={value}"), (key, f"!{key}")):
        assert labels(text).match(found) != labels(negation).match(found)


@given(LABELS, LABELS)
def test_match_labels_hold_for_supersets_only(wanted, found):
    """`matchLabels` is a conjunction of equalities."""
    expected = wanted.items() <= found.items()
    assert label_selector({"matchLabels": wanted}).match(found) == expected


@pytest.mark.parametrize("text", ["a=b=c", "a in b", "a in (b", "=a", "a,,b", "a b", "a in ()x", "é=1"])
def test_a_malformed_label_selector_is_refused(text):
    """With 400 and the part that cannot be parsed."""
    with pytest.raises(Refused, match="unable to parse requirement") as refused:
        labels(text)
    assert refused.value.code == 400


def test_expressions_of_a_selector_object_are_understood():
    """In, NotIn, Exists and DoesNotExist."""
    selector = label_selector(
        {
            "matchExpressions": [
                {"key": "app", "operator": "In", "values": ["a", "b"]},
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "version", "operator": "Exists"},
                {"key": "legacy", "operator": "DoesNotExist"},
            ]
        }
    )
    assert selector.match({"app": "b", "version": "1"})
    assert not selector.match({"app": "b"})
    assert not selector.match({"app": "b", "version": "1", "tier": "db"})
    assert not selector.match({"app": "b", "version": "1", "legacy": ""})


def test_fields_are_selected_by_path():
    """Equal and unequal; an absent field is empty."""
    pod = {"metadata": {"name": "a"}, "status": {"phase": "Running"}}
    assert fields("status.phase=Running,metadata.name==a", PODS)(pod)
    assert not fields("status.phase!=Running", PODS)(pod)
    assert fields("spec.nodeName=", PODS)(pod)


def test_a_field_that_cannot_be_selected_by_is_refused():
    """Each resource has its own."""
    assert fields("involvedObject.name=a", EVENTS)({"involvedObject": {"name": "a"}})
    with pytest.raises(Refused, match="field label not supported: involvedObject"):
        fields("involvedObject.name=a", PODS)
    with pytest.raises(Refused, match="invalid field selector"):
        fields("metadata.name", PODS)
