"""The translation's memory: what was worked out from the very same objects is not worked out again.

One change in a mesh of a thousand Services concerns a handful of them. Every larger piece of the translation
is a pure function of a few frozen objects, so its result is kept for as long as those objects are the same
ones (`is`, not `==`: comparing would cost as much as working it out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """Remembers results by function and identity of arguments, for the present and the last generation.

    Strings, numbers, None and tuples of them count by value, everything else by identity. Not for several
    threads at once.
    """

    def __init__(self) -> None:
        self._now: dict[Any, tuple[tuple[Any, ...], Any]] = {}
        self._before: dict[Any, tuple[tuple[Any, ...], Any]] = {}

    def __call__(self, make: Callable[..., T], *arguments: Any) -> T:
        """`make(*arguments)`, or what it was for the same arguments; nobody may change the result."""
        key = (make, *(item if isinstance(item, _BY_VALUE) else (id(item),) for item in arguments))
        known = self._now.get(key) or self._before.get(key)
        if known is None:
            # The arguments are kept beside the result: while they live, no other object can get their id.
            known = (arguments, make(*arguments))
        self._now[key] = known
        value: T = known[1]
        return value

    def turn(self) -> None:
        """Begins a generation: what was not asked for since the last turn is forgotten."""
        self._before, self._now = self._now, {}


_BY_VALUE = (str, int, float, bool, type(None), frozenset)
