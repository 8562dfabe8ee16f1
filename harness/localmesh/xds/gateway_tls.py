"""TLS that ends at a gateway, with certificates of Secrets by SDS, or with the gateway's own for mTLS of the mesh.

Differences from istiod:

- subject alternative names stand in `match_typed_subject_alt_names`, as for clusters (see `tls`);
- with SIMPLE, which asks clients for no certificate, they are left out: Envoy would refuse the whole listener;
- SDS is our own xDS (see `proto.xds`); a listener waits 15 s at most for the Secret of a user.

Source: istio/istio `pilot/pkg/networking/core/listener.go` (BuildListenerTLSContext, applyServerTLSSettings),
`pilot/pkg/security/model/authentication.go` (ApplyCredentialSDSToServerCommonTLSContext).
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.gateway import CIPHERS, ServerTls
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import extension
from harness.localmesh.xds.secrets import authority_name, credential_name
from harness.localmesh.xds.tls import secret_config, subject_matchers

_HTTP_ALPN = ("h2", "http/1.1")
_PEER_EXCHANGE = "istio-peer-exchange"
_VALIDATING = ("MUTUAL", "OPTIONAL_MUTUAL")
_VERSIONS = {
    "TLSV1_0": "TLSv1_0",
    "TLSV1_1": "TLSv1_1",
    "TLSV1_2": "TLSv1_2",
    "TLSV1_3": "TLSv1_3",
}


def gateway_socket(tls: ServerTls, *, http: bool) -> Resource:
    """The transport socket for `tls`, which is none that passes TLS through; `http` for HTTPS."""
    if tls.mode == "ISTIO_MUTUAL":
        common = _of_the_mesh(tls)
        common["alpn_protocols"] = [*_HTTP_ALPN] if http else [_PEER_EXCHANGE, *_HTTP_ALPN]
    else:
        common = _of_secrets(tls)
        common["alpn_protocols"] = [*_HTTP_ALPN]
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=tls.mode in ("MUTUAL", "ISTIO_MUTUAL"),
    )


def _of_the_mesh(tls: ServerTls) -> Resource:
    return {
        "tls_certificate_sds_secret_configs": [secret_config("default")],
        "combined_validation_context": {
            "default_validation_context": _subjects(tls),
            "validation_context_sds_secret_config": secret_config("ROOTCA"),
        },
    }


def _of_secrets(tls: ServerTls) -> Resource:
    credentials = tls.credential_names or (tls.credential_name,)
    common: Resource = {
        "tls_certificate_sds_secret_configs": [
            secret_config(credential_name(name), waits=False) for name in credentials
        ]
    }
    if params := _params(tls):
        common["tls_params"] = params
    if tls.mode in _VALIDATING:
        # A name given for it is taken as it is, also by istiod, which answers with an authority only to "…-cacert".
        given = tls.ca_cert_credential_name
        authority = credential_name(given) if given else authority_name(credentials[0])
        common["combined_validation_context"] = {
            "default_validation_context": {**_subjects(tls), **_pins(tls)},
            "validation_context_sds_secret_config": secret_config(authority, waits=False),
        }
    return common


def _subjects(tls: ServerTls) -> Resource:
    matchers = subject_matchers(tls.subject_alt_names)
    return {"match_typed_subject_alt_names": matchers} if matchers else {}


def _pins(tls: ServerTls) -> Resource:
    """Which certificates clients may have, by their hashes."""
    pins = {
        "verify_certificate_spki": tls.verify_certificate_spki,
        "verify_certificate_hash": tls.verify_certificate_hash,
    }
    return {field: [*values] for field, values in pins.items() if values}


def _params(tls: ServerTls) -> Resource:
    """Versions and cipher suites, as far as they are given; suites that Istio does not know are ignored, as there."""
    params: Resource = {}
    if tls.min_protocol_version in _VERSIONS:
        params["tls_minimum_protocol_version"] = _VERSIONS[tls.min_protocol_version]
    if tls.max_protocol_version in _VERSIONS:
        params["tls_maximum_protocol_version"] = _VERSIONS[tls.max_protocol_version]
    if suites := [suite for suite in dict.fromkeys(tls.cipher_suites) if suite in CIPHERS]:
        params["cipher_suites"] = suites
    return params
