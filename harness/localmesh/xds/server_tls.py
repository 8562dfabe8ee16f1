"""Mutual TLS at a callee's sidecar, as istiod configures it.

Source: istio/istio `pilot/pkg/security/authn/policy_applier.go`, `pilot/pkg/networking/core/filterchain_options.go`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.localmesh.xds.model import TRUST_DOMAIN, Resource
from harness.localmesh.xds.proto import extension
from harness.localmesh.xds.tls import common_context

MTLS_ALPN = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
"""The protocols by which an inbound listener that takes both knows an mTLS connection of the mesh."""

_CIPHERS = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
]


@dataclass(frozen=True)
class Entrance:
    """A way into a port: what connections take it, and whether mTLS ends there."""

    match: Resource
    mutual_tls: bool


_RAW = Entrance({"transport_protocol": "raw_buffer"}, mutual_tls=False)
_STRICT = Entrance({"transport_protocol": "tls"}, mutual_tls=True)
_MTLS = Entrance({"transport_protocol": "tls", "application_protocols": [*MTLS_ALPN]}, mutual_tls=True)
_OTHER_TLS = Entrance({"transport_protocol": "tls"}, mutual_tls=False)


def entrances(mode: str, *, http: bool) -> tuple[Entrance, ...]:
    """The ways into a port of that mTLS mode; plain TLS is let through to a program that speaks TCP."""
    if mode == "STRICT":
        return (_STRICT,)
    if mode == "DISABLE":
        # Of a port that is not HTTP istiod takes every connection as it comes, TLS of the program's own too.
        return (_RAW,) if http else (Entrance({}, mutual_tls=False),)
    return (_MTLS, _RAW) if http else (_MTLS, _OTHER_TLS, _RAW)


def server_socket() -> Resource:
    """The transport socket of an inbound listener: a client certificate of the mesh's trust domain is required."""
    common = common_context([{"prefix": f"spiffe://{TRUST_DOMAIN}/"}])
    common["tls_params"]["cipher_suites"] = _CIPHERS
    common["alpn_protocols"] = ["h2", "http/1.1"]
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=True,
    )
