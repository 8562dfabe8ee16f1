"""Two translations side by side, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "(missing)"

_UNORDERED = frozenset(
    {"virtual_hosts", "domains", "lb_endpoints", "match_subject_alt_names", "query_parameters"}
)
"""Lists whose order means nothing to Envoy."""


@dataclass(frozen=True)
class Difference:
    """A field that differs: `path` from the resource down, what we have there and what istiod has."""

    path: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        """On three lines."""
        return f"{self.path}\n    ours   {_short(self.ours)}\n    istiod {_short(self.theirs)}"


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[Difference]:
    """Where two JSON values differ, as deep down as they have the same shape.

    In a list each element is compared with the one at its place, or with the one of its name where all have one
    of their own; the order counts unless it means nothing to Envoy.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        yield from _of_mappings(ours, theirs, path)
    elif isinstance(ours, list) and isinstance(theirs, list):
        yield from _of_lists(ours, theirs, path)
    elif ours != theirs or type(ours) is not type(theirs):
        yield Difference(path, ours, theirs)


def _of_mappings(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for key in sorted(ours.keys() | theirs.keys()):
        yield from differences(
            ours.get(key, MISSING), theirs.get(key, MISSING), f"{path}.{key}" if path else key
        )


def _of_lists(ours: Sequence[Any], theirs: Sequence[Any], path: str) -> Iterator[Difference]:
    our_names, their_names = _names(ours), _names(theirs)
    free = path.rpartition(".")[2] in _UNORDERED
    if our_names is not None and their_names is not None:
        for name in dict.fromkeys([*our_names, *their_names]):
            one, other = our_names.get(name, MISSING), their_names.get(name, MISSING)
            yield from differences(one, other, f"{path}[{name}]")
        common = [name for name in our_names if name in their_names]
        order = [name for name in their_names if name in our_names]
        if common != order and not free:
            yield Difference(f"{path} (order)", common, order)
        return
    if free:
        yield from _of_sets(ours, theirs, path)
        return
    for index in range(max(len(ours), len(theirs))):
        one = ours[index] if index < len(ours) else MISSING
        other = theirs[index] if index < len(theirs) else MISSING
        yield from differences(one, other, f"{path}[{index}]")


def _of_sets(ours: Sequence[Any], theirs: Sequence[Any], path: str) -> Iterator[Difference]:
    """Elements that only one side has; where both have as many, each is compared with its like."""
    mine = sorted((item for item in ours if item not in theirs), key=repr)
    other = sorted((item for item in theirs if item not in ours), key=repr)
    if len(mine) == len(other) and all(isinstance(item, Mapping) for item in (*mine, *other)):
        for index, (one, its) in enumerate(zip(mine, other, strict=True)):
            yield from differences(one, its, f"{path}[{index}]")
    elif mine or other:
        yield Difference(path, mine, other)


def _names(items: Sequence[Any]) -> dict[str, Any] | None:
    """The elements by name, or None when not each has a name of its own."""
    named = {item["name"]: item for item in items if isinstance(item, Mapping) and "name" in item}
    return named if len(named) == len(items) else None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 300 else text[:300] + "…"
