"""Answers that the proxy gives by itself: redirects and direct responses.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (ApplyRedirect, ApplyDirectResponse).
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.virtualservice import DirectResponse, Redirect
from harness.localmesh.xds.model import Resource

_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


def redirect_action(redirect: Redirect, port: int, *, tls: bool) -> Resource:
    """Where a request to `port` is sent; the default port of the scheme is not written out."""
    fields: Resource = {"path_redirect": redirect.uri, "response_code": _CODES[redirect.redirect_code]}
    if redirect.authority:
        fields["host_redirect"] = redirect.authority
    if redirect.scheme:
        fields["scheme_redirect"] = redirect.scheme
    target = port if redirect.derive_port == "FROM_REQUEST_PORT" else redirect.port
    if target and target != _DEFAULT_PORTS[redirect.scheme or ("https" if tls else "http")]:
        fields["port_redirect"] = target
    return fields


def direct_response(response: DirectResponse) -> Resource:
    """The fixed answer."""
    body = response.body
    if body is None:
        return {"status": response.status}
    if body.bytes is not None:
        return {"status": response.status, "body": {"inline_bytes": body.bytes}}
    return {"status": response.status, "body": {"inline_string": body.string or ""}}
