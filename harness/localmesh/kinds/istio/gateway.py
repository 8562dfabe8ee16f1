"""Gateway: the ports at which a gateway workload lets requests into the mesh."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.values import Labels, Port, Protocol
from harness.localmesh.kinds.parse import Kind

TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


CIPHERS = frozenset(
    (
        *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        *("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
        *("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA"),
        *("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA"),
    )
)
"""The suites istiod passes on (`pkg/config/security` `ValidCipherSuites`); it ignores others, with a warning."""


class ServerPort(Kind):
    """A port of the gateway."""

    number: Port
    name: str
    protocol: Protocol


class ServerTls(Kind):
    """How the gateway speaks TLS at a port (ServerTLSSettings); certificates come from Secrets by name."""

    https_redirect: bool = False
    mode: Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL"] = "PASSTHROUGH"
    credential_name: str = ""
    credential_names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)] = ()
    ca_cert_credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TlsVersion = "TLS_AUTO"
    max_protocol_version: TlsVersion = "TLS_AUTO"
    cipher_suites: tuple[str, ...] = ()


class Server(Kind):
    """A port and the hosts it serves: "host", "namespace/host" or "./host" (the Gateway's own namespace)."""

    port: ServerPort
    hosts: tuple[str, ...]
    name: str = ""
    bind: str = ""
    tls: ServerTls | None = None


class Gateway(Kind):
    """The spec of a Gateway; `selector` picks gateway workloads in any namespace."""

    selector: Labels = field(default_factory=dict)
    servers: tuple[Server, ...] = ()
