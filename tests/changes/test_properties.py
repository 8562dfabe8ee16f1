"""What holds for every change: its inverse gives back the object, others' edits survive, and JSON keeps both."""

import json
from copy import deepcopy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from route import patch_of

from harness.changes import (
    ABSENT,
    Attach,
    Create,
    Delete,
    Edit,
    Eviction,
    Field,
    LeftToController,
    Outlast,
    Patch,
    Recreate,
    Ref,
    Restore,
    Rotate,
    Uncreate,
    Unrotate,
    apply,
    change_from_json,
    restore,
    to_json,
    undo,
    undo_from_json,
)
from harness.errors import HarnessError

_KEYS = st.sampled_from("abc")
_SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.dictionaries(_KEYS, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(_KEYS, _VALUES, max_size=3)
_STEPS = _KEYS | st.integers(0, 3)
_PATHS = st.lists(_STEPS, min_size=1, max_size=4).map(tuple)
_EDITS = st.builds(Edit, _PATHS, _VALUES | st.just(ABSENT))


def _paths(node, path=()):
    """Every path of an object, with one step more where something could be added."""
    if isinstance(node, dict):
        steps = [*node, "a", "b", "c"]
    elif isinstance(node, list):
        steps = list(range(len(node) + 1))
    else:
        return
    for step in steps:
        yield (*path, step)
        exists = step in node if isinstance(node, dict) else step < len(node)
        if exists:
            yield from _paths(node[step], (*path, step))


@st.composite
def _patched(draw):
    """An object, a patch that fits it, and the object after the patch."""
    before = draw(_OBJECTS)
    paths = draw(st.lists(st.sampled_from(sorted(set(_paths(before)), key=repr)), min_size=1, max_size=3))
    edits = [(path, draw(_VALUES | st.just(ABSENT))) for path in paths]
    if draw(st.booleans()):
        edits = [
            ((*path, "z", "z"), value) if value is not ABSENT else (path, value) for path, value in edits
        ]
    patch = patch_of(*edits)
    try:
        return before, patch, apply(patch, before)
    except HarnessError:
        assume(False)
        raise


@given(_patched())
def test_the_inverse_gives_back_the_object(case):
    """For every patch that fits: apply, restore, and nothing is left of it."""
    before, patch, after = case
    assert restore(undo(patch, before), after) == (before, ())


@given(_patched())
def test_restoring_twice_is_the_same_as_once(case):
    """The second time there is nothing to set back, and nothing to report."""
    before, patch, after = case
    once, _ = restore(undo(patch, before), after)
    assert restore(undo(patch, before), once) == (once, ())


@given(_patched())
def test_restoring_what_was_never_changed_changes_nothing(case):
    """The inverse is recorded before the change; a crash in between must do no harm."""
    before, patch, _ = case
    assert restore(undo(patch, before), before) == (before, ())


@given(_patched(), st.data())
def test_an_edit_by_somebody_else_survives(case, data):
    """Whatever others set meanwhile, in the fields we touched, around them or elsewhere, is there afterwards."""
    before, patch, after = case
    path = data.draw(st.sampled_from(sorted(set(_paths(after)), key=repr)))
    theirs = data.draw(st.integers())
    now = apply(patch_of((path, {"theirs": theirs})), after)
    restored, _ = restore(undo(patch, before), now)
    node = restored
    for step in path:
        node = node[step]
    assert node["theirs"] == theirs


@given(_patched(), st.data())
def test_any_change_by_others_is_restored_in_a_stable_way(case, data):
    """Even after an edit that clashes, restoring again changes nothing more."""
    before, patch, after = case
    path = data.draw(st.sampled_from(sorted(set(_paths(after)), key=repr)))
    value = data.draw(_VALUES | st.just(ABSENT))
    try:
        now = apply(patch_of((path, value)), after)
    except HarnessError:
        now = after
    once, kept = restore(undo(patch, before), now)
    assert restore(undo(patch, before), once) == (once, kept)


@given(_patched())
def test_neither_apply_nor_restore_touches_what_it_is_given(case):
    """Both return copies all the way down."""
    before, patch, after = case
    inverse = undo(patch, before)
    copies = deepcopy((before, after, inverse))
    restored, _ = restore(inverse, after)
    restored.clear()
    assert (before, after, inverse) == copies


_REFS = st.builds(Ref, *[st.sampled_from(["v1", "Pod", "shop", ""])] * 4)
_FIELDS = st.builds(
    Field, _PATHS, _VALUES | st.just(ABSENT), _VALUES | st.just(ABSENT), st.integers(0, 3), st.just((1, 2))
)


@given(
    st.builds(Create, _OBJECTS)
    | st.builds(Patch, _REFS, st.lists(_EDITS, min_size=1).map(tuple))
    | st.builds(Delete, _REFS, st.none() | st.integers(0))
    | st.builds(Rotate, _REFS, st.sampled_from(["replace", "trust", "sign"]), st.floats(0, 1e6))
)
def test_a_change_survives_being_written_as_json(change):
    """The same value comes back, an absent field told from an empty one."""
    assert change_from_json(json.loads(json.dumps(to_json(change)))) == change


@given(
    st.builds(Uncreate, _REFS, st.text(), st.text())
    | st.builds(Restore, _REFS, st.lists(_FIELDS).map(tuple))
    | st.builds(Recreate, _OBJECTS, st.text())
    | st.builds(LeftToController, _REFS)
    | st.builds(Unrotate, _REFS, st.text(), st.text(), st.floats(0, 1e6))
)
def test_an_inverse_survives_being_written_as_json(inverse):
    """The same value comes back."""
    assert undo_from_json(json.loads(json.dumps(to_json(inverse)))) == inverse


def test_an_inverse_that_an_earlier_version_wrote_is_understood():
    """It knew no UIDs."""
    ref = {"api_version": "v1", "kind": "Pod", "namespace": "shop", "name": "p"}
    assert undo_from_json({"Uncreate": {"ref": ref, "owner": "run/1"}}) == Uncreate(Ref(**ref), "run/1")
    assert undo_from_json({"Recreate": {"manifest": {}}}) == Recreate({})


@pytest.mark.parametrize("read", [change_from_json, undo_from_json])
def test_json_that_is_neither_is_refused(read):
    """A record of a later version is not misread."""
    with pytest.raises(ValueError, match="not a"):
        read({"Explode": {}})


def test_an_eviction_goes_to_disk_and_back():
    """As every change does."""
    change = Eviction(Ref("v1", "Pod", "shop", "payments-1"))
    assert change_from_json(json.loads(json.dumps(to_json(change)))) == change


def test_a_container_that_is_put_into_a_pod_goes_to_disk_and_back():
    """With its inverse, which is to wait for its end."""
    change = Attach(Ref("v1", "Pod", "shop", "payments-1"), {"name": "quit", "image": "x"}, 15.0)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "payments-1", "uid": "u1"}, "spec": {}}
    inverse = undo(change, pod)
    assert inverse == Outlast(change.ref, "u1", "quit", 15.0)
    assert change_from_json(json.loads(json.dumps(to_json(change)))) == change
    assert undo_from_json(json.loads(json.dumps(to_json(inverse)))) == inverse
    with pytest.raises(HarnessError, match="has a container quit already"):
        undo(change, pod | {"spec": {"ephemeralContainers": [{"name": "quit"}]}})
