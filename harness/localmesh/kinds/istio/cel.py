"""CEL, the expressions of Telemetry: what keeps a text from being one that Envoy builds.

Grammar: google/cel-spec `doc/langdef.md`. Istio only parses them; Envoy 1.40 refuses its whole configuration when one
calls a function it does not have, so the functions are those Envoy took when each was given to it. What
Envoy can only find wrong while it evaluates (a missing attribute, a wrong type) is no fault.
"""

from __future__ import annotations

import re

from harness.localmesh.kinds.istio import re2

LONGEST = 4096
"""The most characters the local mesh takes."""

_DEEPEST = 50
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>[rR](?:"[^"\n]*"|'[^'\n]*')|"(?:[^"\\\n]|\\[abfnrtv"'`?\\])*"|'(?:[^'\\\n]|\\[abfnrtv"'`?\\])*')
    | (?P<number>0[xX][0-9a-fA-F]{1,15}[uU]?|[0-9]{1,18}\.[0-9]{1,18}(?:[eE][-+]?[0-9]{1,2})?|[0-9]{1,18}[uU]?)
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    )""",
    re.VERBOSE,
)
_AS_STRING = re.compile(r"\s*string\s*\((.*)\)\s*", re.DOTALL)
_RESERVED_NAMES = (
    "as break const continue else for function if import in let loop namespace package return var void while"
)
_RESERVED = frozenset(_RESERVED_NAMES.split())
_CASTS = ("bool", "bytes", "double", "duration", "dyn", "int", "timestamp", "type", "uint")
_FUNCTIONS = dict.fromkeys(("has", "size", *_CASTS), 1)
_TIMES = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes", "Seconds")
_METHODS = {"startsWith": 1, "endsWith": 1, "contains": 1, "matches": 1, "size": 0} | {
    f"get{part}": 0 for part in (*_TIMES, "Milliseconds")
}
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LEVELS = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


class _Broken(ValueError):
    """The text is no expression; the message says why."""


def fault(expression: str) -> str | None:
    """What is wrong with `expression`, as a sentence about it, or None when Envoy takes it."""
    if len(expression) > LONGEST:
        return f"is longer than {LONGEST} characters"
    try:
        _Reader(expression).whole()
    except _Broken as broken:
        return f"{expression!r} is no CEL expression that Envoy takes: {broken}"
    return None


def printed(expression: str) -> str:
    """`expression` without `string()` around the whole of it, for who prints the value anyway.

    Istio's own filter has that function, Envoy's access loggers have not.
    """
    found = _AS_STRING.fullmatch(expression)
    return found[1] if found and fault(found[1]) is None else expression


def words(expression: str) -> frozenset[str]:
    """The names, signs and texts (without their quotes) that `expression`, which has no `fault`, is made of."""
    return frozenset(_unquoted(text) if kind == "string" else text for kind, text in _tokens(expression))


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at, text = [], 0, text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise _Broken(f"{text[at : at + 10]!r} is not understood")
        found.append((str(token.lastgroup), token[str(token.lastgroup)]))
        at = token.end()
    return found


def _unquoted(literal: str) -> str:
    if literal[0] in "rR":
        return literal[2:-1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), literal[1:-1])


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self._selected = False  # whether the last value was the field of another

    def whole(self) -> None:
        self._expression()
        if self._at < len(self._tokens):
            raise _Broken(f"{self._tokens[self._at][1]!r} stands where it should end")

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, *texts: str) -> bool:
        kind, text = self._next()
        taken = kind in ("sign", "name") and text in texts
        self._at += taken
        return taken

    def _must(self, text: str) -> None:
        if not self._take(text):
            raise _Broken(f"{text!r} is missing")

    def _expression(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Broken(f"it nests deeper than {_DEEPEST}")
        self._level(0)
        if self._take("?"):
            self._level(0)
            self._must(":")
            self._expression()
        self._depth -= 1

    def _level(self, level: int) -> None:
        if level == len(_LEVELS):
            self._unary()
            return
        self._level(level + 1)
        while self._take(*_LEVELS[level]):
            self._level(level + 1)

    def _unary(self) -> None:
        if self._take("!"):
            while self._take("!"):
                pass
        else:
            while self._take("-"):
                pass
        selected = self._primary()
        while True:
            if self._take("."):
                name = self._name()
                selected = True
                if self._take("("):
                    self._call(name, _METHODS)
            elif self._take("["):
                self._expression()
                self._must("]")
                selected = False
            else:
                break
        self._selected = selected

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name" or text in _RESERVED:
            raise _Broken(f"{text!r} stands where a name should")
        self._at += 1
        return text

    def _call(self, name: str, known: dict[str, int]) -> None:
        if name not in known:
            raise _Broken(f"there is no function {name!r}")
        kind, text = self._next()
        if name == "matches" and kind == "string" and (why := re2.fault(_unquoted(text))) is not None:
            raise _Broken(f"{text} {why}")
        count = 0
        while not self._take(")"):
            if count:
                self._must(",")
            self._expression()
            count += 1
        if count != known[name]:
            raise _Broken(f"{name!r} takes {known[name]} arguments, not {count}")
        if name == "has" and not self._selected:
            raise _Broken("has() asks for a field, as in has(request.id)")

    def _primary(self) -> bool:
        """Takes a value; the answer is whether `has()` could ask for it, which is never."""
        kind, text = self._next()
        if kind in ("string", "number"):
            self._at += 1
        elif self._take("("):
            self._expression()
            self._must(")")
        elif self._take("["):
            while not self._take("]"):
                self._expression()
                if not self._take(","):
                    self._must("]")
                    break
        elif kind == "name":
            name = self._name()
            if self._take("("):
                self._call(name, _FUNCTIONS)
        else:
            raise _Broken(f"{text!r} stands where a value should" if text else "it ends too early")
        return False
