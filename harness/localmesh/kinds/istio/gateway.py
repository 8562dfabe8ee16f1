"""Gateway: the ports at which a gateway workload lets requests into the mesh."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.values import Labels, Port, Protocol
from harness.localmesh.kinds.parse import Kind

TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


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
    credential_names: Annotated[tuple[str, ...], Meta(max_length=2)] = ()
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
