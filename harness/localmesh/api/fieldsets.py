"""Sets of fields of an object, as `managedFields` records who owns what. Pure.

A path is a tuple of the elements that Kubernetes writes in FieldsV1: `f:name` a field, `k:{"name":"a"}` the element
of a keyed list, `v:"a"` the member of a set (sigs.k8s.io/structured-merge-diff, fieldpath).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.localmesh.api.schema import Names, Schema
from harness.localmesh.kinds.parse import Manifest

Path = tuple[str, ...]
Paths = frozenset[Path]

_MEMBER = object()
_DEEPEST = 64


def leaves(schema: Schema, value: Any) -> dict[Path, Any]:
    """What can be owned in `value`, each path with its value: plain values, what is atomic, elements of lists.

    An element of a keyed list is there itself, and so are its fields. Of elements that share their keys the last
    one counts.
    """
    return dict(_leaves(schema, value, (), ()))


def nodes(schema: Schema, value: Any) -> dict[Path, Any]:
    """What `leaves` gives, and the objects and lists that hold it: all that an update can add or remove."""
    found: dict[Path, Any] = {}
    for path, leaf in _leaves(schema, value, (), ()):
        for end in range(1, len(path)):
            found.setdefault(path[:end], _MEMBER)
        found[path] = _MEMBER if leaf in ({}, []) else leaf
    return found


def paths(schema: Schema, value: Any) -> Paths:
    """The paths of `leaves`."""
    return frozenset(leaves(schema, value))


def difference(old: Mapping[Path, Any], new: Mapping[Path, Any]) -> tuple[Paths, Paths]:
    """What was added or changed between two `nodes`, and what was removed."""
    written = frozenset(path for path, value in new.items() if path not in old or not _same(old[path], value))
    return written, frozenset(old.keys() - new.keys())


def members(found: Paths) -> Paths:
    """`found` with the fields that contain them: whoever owns a field has a say in what holds it."""
    holders = (path[:end] for path in found for end in range(1, len(path)) if path[end - 1].startswith("f:"))
    return found.union(holders)


def without(schema: Schema, value: Any, removed: Paths) -> Any:
    """`value` without the fields and elements at `removed`."""
    return _without(schema, value, removed, (), ())


def encode(found: Iterable[Path]) -> Manifest:
    """`found` as FieldsV1."""
    tree: Manifest = {}
    for path in sorted(found):
        place = tree
        for element in path:
            place = place.setdefault(element, {})
        place["."] = {}
    return _tidied(tree)


def decode(fields: Any) -> Paths | None:
    """The set that `fields` is as FieldsV1, None when it is no such."""
    try:
        return frozenset(_decoded(fields, ()))
    except ValueError:
        return None


def element_key(identity: Mapping[str, Any]) -> str:
    """The path element of the element of a keyed list with that identity."""
    return "k:" + json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def member_key(value: Any) -> str:
    """The path element of a member of a set."""
    return "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def rank(path: Path) -> tuple[tuple[bool, str], ...]:
    """What orders paths as Kubernetes lists them: what stands directly in an object before what stands deeper."""
    return tuple((depth < len(path), element) for depth, element in enumerate(path, 1))


def text(path: Path) -> str:
    """`path` as Kubernetes writes it in messages: `.spec.containers[name="web"].image`."""
    return "".join(map(_element_text, path))


def _leaves(schema: Schema, value: Any, path: Path, names: Names) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and not schema.is_atomic(names):
        for name, item in value.items():
            yield from _leaves(schema, item, (*path, f"f:{name}"), (*names, name))
    elif isinstance(value, list) and (schema.keys(names) or schema.is_set(names)):
        for item, element in elements(schema, value, names):
            yield (*path, element), _MEMBER
            if schema.keys(names):
                yield from _leaves(schema, item, (*path, element), names)
    elif path:
        yield path, value


def elements(schema: Schema, items: list[Any], names: Names) -> Iterator[tuple[Any, str]]:
    """Each of `items`, a keyed list or a set, with its path element.

    Raises:
        Refused: 400 when an element lacks a key.
    """
    keyed = schema.keys(names)
    for item in items:
        yield item, element_key(schema.identity(names, item)) if keyed else member_key(item)


def _without(schema: Schema, value: Any, removed: Paths, path: Path, names: Names) -> Any:
    if isinstance(value, dict) and not schema.is_atomic(names):
        return {
            name: _without(schema, item, removed, (*path, f"f:{name}"), (*names, name))
            for name, item in value.items()
            if (*path, f"f:{name}") not in removed
        }
    if isinstance(value, list) and (schema.keys(names) or schema.is_set(names)):
        kept = [it for it in elements(schema, value, names) if (*path, it[1]) not in removed]
        if schema.is_set(names):
            return [item for item, _ in kept]
        return [_without(schema, item, removed, (*path, element), names) for item, element in kept]
    return value


def _same(one: Any, other: Any) -> bool:
    # True == 1 in Python, and not in JSON.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _tidied(tree: Manifest) -> Manifest:
    if tree.keys() == {"."}:
        return {}
    return {key: _tidied(value) if key != "." else value for key, value in tree.items()}


def _decoded(fields: Any, path: Path) -> Iterator[Path]:
    if not isinstance(fields, dict) or len(path) > _DEEPEST:
        raise ValueError("a set of fields is an object of objects")
    if path and (not fields or "." in fields):
        yield path
    for element, inner in fields.items():
        if element != ".":
            if element[:2] not in ("f:", "k:", "v:"):
                raise ValueError(f"{element!r} is no element of a path")
            yield from _decoded(inner, (*path, element))


def _element_text(element: str) -> str:
    kind, rest = element[:2], element[2:]
    if kind == "f:":
        return f".{rest}"
    if kind == "v:":
        return f"[={rest}]"
    try:
        identity = json.loads(rest)
    except ValueError:
        return f"[{rest}]"
    return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in identity.items()) + "]"
