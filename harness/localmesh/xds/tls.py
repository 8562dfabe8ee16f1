"""TLS towards others: mutual TLS of the mesh, and TLS as a DestinationRule asks for it; the secrets come by SDS.

Differences from istiod:

- subject alternative names stand in `match_typed_subject_alt_names`, as Envoy warns of the older field; a name that
  is no URI is looked for among DNS names, e-mail and IP addresses, as Envoy reads the older field;
- SDS is our own xDS (see `proto.xds`).

Source: istio/istio `pilot/pkg/networking/core/cluster_tls.go`, `pilot/pkg/security/model/authentication.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.localmesh.kinds.istio.destinationrule import ProxyProtocol, Tls
from harness.localmesh.xds import names
from harness.localmesh.xds.model import TRUST_DOMAIN, Resource
from harness.localmesh.xds.proto import extension, xds
from harness.localmesh.xds.secrets import SYSTEM_ROOTS, authority_name, credential_name

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
_TYPES_OF_NAMES = ("DNS", "EMAIL", "IP_ADDRESS")
_ORIGINATED = ("SIMPLE", "MUTUAL")


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a cluster's connections.

    Attributes:
        cluster: the cluster's name.
        identities: what its certificate may prove; none: anything the mesh's authority has signed.
        http2: whether the cluster speaks HTTP/2 only.
        mode: the mTLS mode of the Service's namespace, for auto mTLS; "" for none (auto mTLS off, outside the mesh).
        registered: by a ServiceEntry, whose `subjectAltNames` hold for TLS too.
        may_use_credentials: the proxy is a gateway, or the rule selects workloads: others get no `credentialName`.
    """

    cluster: str
    identities: frozenset[str]
    http2: bool
    mode: str
    registered: bool
    may_use_credentials: bool


def client_sockets(tls: Tls | None, peer: Peer, *, by_endpoint: bool = True) -> Resource:
    """The transport sockets of a cluster: as the DestinationRule says, else auto mTLS; nothing for plaintext.

    Auto mTLS chooses by endpoint: mTLS where its metadata says tlsMode istio, plaintext elsewhere.

    `by_endpoint` is False where the client chooses the address, and auto mTLS is for all of them or for none.
    """
    if tls is not None:
        socket = _asked_for(tls, peer)
        return {"transport_socket": socket} if socket else {}
    if peer.mode in ("", "DISABLE"):
        return {}
    socket = _mutual(sorted(peer.identities), names.sni(peer.cluster), http2=peer.http2)
    if not by_endpoint:
        return {"transport_socket": socket}
    return {
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": socket},
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": _plain()},
        ]
    }


def automatic_fields(tls: Tls | None, peer: Peer) -> Resource:
    """Whether the request's host becomes the SNI, and must be in the certificate.

    Both with SIMPLE and MUTUAL, unless the rule says what to use.
    """
    if tls is None or tls.mode not in _ORIGINATED or _withheld(tls, peer):
        return {}
    fields: Resource = {}
    if not tls.sni:
        fields["auto_sni"] = True
        if not tls.subject_alt_names and not tls.insecure_skip_verify:
            fields["auto_san_validation"] = True
    return fields


def with_proxy_protocol(sockets: Resource, protocol: ProxyProtocol | None) -> Resource:
    """`sockets` that first send the PROXY protocol header, if that is asked for."""
    if protocol is None:
        return sockets
    if "transport_socket_matches" in sockets:
        matches = [
            {**item, "transport_socket": _announcing(item["transport_socket"], protocol)}
            for item in sockets["transport_socket_matches"]
        ]
        return {"transport_socket_matches": matches}
    # The name that istiod has here; what it is says the type.
    socket = sockets.get("transport_socket") or {**_plain(), "name": "raw_buffer"}
    return {"transport_socket": _announcing(socket, protocol)}


def _announcing(socket: Resource, protocol: ProxyProtocol) -> Resource:
    return extension(
        "envoy.transport_sockets.upstream_proxy_protocol",
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        config={"version": protocol.version} if protocol.version != "V1" else {},
        transport_socket=socket,
    )


