"""Matches of routes: from a VirtualService's `match` to Envoy's.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (TranslateRouteMatch, translateHeaderMatch,
IsCatchAllRoute).
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.localmesh.kinds.istio.virtualservice import Match, StringMatch
from harness.localmesh.xds.model import Resource


def everything() -> Resource:
    """The match of a rule without `match`."""
    return {"prefix": "/"}


def route_match(match: Match) -> Resource:
    """Envoy's match for one alternative of a rule; a prefix is a plain string prefix, a regex is RE2, whole path."""
    out: Resource = {**_path(match.uri), "case_sensitive": not match.ignore_uri_case}
    named = [(name, _header(name, string)) for name, string in match.headers.items()]
    named += [(name, _without(name, string)) for name, string in match.without_headers.items()]
    headers = [header for _, header in sorted(named, key=lambda item: item[0])]
    special = {":method": match.method, ":authority": match.authority, ":scheme": match.scheme}
    headers += [_header(name, string) for name, string in special.items() if string is not None]
    if headers:
        out["headers"] = headers
    if match.query_params:
        out["query_parameters"] = [_header(*item) for item in sorted(match.query_params.items())]
    return out


def takes_everything(match: Mapping[str, object]) -> bool:
    """Whether no route behind one with this match can ever be reached."""
    whole = match.get("prefix") == "/" or match.get("safe_regex") == {"regex": ".*"}
    return whole and "headers" not in match and "query_parameters" not in match


def string_match(string: StringMatch) -> Resource | None:
    """Envoy's matcher of a string; None when nothing is asked of it."""
    if string.exact is not None:
        return {"exact": string.exact}
    if string.prefix is not None:
        return {"prefix": string.prefix}
    if string.regex is not None:
        return {"safe_regex": {"regex": string.regex}}
    return None


def _path(uri: StringMatch | None) -> Resource:
    matcher = None if uri is None else string_match(uri)
    if matcher is None:
        return everything()
    return {"path": matcher["exact"]} if "exact" in matcher else matcher


def _header(name: str, string: StringMatch) -> Resource:
    """A header or query parameter; the regex "*" is none of RE2's and means that it is present."""
    matcher = string_match(string)
    if matcher is None or string.regex == "*":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": matcher}


def _without(name: str, string: StringMatch) -> Resource:
    header = {**_header(name, string), "invert_match": True}
    return header if "present_match" in header else {**header, "treat_missing_header_as_empty": True}
