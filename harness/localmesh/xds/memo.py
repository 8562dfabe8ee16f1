"""The translation's memory: what was worked out from the very same objects is not worked out again.

One change in a mesh of a thousand Services concerns a handful of them. Every larger piece of the translation
is a pure function of a few frozen objects, so its result is kept for as long as those objects are the same
ones (`is`, not `==`: comparing would cost as much as working it out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
V = TypeVar("V")


class Memo:
    """Remembers results by function and identity of arguments, for the present and the last generation.

    Strings, numbers, None and frozensets count by value, everything else by identity. What was asked for while a result
    was made is remembered for as long as that result. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._now: dict[Any, _Result] = {}
        self._before: dict[Any, _Result] = {}
        self._asking: list[list[Any]] = []

    def __call__(self, make: Callable[..., T], *arguments: Any) -> T:
        """`make(*arguments)`, or what it was for the same arguments; nobody may change the result."""
        return self._known(make, arguments, arguments)

    def through(self, make: Callable[[V], T], given: V, *arguments: Any) -> T:
        """`make(given)`, or what it was for the same arguments: everything of `given` that `make` looks at.

        `given` itself is not kept.
        """
        return self._known(make, arguments, (given,))

    def turn(self) -> None:
        """Begins a generation: what was not asked for since the last turn is forgotten."""
        self._before, self._now = self._now, {}

    def _known(self, make: Callable[..., T], counted: tuple[Any, ...], passed: tuple[Any, ...]) -> T:
        key = (make, *[item if type(item) in _BY_VALUE else (id(item),) for item in counted])
        if self._asking:
            self._asking[-1].append(key)
        known = self._now.get(key)
        if known is None:
            if key in self._before:
                known = self._carried(key)
            else:
                # What counts is kept beside the result: while it lives, no other object can get its id.
                known = self._now[key] = (counted, *self._made(make, passed))
        value: T = known[1]
        return value

    def _made(self, make: Callable[..., Any], passed: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        asked: list[Any] = []
        self._asking.append(asked)
        try:
            return make(*passed), asked
        finally:
            self._asking.pop()

    def _carried(self, key: Any) -> _Result:
        """What is known since the last generation, taken into this one with all that it was made of."""
        known = self._now[key] = self._before[key]
        for inner in known[2]:
            if inner not in self._now and inner in self._before:
                self._carried(inner)
        return known


_Result = tuple[tuple[Any, ...], Any, list[Any]]
"""The arguments that count, the result, and what was asked for while it was made."""

_BY_VALUE = frozenset({str, int, float, bool, type(None), frozenset})
