"""Changes and their inverses by example: what a change does, how it is undone, and whose edits are never lost."""

from copy import deepcopy

import pytest
from route import REF, patch_of, route_of

from harness.changes import (
    ABSENT,
    Create,
    Delete,
    Edit,
    Eviction,
    LeftToController,
    Patch,
    Recreate,
    Ref,
    Rotate,
    Uncreate,
    Unrotate,
    apply,
    edited,
    ref_of,
    render,
    restore,
    undo,
)
from harness.errors import HarnessError

SECRET = Ref("v1", "Secret", "shop", "t")


def test_a_reference_reads_as_people_write_it():
    """Kind, namespace and name; no slash for what is in no namespace."""
    assert str(REF) == "VirtualService shop/catalog"
    assert str(Ref("v1", "Namespace", "", "shop")) == "Namespace shop"
    assert ref_of(route_of({})) == REF


def test_a_path_reads_as_people_write_it():
    """Dots for fields, brackets for elements."""
    assert render(("spec", "http", 0, "retries")) == "spec.http[0].retries"


def test_a_patch_sets_and_removes_fields_of_a_copy():
    """The object that is handed in stays as it is."""
    before = route_of({"http": [{"retries": {"attempts": 2}}, {}]})
    kept = deepcopy(before)
    after = apply(
        patch_of((("spec", "http", 0, "retries"), ABSENT), (("spec", "http", 1, "timeout"), "1s")), before
    )
    assert after["spec"] == {"http": [{}, {"timeout": "1s"}]}
    assert before == kept


def test_a_patch_creates_the_objects_around_a_field_and_its_inverse_removes_them():
    """What was not there before is not there afterwards, not even empty."""
    patch = patch_of((("spec", "a", "b", "c"), 1), (("spec", "a", "d"), 2))
    after = apply(patch, route_of({}))
    assert after["spec"] == {"a": {"b": {"c": 1}, "d": 2}}
    assert restore(undo(patch, route_of({})), after) == (route_of({}), ())


def test_an_object_around_a_field_stays_while_somebody_else_uses_it():
    """Only empty ones that the change created itself are removed."""
    patch = patch_of((("metadata", "annotations", "ours"), "1"))
    after = apply(patch, route_of({}))
    after["metadata"]["annotations"]["theirs"] = "2"
    restored, kept = restore(undo(patch, route_of({})), after)
    assert (restored["metadata"]["annotations"], kept) == ({"theirs": "2"}, ())


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [((), [], None), ((2,), 3, [1, 2, 3]), ((0,), ABSENT, [2]), ((1,), 9, [1, 9])],
)
def test_elements_of_a_list_are_added_removed_and_replaced(path, value, expected):
    """An index equal to the length adds an element; the inverse gives back the list."""
    before = route_of({"list": [1, 2]})
    patch = patch_of((("spec", "list", *path), value))
    after = apply(patch, before)
    assert after["spec"]["list"] == (expected if expected is not None else value)
    assert restore(undo(patch, before), after) == (before, ())


def test_a_field_that_somebody_else_changed_is_kept_and_reported():
    """The other fields of the same change are still set back."""
    patch = patch_of((("spec", "a"), 1), (("spec", "b"), 1))
    before = route_of({"a": 0, "b": 0})
    after = apply(patch, before)
    after["spec"]["a"] = 7
    restored, kept = restore(undo(patch, before), after)
    assert (restored["spec"], kept) == ({"a": 7, "b": 0}, (("spec", "a"),))


@pytest.mark.parametrize("routes", [[{"theirs": 1}, {}], []], ids=["one more", "one less"])
def test_an_element_is_kept_when_its_list_has_another_length_now(routes):
    """Its index may mean another element, and a removed field would be put back into somebody else's route."""
    patch = patch_of((("spec", "http", 0, "retries"), ABSENT))
    before = route_of({"http": [{"retries": {"attempts": 2}}]})
    now = route_of({"http": routes})
    assert restore(undo(patch, before), now) == (now, (("spec", "http", 0, "retries"),))


@pytest.mark.parametrize("spec", [{}, {"http": 1}, {"http": []}])
def test_a_field_whose_surroundings_are_gone_is_kept(spec):
    """Somebody who removed or replaced the whole is not overruled."""
    patch = patch_of((("spec", "http", "retries"), ABSENT))
    now = route_of(spec)
    restored, kept = restore(undo(patch, route_of({"http": {"retries": 2}})), now)
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
        apply(patch_of((path, 1)), route_of({"hosts": "catalog", "http": [{}]}))


@pytest.mark.parametrize("value", [1, ABSENT])
def test_a_patch_that_would_change_nothing_is_refused(value):
    """A control whose policy was never weakened would prove nothing."""
    spec = {"a": 1} if value == 1 else {}
    with pytest.raises(HarnessError, match=r"patch of VirtualService shop/catalog changes nothing: spec\.a"):
        apply(patch_of((("spec", "a"), value)), route_of(spec))


@pytest.mark.parametrize("edits", [(), (Edit((), 1),)])
def test_a_patch_without_a_field_is_refused(edits):
    """No edit, or one of the whole object."""
    with pytest.raises(HarnessError, match="VirtualService shop/catalog names no field"):
        Patch(REF, edits)


@pytest.mark.parametrize("other", [("spec", "a"), ("spec", "a", "b"), ("spec",)])
def test_two_edits_of_one_field_are_refused(other):
    """Their inverse would depend on an order that nobody sees."""
    with pytest.raises(HarnessError, match="Two edits of VirtualService shop/catalog"):
        apply(patch_of((("spec", "a"), {}), (other, {"b": 1})), route_of({"a": {"b": 0}}))


def test_creating_is_undone_by_deleting_what_still_has_the_same_owner():
    """The inverse knows the mark that the object was created with."""
    marked = route_of({}) | {"metadata": {"name": "catalog", "annotations": {"harness.mesh/owner": "run/1"}}}
    assert undo(Create(marked), None) == Uncreate(Create(marked).ref, "run/1")


def test_creating_what_exists_is_refused():
    """The object of somebody else would be deleted by the inverse."""
    with pytest.raises(HarnessError, match=r"VirtualService shop/catalog exists already.*harness heal"):
        undo(Create(route_of({})), route_of({}))


@pytest.mark.parametrize(
    "change", [Delete(REF), Eviction(REF), patch_of((("spec", "a"), 1))], ids=["delete", "evict", "patch"]
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
    before = route_of({"a": 1}) | {"status": {"observed": 1}}
    before["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 2, "labels": {"team": "a"}}
    assert undo(Delete(REF), before) == Recreate(
        route_of({"a": 1}) | {"metadata": {"name": "catalog", "namespace": "shop", "labels": {"team": "a"}}},
        "u",
    )


def test_a_manifest_without_a_name_is_refused():
    """The missing field is named."""
    with pytest.raises(HarnessError, match="has no kind"):
        ref_of({"apiVersion": "v1", "metadata": {"name": "x"}})


def test_an_edit_that_is_there_already_changes_nothing_and_is_no_error():
    """As when the answer to it was lost."""
    patch = patch_of((("spec", "a"), 1))
    once = edited(patch, {"spec": {"b": 2}})
    assert once == {"spec": {"a": 1, "b": 2}}
    assert edited(patch, once) == once
    with pytest.raises(HarnessError, match="has no place"):
        edited(patch, {"spec": 1})
