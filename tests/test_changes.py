"""Changes and their inverses: what a change does, how it is undone, and whose edits are never lost."""

import json
from copy import deepcopy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

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
    edited,
    ref_of,
    render,
    restore,
    to_json,
    undo,
    undo_from_json,
)
from harness.errors import HarnessError

SECRET = Ref("v1", "Secret", "shop", "t")
REF = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")


def _patch(*edits):
    return Patch(REF, tuple(Edit(path, value) for path, value in edits))


def _object(spec):
    metadata = {"name": "catalog", "namespace": "shop"}
    return {"apiVersion": REF.api_version, "kind": REF.kind, "metadata": metadata, "spec": spec}


# by example


def test_a_reference_reads_as_people_write_it():
    """Kind, namespace and name; no slash for what is in no namespace."""
    assert str(REF) == "VirtualService shop/catalog"
    assert str(Ref("v1", "Namespace", "", "shop")) == "Namespace shop"
    assert ref_of(_object({})) == REF


def test_a_path_reads_as_people_write_it():
    """Dots for fields, brackets for elements."""
    assert render(("spec", "http", 0, "retries")) == "spec.http[0].retries"


def test_a_patch_sets_and_removes_fields_of_a_copy():
    """The object that is handed in stays as it is."""
    before = _object({"http": [{"retries": {"attempts": 2}}, {}]})
    kept = deepcopy(before)
    after = apply(
        _patch((("spec", "http", 0, "retries"), ABSENT), (("spec", "http", 1, "timeout"), "1s")), before
    )
    assert after["spec"] == {"http": [{}, {"timeout": "1s"}]}
    assert before == kept


def test_a_patch_creates_the_objects_around_a_field_and_its_inverse_removes_them():
    """What was not there before is not there afterwards, not even empty."""
    patch = _patch((("spec", "a", "b", "c"), 1), (("spec", "a", "d"), 2))
    after = apply(patch, _object({}))
    assert after["spec"] == {"a": {"b": {"c": 1}, "d": 2}}
    assert restore(undo(patch, _object({})), after) == (_object({}), ())


def test_an_object_around_a_field_stays_while_somebody_else_uses_it():
    """Only empty ones that the change created itself are removed."""
    patch = _patch((("metadata", "annotations", "ours"), "1"))
    after = apply(patch, _object({}))
    after["metadata"]["annotations"]["theirs"] = "2"
    restored, kept = restore(undo(patch, _object({})), after)
    assert (restored["metadata"]["annotations"], kept) == ({"theirs": "2"}, ())


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [((), [], None), ((2,), 3, [1, 2, 3]), ((0,), ABSENT, [2]), ((1,), 9, [1, 9])],
)
def test_elements_of_a_list_are_added_removed_and_replaced(path, value, expected):
    """An index equal to the length adds an element; the inverse gives back the list."""
    before = _object({"list": [1, 2]})
    patch = _patch((("spec", "list", *path), value))
    after = apply(patch, before)
    assert after["spec"]["list"] == (expected if expected is not None else value)
    assert restore(undo(patch, before), after) == (before, ())


def test_a_field_that_somebody_else_changed_is_kept_and_reported():
    """The other fields of the same change are still set back."""
    patch = _patch((("spec", "a"), 1), (("spec", "b"), 1))
    before = _object({"a": 0, "b": 0})
    after = apply(patch, before)
    after["spec"]["a"] = 7
    restored, kept = restore(undo(patch, before), after)
    assert (restored["spec"], kept) == ({"a": 7, "b": 0}, (("spec", "a"),))


@pytest.mark.parametrize("routes", [[{"theirs": 1}, {}], []], ids=["one more", "one less"])
def test_an_element_is_kept_when_its_list_has_another_length_now(routes):
    """Its index may mean another element, and a removed field would be put back into somebody else's route."""
    patch = _patch((("spec", "http", 0, "retries"), ABSENT))
    before = _object({"http": [{"retries": {"attempts": 2}}]})
    now = _object({"http": routes})
    assert restore(undo(patch, before), now) == (now, (("spec", "http", 0, "retries"),))


@pytest.mark.parametrize("spec", [{}, {"http": 1}, {"http": []}])
def test_a_field_whose_surroundings_are_gone_is_kept(spec):
    """Somebody who removed or replaced the whole is not overruled."""
    patch = _patch((("spec", "http", "retries"), ABSENT))
    now = _object(spec)
    restored, kept = restore(undo(patch, _object({"http": {"retries": 2}})), now)
    assert restored == now
    assert kept == (("spec", "http", "retries"),)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("spec", "hosts", "x"), r"spec\.hosts\.x"),
        (("spec", "http", 5, "retries"), r"spec\.http\[5\]\.retries"),
        (("spec", "http", 1, "retries"), r"spec\.http\[1\]\.retries"),
        (("spec", 0), r"spec\[0\]"),
        (("spec", "new", 0), r"spec\.new\[0\]"),
    ],
)
def test_a_path_that_cannot_exist_is_refused_with_the_object_and_the_path(path, place):
    """A change that could not be made is found before anything is written."""
    with pytest.raises(HarnessError, match=rf"^VirtualService shop/catalog has no place for {place};"):
        apply(_patch((path, 1)), _object({"hosts": "catalog", "http": [{}]}))


