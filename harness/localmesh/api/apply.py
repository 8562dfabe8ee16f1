"""Server-side apply: a manager says what it wants of an object, and nothing else of it changes. Pure.

Rules: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and sigs.k8s.io/structured-merge-diff
`merge/update.go`: merge what is said into what is there; drop what the manager said before, says no longer and
nobody else owns; refuse to change what others own, unless forced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from harness.localmesh.api import fieldsets
from harness.localmesh.api.fieldsets import Path, Paths
from harness.localmesh.api.managers import BEFORE, Entry, Manager, Writing, encoded, entries
from harness.localmesh.api.schema import Names, Schema
from harness.localmesh.api.status import bad_request
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.defaults import without_nulls
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import with_metadata

_NAMING = frozenset(("name", "namespace", "uid", "resourceVersion", "managedFields"))
_KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def apply(writing: Writing, old: Manifest | None, said: Manifest, *, force: bool) -> Manifest:
    """The object that applying `said` to `old` (None: there is none yet) leaves, with its managedFields.

    Raises:
        Refused: 409 with every field that another manager owns and `said` would change, unless `force`; 400 when
            an element of a keyed list lacks its key or two share theirs.
    """
    schema, said = writing.schema, _section(writing, without_nulls(said))
    if said["metadata"].get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    _check_unique(schema, said, ())
    mine = writing.owned(said)
    if old is None:
        return with_metadata(said, managedFields=encoded([Entry(writing.manager, mine, writing.now)]))
    found = entries(old) or _first(writing, old)
    new = _pruned(writing, _merged(schema, old, said, ()), found, said)
    hindrances = writing.conflicts(found, old, new)
    if hindrances and not force:
        hindrances = _without_last_applied(writing, old, hindrances)
        if hindrances:
            raise _conflict(hindrances)
    return with_metadata(new, managedFields=encoded(writing.applied(found, old, new, mine)))


def _section(writing: Writing, said: Manifest) -> Manifest:
    """What counts of `said`: the status, through its subresource, and everything else without it."""
    if writing.manager.subresource == "status":
        metadata = {key: value for key, value in said["metadata"].items() if key in _NAMING}
        return {key: said[key] for key in ("apiVersion", "kind", "status") if key in said} | {
            "metadata": metadata
        }
    if writing.schema.resource.has_status:
        return {key: value for key, value in said.items() if key != "status"}
    return said


def _first(writing: Writing, old: Manifest) -> tuple[Entry, ...]:
    """Whoever wrote an object that has no managers yet, as one."""
    before = replace(writing, manager=Manager(BEFORE, "Update", writing.manager.version))
    return (Entry(before.manager, before.owned(old), writing.now),)


def _merged(schema: Schema, old: Any, said: Any, names: Names) -> Any:
    if isinstance(old, dict) and isinstance(said, dict) and not schema.is_atomic(names):
        merged = dict(old)
        for name, value in said.items():
            merged[name] = _merged(schema, old.get(name), value, (*names, name))
        return merged
    if isinstance(old, list) and isinstance(said, list) and (schema.keys(names) or schema.is_set(names)):
        return _merged_list(schema, old, said, names)
    return said


def _merged_list(schema: Schema, old: list[Any], said: list[Any], names: Names) -> list[Any]:
    there = {element: item for item, element in fieldsets.elements(schema, old, names)}
    wanted = {element: item for item, element in fieldsets.elements(schema, said, names)}
    merged = {element: _merged(schema, there.get(element), item, names) for element, item in wanted.items()}
    return [{**there, **merged}[element] for element in _order(list(there), list(wanted))]


def _order(there: Sequence[str], said: Sequence[str]) -> list[str]:
    """Elements that are said in the order in which they are said; those that are not, where they are reached.

    The order in which structured-merge-diff walks the two lists (`typed/merge.go`).
    """
    left, coming = deque(there), deque(said)
    shared = deque(element for element in said if element in there)
    result: list[str] = []
    while left or coming:
        head = left[0] if left else None
        if head is not None and head not in said:
            result.append(left.popleft())
        elif head is not None and coming and shared and shared[0] != head:
            left.popleft()  # its turn comes later, or was before
        else:
            if head is not None and (head in result or coming[0] == head):
                left.popleft()
            if coming:
                result.append(coming.popleft())
                if shared and shared[0] == result[-1]:
                    shared.popleft()
    return result


def _pruned(writing: Writing, new: Manifest, found: Sequence[Entry], said: Manifest) -> Manifest:
    """`new` without what the manager said before and does not say now, unless somebody else owns it too.

    In the steps of structured-merge-diff (`merge/update.go`, prune): take out all that was said, put back what
    somebody owns, and of what is then missing take out for good only what the manager had said.
    """
    before = writing.mine(found)
    if before is None:
        return new

    def held(value: Manifest) -> Paths:
        return fieldsets.members(fieldsets.paths(writing.schema, value))

    last, all_of_it = fieldsets.members(before.owned), held(new)
    owned = fieldsets.members(
        fieldsets.paths(writing.schema, said).union(*(entry.owned for entry in writing.others(found)))
    )
    bare = fieldsets.without(writing.schema, new, last)
    kept = fieldsets.without(writing.schema, new, all_of_it - held(bare) - owned)
    pruned: Manifest = fieldsets.without(writing.schema, new, (all_of_it - held(kept)) & last)
    return pruned


def _without_last_applied(
    writing: Writing, old: Manifest, hindrances: list[tuple[Manager, Path]]
) -> list[tuple[Manager, Path]]:
    """The conflicts but for what kubectl itself wrote by client-side apply, as its annotation tells."""
    annotation = (old["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if writing.manager.name != _KUBECTL or not annotation:
        return hindrances
    try:
        told = fieldsets.paths(writing.schema, msgspec.json.decode(annotation))
    except (msgspec.DecodeError, Refused):
        return hindrances
    return [item for item in hindrances if item[1] not in told]


def _check_unique(schema: Schema, value: Any, names: Names) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _check_unique(schema, item, (*names, name))
    elif isinstance(value, list) and (schema.keys(names) or schema.is_set(names)):
        seen: set[str] = set()
        for item, element in fieldsets.elements(schema, value, names):
            if element in seen:
                where = ".".join(("", *names))
                raise bad_request(f"{where}: duplicate entries for key {fieldsets.text((element,))}")
            seen.add(element)
            _check_unique(schema, item, names)


def _conflict(hindrances: list[tuple[Manager, Path]]) -> Refused:
    """As apimachinery words it (`managedfields/internal/conflict.go`)."""
    causes = tuple(
        ("FieldManagerConflict", f"conflict with {manager}", fieldsets.text(path))
        for manager, path in hindrances
    )
    count = len(hindrances)
    if count == 1:
        manager, path = hindrances[0]
        message = f"Apply failed with 1 conflict: conflict with {manager}: {fieldsets.text(path)}"
    else:
        lines: list[str] = []
        for manager, path in hindrances:
            head = f"conflicts with {manager}:"
            lines += [] if head in lines else [head]
            lines.append(f"- {fieldsets.text(path)}")
        message = f"Apply failed with {count} conflicts: " + "\n".join(lines)
    return Refused(409, "Conflict", message, causes=causes)
