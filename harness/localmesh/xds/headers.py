"""Changes of headers, at a route and at one of its destinations.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (TranslateHeadersOperations). What is set comes
before what is added, each in the order of the names; pseudo-headers and the host are no headers: setting or adding one
rewrites the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.localmesh.kinds.istio.virtualservice import Headers
from harness.localmesh.xds.model import Resource

_AUTHORITY = ("host", ":authority")


def header_changes(headers: Headers) -> Resource:
    """The fields of an Envoy route, or of a weighted cluster, that carry them out."""
    fields: Resource = {}
    for side, operations in (("request", headers.request), ("response", headers.response)):
        added = [
            *_options(operations.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
            *_options(operations.add, "APPEND_IF_EXISTS_OR_ADD"),
        ]
        if added:
            fields[f"{side}_headers_to_add"] = added
        if operations.remove:
            fields[f"{side}_headers_to_remove"] = [*operations.remove]
    return fields


def authority(headers: Headers) -> str:
    """The host that replaces the request's, "" for none; what is set beats what is added."""
    return _authority(headers.request.set) or _authority(headers.request.add)


def _authority(operations: Mapping[str, str]) -> str:
    return next((value for name, value in sorted(operations.items()) if name.lower() in _AUTHORITY), "")


def _options(headers: Mapping[str, str], action: str) -> Iterator[Resource]:
    for name, value in sorted(headers.items()):
        if _plain(name):
            yield {"header": {"key": name, "value": value}, "append_action": action}


def _plain(name: str) -> bool:
    return not name.startswith(":") and name.lower() != "host"