@pytest.mark.parametrize("value", [1, ABSENT])
def test_a_patch_that_would_change_nothing_is_refused(value):
    """A control whose policy was never weakened would prove nothing."""
    spec = {"a": 1} if value == 1 else {}
    with pytest.raises(HarnessError, match=r"patch of VirtualService shop/catalog changes nothing: spec\.a"):
        apply(_patch((("spec", "a"), value)), _object(spec))


@pytest.mark.parametrize("edits", [(), (Edit((), 1),)])
def test_a_patch_without_a_field_is_refused(edits):
    """No edit, or one of the whole object."""
    with pytest.raises(HarnessError, match="VirtualService shop/catalog names no field"):
        Patch(REF, edits)


@pytest.mark.parametrize("other", [("spec", "a"), ("spec", "a", "b"), ("spec",)])
def test_two_edits_of_one_field_are_refused(other):
    """Their inverse would depend on an order that nobody sees."""
    with pytest.raises(HarnessError, match="Two edits of VirtualService shop/catalog"):
        apply(_patch((("spec", "a"), {}), (other, {"b": 1})), _object({"a": {"b": 0}}))


def test_creating_is_undone_by_deleting_what_still_has_the_same_owner():
    """The inverse knows the mark that the object was created with."""
    marked = _object({}) | {"metadata": {"name": "catalog", "annotations": {"harness.mesh/owner": "run/1"}}}
    assert undo(Create(marked), None) == Uncreate(Create(marked).ref, "run/1")


def test_creating_what_exists_is_refused():
    """The object of somebody else would be deleted by the inverse."""
    with pytest.raises(HarnessError, match=r"VirtualService shop/catalog exists already.*harness heal"):
        undo(Create(_object({})), _object({}))


@pytest.mark.parametrize(
    "change", [Delete(REF), Eviction(REF), _patch((("spec", "a"), 1))], ids=["delete", "evict", "patch"]
)
def test_changing_what_does_not_exist_is_refused(change):
    """The name is in the message."""
    with pytest.raises(HarnessError, match="no VirtualService shop/catalog"):
        undo(change, None)


@pytest.mark.parametrize(
    "change",
    [
        Create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t", "namespace": "shop"}}),
        Patch(SECRET, (Edit(("data", "a"), "aHVzaA=="),)),
        Delete(SECRET),
    ],
    ids=["create", "patch", "delete"],
)
def test_a_secret_is_never_changed_by_what_would_write_it_down(change):
    """The refusal names it and quotes nothing of it; a rotation holds nothing of it, nor does its inverse."""
    before = None if isinstance(change, Create) else {"metadata": {"uid": "u"}, "data": {"a": "aHVzaCBodXNo"}}
    with pytest.raises(HarnessError, match=r"Secret shop/t cannot be changed: its inverse") as refused:
        undo(change, before)
    assert "aHVzaA" not in str(refused.value)
    assert undo(Rotate(SECRET), {"metadata": {"uid": "u"}, "data": {"a": "aHVzaA=="}}) == Unrotate(SECRET)


def test_what_a_controller_owns_is_left_to_it():
    """A deleted pod comes back on its own, as another one."""
    pod = {"metadata": {"name": "p", "ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}}
    ref = Ref("v1", "Pod", "shop", "p")
    assert undo(Delete(ref, 0), pod) == undo(Eviction(ref), pod) == LeftToController(ref)


def test_what_nobody_else_would_bring_back_is_created_again_as_it_was_written():
    """Without what the server adds, which it would refuse or overwrite."""
    before = _object({"a": 1}) | {"status": {"observed": 1}}
    before["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 2, "labels": {"team": "a"}}
    assert undo(Delete(REF), before) == Recreate(
        _object({"a": 1}) | {"metadata": {"name": "catalog", "namespace": "shop", "labels": {"team": "a"}}},
        "u",
    )


def test_a_manifest_without_a_name_is_refused():
    """The missing field is named."""
    with pytest.raises(HarnessError, match="has no kind"):
        ref_of({"apiVersion": "v1", "metadata": {"name": "x"}})


# by property

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
    patch = _patch(*edits)
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
    now = apply(_patch((path, {"theirs": theirs})), after)
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
        now = apply(_patch((path, value)), after)
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


def test_an_edit_that_is_there_already_changes_nothing_and_is_no_error():
    """As when the answer to it was lost."""
    patch = _patch((("spec", "a"), 1))
    once = edited(patch, {"spec": {"b": 2}})
    assert once == {"spec": {"a": 1, "b": 2}}
    assert edited(patch, once) == once
    with pytest.raises(HarnessError, match="has no place"):
        edited(patch, {"spec": 1})
