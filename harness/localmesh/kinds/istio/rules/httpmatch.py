"""What Istio's webhook, or Envoy itself, holds against a match of an HTTP route (`validateHTTPRouteMatchRequest`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.rules.common import (
    gateway_problems,
    is_header,
    label_problems,
    regex_problems,
    tag_problems,
)
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.istio.virtualservice import Match, StringMatch

_PSEUDO = frozenset((":method", ":scheme", ":authority", ":path", ":status"))
_CLAIM = "@request.auth.claims"
_ABSENT = StringMatch(regex="*")  # to Istio no expression, but "is there"


def problems(match: Match) -> Iterator[Problem]:
    """The fields of `match` that Istio would not take."""
    yield from _header_problems("headers", match.headers)
    yield from _header_problems("withoutHeaders", match.without_headers)
    for name, string in match.query_params.items():
        if not name:
            yield "queryParams", "a name must not be empty"
        yield from string_problems(f"queryParams[{name}]", string)
    if match.uri is not None:
        yield from string_problems("uri", match.uri, empty_prefix=True)
    for field in ("scheme", "method", "authority"):
        if (string := getattr(match, field)) is not None:
            yield from string_problems(field, string)
    yield from tag_problems("sourceLabels", match.source_labels)
    yield from gateway_problems("gateways", match.gateways)
    if match.source_namespace:
        yield from label_problems("sourceNamespace", match.source_namespace)


def string_problems(field: str, string: StringMatch, *, empty_prefix: bool = False) -> Iterator[Problem]:
    """What keeps `string` from being a comparison; with `empty_prefix` the prefix may be "", which fits everything."""
    if sum(way is not None for way in (string.exact, string.prefix, string.regex)) > 1:
        yield field, "only one of exact, prefix and regex can be given"
    if string.prefix == "" and not empty_prefix:
        yield f"{field}.prefix", "must not be empty"
    if string.regex is not None:
        yield from regex_problems(f"{field}.regex", string.regex)


def _header_problems(field: str, headers: dict[str, StringMatch]) -> Iterator[Problem]:
    for name, string in headers.items():
        if name.startswith(_CLAIM):
            yield (
                f"{field}[{name}]",
                "the local mesh does not emulate RequestAuthentication, which this needs",
            )
        elif name not in _PSEUDO and not is_header(name):
            yield f"{field}[{name}]", f"{name!r} is no name of a header"
        if field == "headers" or string != _ABSENT:
            yield from string_problems(f"{field}[{name}]", string)
