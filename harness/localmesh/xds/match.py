"""Matches of routes: from a VirtualService's `match` to Envoy's."""

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
    special = {":method": match.method, ":authority": match.authority}
    headers = [_header(name, string) for name, string in special.items() if string is not None]
    headers += [_header(name, string) for name, string in sorted(match.headers.items())]
    headers += [_without(name, string) for name, string in sorted(match.without_headers.items())]
    if headers:
        out["headers"] = headers
    if match.query_params:
        out["query_parameters"] = [_header(*item) for item in sorted(match.query_params.items())]
    return out


def takes_everything(match: Mapping[str, object]) -> bool:
    """Whether no route behind one with this match can ever be reached."""
    whole = match.get("prefix") == "/" or match.get("safe_regex") == {"regex": ".*"}
    return whole and "headers" not in match and "query_parameters" not in match


def _path(uri: StringMatch | None) -> Resource:
    if uri is None:
        return everything()
    if uri.exact is not None:
        return {"path": uri.exact}
    if uri.prefix is not None:
        return {"prefix": uri.prefix}
    return {"safe_regex": {"regex": uri.regex}}


def _string(string: StringMatch) -> Resource | None:
    if string.exact is not None:
        return {"exact": string.exact}
    if string.prefix is not None:
        return {"prefix": string.prefix}
    if string.regex is not None and string.regex != "*":
        return {"safe_regex": {"regex": string.regex}}
    return None


def _header(name: str, string: StringMatch) -> Resource:
    matcher = _string(string)
    return (
        {"name": name, "present_match": True} if matcher is None else {"name": name, "string_match": matcher}
    )


def _without(name: str, string: StringMatch) -> Resource:
    header = {**_header(name, string), "invert_match": True}
    return header if "present_match" in header else {**header, "treat_missing_header_as_empty": True}
