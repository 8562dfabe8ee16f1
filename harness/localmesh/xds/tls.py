"""Mutual TLS as istiod configures it, with the secrets from SDS.

Source: istio/istio `pilot/pkg/networking/core/cluster_tls.go` and `pilot/pkg/security/authn/policy_applier.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.localmesh.xds import names
from harness.localmesh.xds.model import TRUST_DOMAIN, Resource
from harness.localmesh.xds.proto import extension, xds

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


def server_socket() -> Resource:
    """The transport socket of an inbound listener: a client certificate of the mesh's trust domain is required."""
    common = _common([{"prefix": f"spiffe://{TRUST_DOMAIN}/"}])
    common["tls_params"]["cipher_suites"] = _CIPHERS
    common["alpn_protocols"] = ["h2", "http/1.1"]
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=True,
    )


def client_socket(cluster: str, identities: Sequence[str], *, http2: bool) -> Resource:
    """The transport socket towards `cluster`: the peer must have one of `identities` (any of the mesh if none).

    There is no `istio.alpn` filter in a plain Envoy, so the offer is "istio" (and "h2"), which an inbound listener
    takes as mTLS on ports of declared protocol.
    """
    common = _common([{"exact": identity} for identity in identities])
    common["alpn_protocols"] = ["istio", "h2"] if http2 else ["istio"]
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=common,
        sni=names.sni(cluster),
    )


def auto_mtls(socket: Resource) -> list[Resource]:
    """Sockets chosen per endpoint: mTLS where its metadata says tlsMode istio, plaintext elsewhere."""
    plain = extension(
        "envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )
    return [
        {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": socket},
        {"name": "tlsMode-disabled", "match": {}, "transport_socket": plain},
    ]


def _common(subjects: list[Resource]) -> Resource:
    matchers = [{"san_type": "URI", "matcher": matcher} for matcher in subjects]
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [_secret("default")],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": _secret("ROOTCA"),
        },
    }


def _secret(name: str) -> Resource:
    return {"name": name, "sds_config": xds()}