def _plain() -> Resource:
    return extension(
        "envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )


def _asked_for(tls: Tls, peer: Peer) -> Resource | None:
    if tls.mode == "DISABLE" or _withheld(tls, peer):
        return None
    if tls.mode == "ISTIO_MUTUAL":
        identities = tls.subject_alt_names or sorted(peer.identities)
        return _mutual(identities, tls.sni or names.sni(peer.cluster), http2=peer.http2)
    if tls.mode == "MUTUAL" and not tls.credential_name:
        return None
    return _originated(tls, peer)


def _withheld(tls: Tls, peer: Peer) -> bool:
    """A sidecar gets no credentials by a rule that does not select it: istiod leaves TLS out altogether."""
    return bool(tls.credential_name) and tls.mode in _ORIGINATED and not peer.may_use_credentials


def _mutual(identities: Iterable[str], sni: str, *, http2: bool) -> Resource:
    """Mutual TLS of the mesh.

    There is no `istio.alpn` filter in a plain Envoy, so the offer is "istio" (and "h2"), which an inbound listener
    takes as mTLS on ports of declared protocol.
    """
    common = _common(subject_matchers(identities))
    common["alpn_protocols"] = ["istio", "h2"] if http2 else ["istio"]
    return _socket(common, sni)


def _originated(tls: Tls, peer: Peer) -> Resource:
    """TLS to a server that is none of the mesh's, with `credentialName` or the system's authorities."""
    common: Resource = {"tls_params": _params()}
    if tls.mode == "MUTUAL":
        common["tls_certificate_sds_secret_configs"] = [
            secret_config(credential_name(tls.credential_name), waits=False)
        ]
    if not tls.insecure_skip_verify:
        subjects = tls.subject_alt_names or (sorted(peer.identities) if peer.registered else ())
        authority = authority_name(tls.credential_name) if tls.credential_name else SYSTEM_ROOTS
        common["combined_validation_context"] = {
            "default_validation_context": _validation(subject_matchers(subjects)),
            "validation_context_sds_secret_config": secret_config(authority, waits=False),
        }
    elif not tls.credential_name:
        common["validation_context"] = {}
    if peer.http2:
        common["alpn_protocols"] = ["h2"]
    return _socket(common, tls.sni)


def _socket(common: Resource, sni: str) -> Resource:
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=common,
        **({"sni": sni} if sni else {}),
    )


def subject_matchers(subjects: Iterable[str]) -> list[Resource]:
    """Matchers of certificates that hold one of `subjects`; nothing for none, which is any certificate."""
    return [
        {"san_type": kind, "matcher": {"exact": subject}}
        for subject in subjects
        for kind in (("URI",) if "://" in subject else _TYPES_OF_NAMES)
    ]


def server_socket() -> Resource:
    """The transport socket of an inbound listener: a client certificate of the mesh's trust domain is required."""
    common = _common([{"san_type": "URI", "matcher": {"prefix": f"spiffe://{TRUST_DOMAIN}/"}}])
    common["tls_params"]["cipher_suites"] = _CIPHERS
    common["alpn_protocols"] = ["h2", "http/1.1"]
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=True,
    )


def _common(matchers: list[Resource]) -> Resource:
    return {
        "tls_params": _params(),
        "tls_certificate_sds_secret_configs": [secret_config("default")],
        "combined_validation_context": {
            "default_validation_context": _validation(matchers),
            "validation_context_sds_secret_config": secret_config("ROOTCA"),
        },
    }


def _validation(matchers: list[Resource]) -> Resource:
    return {"match_typed_subject_alt_names": matchers} if matchers else {}


def _params() -> Resource:
    return {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}


def secret_config(name: str, *, waits: bool = True) -> Resource:
    """A secret by SDS; who uses it `waits` for it to come up, but for a user's, which may never be there, only 15 s."""
    config = xds()
    if not waits:
        del config["initial_fetch_timeout"]
    return {"name": name, "sds_config": config}
