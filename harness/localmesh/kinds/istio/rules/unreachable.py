"""Routes and matches of a VirtualService that nothing can reach (`analyzeUnreachableHTTPRules` and its likes).

Istio admits them with a warning; Envoy takes the first route that fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.istio.virtualservice import HttpRoute, Match, StringMatch, VirtualService


def warnings(spec: VirtualService) -> Iterator[Problem]:
    """The routes of `spec`, and their matches, that are never used, each with the reason."""
    for kind in ("http", "tcp", "tls"):
        yield from _unused(kind, getattr(spec, kind))
    yield from _shadowed(spec.http)


def _unused(kind: str, routes: tuple[Any, ...]) -> Iterator[Problem]:
    seen: dict[Any, int] = {}
    catch_all: int | None = None
    for index, route in enumerate(routes):
        place = f"{kind}[{index}]"
        if catch_all is not None:
            why = "comes after" if route.match else "has no matches, as does"
            yield place, f"is not used: it {why} {kind}[{catch_all}], which takes everything"
        if not route.match:
            catch_all = index
            continue
        twins = 0
        for number, match in enumerate(route.match if catch_all is None else ()):
            key = repr(_nameless(match))
            if key in seen:
                twins += 1
                yield f"{place}.match[{number}]", f"is not used: a match of {kind}[{seen[key]}] is the same"
            seen.setdefault(key, index)
        if twins == len(route.match):
            yield place, "is not used: earlier routes have all its matches"


def _nameless(match: Any) -> Any:
    return msgspec.structs.replace(match, name="") if isinstance(match, Match) else match


def _shadowed(routes: tuple[HttpRoute, ...]) -> Iterator[Problem]:
    """Matches on a prefix of the path that an earlier match on a shorter prefix takes away."""
    earlier: list[tuple[str, str, Match]] = []
    for index, route in enumerate(routes):
        for number, match in enumerate(route.match):
            if match.uri is None or not match.uri.prefix:
                continue
            place = f"http[{index}].match[{number}]"
            for other, prefix, wide in earlier:
                if (
                    prefix != match.uri.prefix
                    and match.uri.prefix.startswith(prefix)
                    and _as_wide(wide, match)
                ):
                    yield place, f"is not used: {other} takes every path that begins with {prefix!r}"
            if match not in (known for _, _, known in earlier):
                earlier.append((place, match.uri.prefix, match))


def _as_wide(wide: Match, narrow: Match) -> bool:
    """Whether Istio takes `wide` to fit whatever `narrow` does, but for the path (`coveredValidation`)."""
    if wide.port != narrow.port:
        return False
    pairs = [
        (_text(wide.method) or "exact:GET", _text(narrow.method) or "exact:GET"),
        (_text(wide.authority), _text(narrow.authority)),
    ]
    for name in ("headers", "query_params", "without_headers"):
        own, other = getattr(wide, name), getattr(narrow, name)
        if own.keys() != other.keys():
            return False
        pairs += [(_text(own[key]), _text(other[key])) for key in own]
    return all(one.startswith(other) for one, other in pairs)


def _text(string: StringMatch | None) -> str:
    if string is None or not (string.exact or string.prefix):
        return ""
    return f"exact:{string.exact}" if string.exact else f"prefix:{string.prefix}"
