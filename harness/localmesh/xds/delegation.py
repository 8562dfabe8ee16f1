"""A VirtualService's route that delegates, merged with the routes of its delegate.

The delegate's route wins field by field; its matches must lie within those of the root, else the route is left
out.
Source: istio/istio `pilot/pkg/model/virtualservice.go` (mergeHTTPRoute, hasConflict, stringMatchConflict).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from harness.localmesh.kinds.istio.virtualservice import HttpRoute, Match, StringMatch

_INHERITED = (
    *("rewrite", "direct_response", "timeout", "retries", "fault", "mirror", "mirror_percent"),
    *("mirror_percent_old", "mirror_percentage", "cors_policy"),
)
_STRINGS = ("uri", "scheme", "method", "authority")
_MAPS = ("headers", "without_headers", "query_params")


def merged_routes(root: HttpRoute, delegate: Iterable[HttpRoute]) -> Iterator[HttpRoute]:
    """The routes that stand in place of `root`, one for each of its delegate's that fits."""
    for route in delegate:
        matches = _merged_matches(root.match, route.match)
        if matches is not None:
            yield _merged(root, route, matches)


def _merged(root: HttpRoute, route: HttpRoute, matches: tuple[Match, ...]) -> HttpRoute:
    changes: dict[str, object] = {"match": matches, "name": _joined(root.name, route.name)}
    for name in _INHERITED:
        if getattr(route, name) is None:
            changes[name] = getattr(root, name)
    if not route.mirrors:
        changes["mirrors"] = root.mirrors
    if route.headers is None or route.headers == type(route.headers)():
        changes["headers"] = root.headers
    return msgspec.structs.replace(route, **changes)


def _joined(root: str, leaf: str) -> str:
    return "-".join(filter(None, (root, leaf)))


def _merged_matches(root: tuple[Match, ...], delegate: tuple[Match, ...]) -> tuple[Match, ...] | None:
    """Every pair that agrees; None when a match of the delegate agrees with none of the root's."""
    if not root or not delegate:
        return delegate or root
    made: list[Match] = []
    for leaf in delegate:
        fitting = [match for match in root if not _conflict(match, leaf)]
        if not fitting:
            return None
        made += [_merged_match(match, leaf) for match in fitting]
    return tuple(made)


def _merged_match(root: Match, leaf: Match) -> Match:
    changes: dict[str, object] = {
        name: getattr(leaf, name) if getattr(leaf, name) is not None else getattr(root, name)
        for name in _STRINGS
    }
    for name in (*_MAPS, "source_labels"):
        changes[name] = {**getattr(root, name), **getattr(leaf, name)}
    for name in ("port", "source_namespace", "gateways", "stat_prefix"):
        changes[name] = getattr(leaf, name) or getattr(root, name)
    return msgspec.structs.replace(leaf, name=_joined(root.name, leaf.name), **changes)


def _conflict(root: Match, leaf: Match) -> bool:
    pairs = [(getattr(root, name), getattr(leaf, name)) for name in _STRINGS]
    for name in _MAPS:
        ours = getattr(root, name)
        pairs += [(ours.get(key), value) for key, value in getattr(leaf, name).items()]
    return (
        any(_strings_conflict(one, other) for one, other in pairs)
        or root.ignore_uri_case != leaf.ignore_uri_case
        or bool(root.port and leaf.port and root.port != leaf.port)
        or bool(root.source_namespace and leaf.source_namespace != root.source_namespace)
        or any(root.source_labels.get(key, value) != value for key, value in leaf.source_labels.items())
        or bool(root.gateways and leaf.gateways and not set(leaf.gateways) <= set(root.gateways))
        or bool(root.gateways and len(root.gateways) < len(leaf.gateways))
    )


def _strings_conflict(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether the leaf is not within the root; a regex is within nothing and nothing within it."""
    if root is None or leaf is None:
        return False
    if (root.regex and _given(leaf)) or (leaf.regex and _given(root)):
        return True
    if root.exact:
        return bool(leaf.prefix) or leaf.exact != root.exact
    if root.prefix:
        if leaf.prefix:
            return not leaf.prefix.startswith(root.prefix)
        if leaf.exact:
            return not leaf.exact.startswith(root.prefix)
    return True


def _given(match: StringMatch) -> bool:
    return bool(match.exact or match.prefix or match.regex)
