"""Mutual TLS at a callee's sidecar, as istiod configures it.

Source: istio/istio `pilot/pkg/security/authn/policy_applier.go`,
`pilot/pkg/networking/core/filterchain_options.go`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.tls import MTLS_ALPN


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
        return (_RAW,)
    return (_MTLS, _RAW) if http else (_MTLS, _OTHER_TLS, _RAW)
