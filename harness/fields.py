"""Fields of a manifest: set by path, and set back unless somebody else changed them meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

Manifest = dict[str, Any]
Path = tuple[str | int, ...]


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""Stands for "there is no such field": as the value of an `Edit` it removes the field."""


@dataclass(frozen=True)
class Edit:
    """Sets the field at `path` to `value`, or removes it when `value` is `ABSENT`.

    Objects on the way that do not exist are created. A number counts the elements of a list from 0; the length of
    the list stands for a new element at its end.
    """

    path: Path
    value: Any


@dataclass(frozen=True)
class Field:
    """What a field held `before` a change and what the change put there (`after`); `ABSENT` for no such field.

    Attributes:
        path: where the field is.
        before: what it held, `ABSENT` if it did not exist.
        after: what the change put there, `ABSENT` if it removed the field.
        created: how many objects around the field the change created, too; they go when they are empty again.
        lengths: the lengths of the lists that the path passes, outermost first. A list that has another length now
            was edited by somebody else, and a number in the path may mean another element.
    """

    path: Path
    before: Any
    after: Any
    created: int = 0
    lengths: tuple[int, ...] = ()


def render(path: Sequence[str | int]) -> str:
    """A path as people write it: `spec.http[0].retries`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def overlap(one: Path, other: Path) -> bool:
    """Whether one of the paths lies within the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def set_field(edit: Edit, root: Manifest) -> Field:
    """Makes an edit in `root`, in place, and says what it replaced.

    An edit that changes the length of a list counts as a change of the whole list.

    Raises:
        LookupError: the path cannot exist in `root`; `root` may be left half edited.
    """
    *around, last = edit.path
    node: Any = root
    created = 0
    lengths: list[int] = []
    for step in around:
        child = _look(node, step)
        if isinstance(node, list):
            lengths.append(len(node))
        if child is ABSENT:
            if edit.value is ABSENT:
                return Field(edit.path, ABSENT, ABSENT)
            if isinstance(node, list):
                raise LookupError(step)
            child = node[step] = {}
            created += 1
        node = child
    before, value = _look(node, last), deepcopy(edit.value)
    if isinstance(node, list) and (before is ABSENT or value is ABSENT):
        whole = deepcopy(node)
        _put(node, last, value)
        return Field(edit.path[:-1], whole, deepcopy(node), created, tuple(lengths))
    if isinstance(node, list):
        lengths.append(len(node))
    _put(node, last, value)
    return Field(edit.path, before, deepcopy(value), created, tuple(lengths))


def set_back(field: Field, root: Manifest) -> bool:
    """Sets a field of `root` back, in place.

    Returns:
        True when the field holds what it held before the change; False when somebody else changed it or what is
        around it meanwhile, and it was left as it is.
    """
    around, now = _walk(field.path, root)
    if tuple(len(node) for node in around if isinstance(node, list)) != field.lengths:
        return False
    if isinstance(now, LookupError):
        return field.before is ABSENT
    if now == field.before:
        return True
    if now != field.after:
        return False
    _put(around[-1], field.path[-1], deepcopy(field.before))
    for depth in range(len(around) - 1, len(around) - 1 - field.created, -1):
        if around[depth]:
            break
        _put(around[depth - 1], field.path[depth - 1], ABSENT)
    return True


def _walk(path: Path, root: Manifest) -> tuple[list[Any], Any]:
    """The objects that a path passes and what is at its end: a LookupError where the way ends early."""
    around: list[Any] = []
    now: Any = root
    for step in path:
        around.append(now)
        try:
            now = _look(now, step)
        except LookupError as error:
            return around, error
    return around, now


def _look(node: Any, step: str | int) -> Any:
    """What is in `node` at `step`, `ABSENT` if it could be added there; LookupError if it could not."""
    if isinstance(node, dict) and isinstance(step, str):
        return node.get(step, ABSENT)
    if isinstance(node, list) and isinstance(step, int) and 0 <= step <= len(node):
        return node[step] if step < len(node) else ABSENT
    raise LookupError(step)


def _put(node: Any, step: str | int, value: Any) -> None:
    """Sets or removes what is in `node` at `step`; a list may grow by an element at its end."""
    if value is ABSENT:
        if _look(node, step) is not ABSENT:
            del node[step]
    elif isinstance(node, list) and step == len(node):
        node.append(value)
    else:
        node[step] = value
