"""Changes to Kubernetes objects and their inverses: pure, and written down as JSON before anything is done.

A `Change` says what is done to one object; `undo` gives its inverse from the object as it was before. A `Restore` is
three-way: a field is set back only while it still holds what the change put there, so an edit that somebody else made
meanwhile is never overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError
from harness.fields import ABSENT, Edit, Field, Manifest, Path, overlap, render, set_back, set_field
from harness.objects import OWNER, Ref, as_written, is_controlled, owner_of, ref_of

__all__ = [
    "ABSENT",
    "OWNER",
    "Attach",
    "Change",
    "Create",
    "Delete",
    "Edit",
    "Eviction",
    "Field",
    "LeftToController",
    "Manifest",
    "Outlast",
    "Patch",
    "Path",
    "Recreate",
    "Ref",
    "Restore",
    "Rotate",
    "Uncreate",
    "Undo",
    "Unrotate",
    "apply",
    "as_written",
    "change_from_json",
    "edited",
    "need_open",
    "owner_of",
    "ref_of",
    "render",
    "restore",
    "to_json",
    "undo",
    "undo_from_json",
]


@dataclass(frozen=True)
class Create:
    """Creates the object that `manifest` describes."""

    manifest: Manifest

    @property
    def ref(self) -> Ref:
        """The object it creates."""
        return ref_of(self.manifest)


@dataclass(frozen=True)
class Patch:
    """Changes some fields of an object that exists.

    Raises:
        HarnessError: there is no edit, or an edit of the whole object.
    """

    ref: Ref
    edits: tuple[Edit, ...]

    def __post_init__(self) -> None:
        if not self.edits or not all(edit.path for edit in self.edits):
            raise HarnessError(f"A patch of {self.ref} names no field; give at least one edit with a path.")


@dataclass(frozen=True)
class Delete:
    """Deletes an object; a pod is given `grace_seconds` to end (None: what the object itself says)."""

    ref: Ref
    grace_seconds: int | None = None


@dataclass(frozen=True)
class Eviction:
    """Deletes a pod through the eviction API, which its PodDisruptionBudget may refuse."""

    ref: Ref


@dataclass(frozen=True)
class Uncreate:
    """Undoes a `Create`: deletes the object if it is still the one that was created.

    Attributes:
        ref: the object.
        owner: what it carries in its annotation `OWNER`, "" for nothing.
        uid: the UID it got, "" while that is not known; an object that has it is ours whatever its annotations say.
    """

    ref: Ref
    owner: str = ""
    uid: str = ""


@dataclass(frozen=True)
class Restore:
    """Undoes a `Patch`, field by field; `mark` is the key under which the object says so itself, "" for nothing."""

    ref: Ref
    fields: tuple[Field, ...]
    mark: str = ""


@dataclass(frozen=True)
class Recreate:
    """Undoes the `Delete` or `Eviction` of an object that nobody else would bring back; it had the UID `uid`."""

    manifest: Manifest
    uid: str = ""

    @property
    def ref(self) -> Ref:
        """The object it creates again."""
        return ref_of(self.manifest)


@dataclass(frozen=True)
class LeftToController:
    """Nothing is left to undo: the deleted object belongs to a controller, which replaces it."""

    ref: Ref


@dataclass(frozen=True)
class Attach:
    """Puts an ephemeral container into a pod; Kubernetes knows no way to take it out again.

    Attributes:
        ref: the pod.
        container: its manifest.
        seconds: after which its program ends by itself.
    """

    ref: Ref
    container: Manifest
    seconds: float


@dataclass(frozen=True)
class Outlast:
    """Undoes an `Attach`: waits until the program has ended by itself, or the pod with the UID `uid` is gone."""

    ref: Ref
    uid: str
    container: str
    seconds: float


@dataclass(frozen=True)
class Rotate:
    """Gives a Secret that holds the root of a mesh a new one (see `harness.roots`); nothing of it is in the change.

    Attributes:
        ref: the Secret.
        step: "replace" to do so at once, or the two steps of it: "trust" lets the new root be trusted as well, and
            "sign", after it in the same injection, lets it sign, when the old one is trusted still.
        overlap: seconds that pass on the way back before the old content is put there again: for so long sidecars
            trust both roots.
    """

    ref: Ref
    step: str = "replace"
    overlap: float = 0.0


@dataclass(frozen=True)
class Unrotate:
    """Undoes a `Rotate`: the old root is in another Secret of the same namespace, which goes afterwards.

    Attributes:
        ref: the Secret that holds the root.
        copy: the name of the Secret that keeps the old one.
        after: the fingerprint of the new root; another one that is there was put there by somebody else.
        overlap: seconds to wait before; see `Rotate`.
    """

    ref: Ref
    copy: str = ""
    after: str = ""
    overlap: float = 0.0


Change = Create | Patch | Delete | Eviction | Attach | Rotate
Undo = Uncreate | Restore | Recreate | LeftToController | Outlast | Unrotate


def need_open(change: Change) -> None:
    """Lets a change pass whose content, and its inverse's, may be written to the ledger, to annotations and reports.

    Raises:
        HarnessError: it is about a Secret, and no `Rotate`, in which nothing of the Secret is.
    """
    if change.ref.kind == "Secret" and not isinstance(change, Rotate):
        raise HarnessError(
            f"{change.ref} cannot be changed: its inverse, with what is in it, would be written to the ledger on disk; "
            "leave Secrets alone (RootRotation gives a mesh another root, and its key stays in the cluster)."
        )


def apply(patch: Patch, manifest: Manifest) -> Manifest:
    """The object after `patch`; `manifest` itself is left as it is.

    Raises:
        HarnessError: a path cannot exist in this object, two edits overlap, or nothing would change.
    """
    return _patched(patch, manifest)[0]


def edited(patch: Patch, manifest: Manifest) -> Manifest:
    """The object after `patch`, which may be in it already; `manifest` itself is left as it is.

    Raises:
        HarnessError: a path cannot exist in this object.
    """
    changed = deepcopy(manifest)
    for edit in patch.edits:
        try:
            set_field(edit, changed)
        except LookupError:
            raise HarnessError(f"{patch.ref} has no place for {render(edit.path)} any more.") from None
    return changed


def undo(change: Change, before: Manifest | None) -> Undo:
    """The inverse of `change`, given the object as it was `before` (None: there was none).

    Raises:
        HarnessError: the change is impossible: what it creates exists, what it changes or deletes does not, a patch
            does not fit the object (see `apply`), or what is in the object must not be written down (`need_open`).
    """
    need_open(change)
    if isinstance(change, Create):
        if before is not None:
            raise HarnessError(
                f"{change.ref} exists already; remove it, or run `harness heal` if an earlier run left it."
            )
        return Uncreate(change.ref, owner_of(change.manifest))
    if before is None:
        raise HarnessError(f"There is no {change.ref}; check its name, or resolve the target again.")
    if isinstance(change, Patch):
        return Restore(change.ref, _patched(change, before)[1])
    if isinstance(change, Attach):
        name = str(change.container["name"])
        if any(one["name"] == name for one in before["spec"].get("ephemeralContainers") or ()):
            raise HarnessError(f"{change.ref} has a container {name} already; give the run another name.")
        return Outlast(change.ref, before["metadata"].get("uid", ""), name, change.seconds)
    if isinstance(change, Rotate):
        return Unrotate(change.ref, overlap=change.overlap)
    if is_controlled(before):
        return LeftToController(change.ref)
    return Recreate(as_written(before), before["metadata"].get("uid", ""))


def restore(undo: Restore, current: Manifest) -> tuple[Manifest, tuple[Path, ...]]:
    """The object with its fields set back, and the paths that were kept since somebody else changed them meanwhile.

    Restoring twice is the same as once. `current` itself is left as it is.
    """
    restored = deepcopy(current)
    kept = tuple(field.path for field in reversed(undo.fields) if not set_back(field, restored))
    return restored, kept[::-1]


def to_json(item: Change | Undo) -> dict[str, Any]:
    """`item` as JSON values, under the name of its type."""
    match item:
        case Create() | Recreate():
            content: dict[str, Any] = dict(vars(item))
        case Patch(ref, edits):
            content = {"ref": vars(ref), "edits": [_present(vars(edit)) for edit in edits]}
        case Restore(ref, fields, mark):
            content = {"ref": vars(ref), "fields": [_present(vars(field)) for field in fields], "mark": mark}
        case _:
            content = vars(item) | {"ref": vars(item.ref)}
    return {type(item).__name__: content}


def change_from_json(raw: dict[str, Any]) -> Change:
    """The inverse of `to_json` for a change.

    Raises:
        KeyError, TypeError, ValueError: `raw` is not what `to_json` gives for a change.
    """
    match raw:
        case {"Create": {"manifest": manifest}}:
            return Create(manifest)
        case {"Patch": {"ref": ref, "edits": edits}}:
            return Patch(Ref(**ref), tuple(Edit(tuple(e["path"]), e.get("value", ABSENT)) for e in edits))
        case {"Delete": {"ref": ref, "grace_seconds": grace_seconds}}:
            return Delete(Ref(**ref), grace_seconds)
        case {"Eviction": {"ref": ref}}:
            return Eviction(Ref(**ref))
        case {"Attach": {"ref": ref, "container": container, "seconds": seconds}}:
            return Attach(Ref(**ref), container, seconds)
        case {"Rotate": {"ref": ref, **more}}:
            return Rotate(Ref(**ref), str(more.get("step", "replace")), _seconds(more))
    raise ValueError(f"not a change: {raw}")


def undo_from_json(raw: dict[str, Any]) -> Undo:
    """The inverse of `to_json` for an inverse.

    Raises:
        KeyError, TypeError, ValueError: `raw` is not what `to_json` gives for an inverse.
    """
    match raw:
        case {"Uncreate": {"ref": ref, "owner": owner, **more}}:
            return Uncreate(Ref(**ref), owner, str(more.get("uid", "")))
        case {"Restore": {"ref": ref, "fields": fields, **more}}:
            return Restore(Ref(**ref), tuple(_field(field) for field in fields), str(more.get("mark", "")))
        case {"Recreate": {"manifest": manifest, **more}}:
            return Recreate(manifest, str(more.get("uid", "")))
        case {"LeftToController": {"ref": ref}}:
            return LeftToController(Ref(**ref))
        case {"Outlast": {"ref": ref, "uid": uid, "container": container, "seconds": seconds}}:
            return Outlast(Ref(**ref), uid, container, seconds)
        case {"Unrotate": {"ref": ref, "copy": copy, "after": after, **more}}:
            return Unrotate(Ref(**ref), str(copy), str(after), _seconds(more))
    raise ValueError(f"not an inverse of a change: {raw}")


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


def _seconds(raw: Mapping[Any, Any]) -> float:
    return float(raw.get("overlap", 0.0))


def _field(raw: dict[str, Any]) -> Field:
    before, after = raw.get("before", ABSENT), raw.get("after", ABSENT)
    return Field(tuple(raw["path"]), before, after, raw["created"], tuple(raw["lengths"]))


def _patched(patch: Patch, manifest: Manifest) -> tuple[Manifest, tuple[Field, ...]]:
    """The object after `patch`, and what was changed in it."""
    patched = deepcopy(manifest)
    fields: list[Field] = []
    for edit in patch.edits:
        try:
            field = set_field(edit, patched)
        except LookupError:
            raise HarnessError(
                f"{patch.ref} has no place for {render(edit.path)}; compare the path with the object."
            ) from None
        if any(overlap(field.path, other.path) for other in fields):
            raise HarnessError(f"Two edits of {patch.ref} touch {render(field.path)}; join them into one.")
        fields.append(field)
    changed = tuple(field for field in fields if field.before != field.after)
    if not changed:
        paths = ", ".join(render(edit.path) for edit in patch.edits)
        raise HarnessError(f"The patch of {patch.ref} changes nothing: {paths} is already as asked.")
    return patched, changed
