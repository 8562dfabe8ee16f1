"""What Istio's webhook, or Envoy itself, holds against a Gateway (`ValidateGateway`)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from harness.localmesh.kinds.istio.gateway import CIPHERS, Gateway, Server, ServerTls
from harness.localmesh.kinds.istio.rules.common import (
    each,
    host_problems,
    is_address,
    is_label,
    partial_wildcard,
    repeated,
    under,
)
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31}")


def problems(spec: Gateway, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    if not spec.servers:
        yield "servers", "a gateway must have at least one server"
    yield from each("servers", map(_server_problems, spec.servers))
    if (twice := repeated(server.port.name for server in spec.servers)) is not None:
        yield "servers", f"port names in servers must be unique, and {twice!r} stands there twice"


def warnings(spec: Gateway, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    for index, server in enumerate(spec.servers):
        if server.tls is not None:
            if server.tls.https_redirect and not server.port.protocol.http:
                yield f"servers[{index}].tls.httpsRedirect", "has an effect at HTTP ports only"
            yield from under(f"servers[{index}].tls", _tls_warnings(server.tls))


def host_entry_problems(field: str, entry: str, *, gateway: bool) -> Iterator[Problem]:
    """What keeps `entry` from being a host, with its namespace, of a Gateway's server or a Sidecar's listener.

    A Gateway's may lack the namespace and be an IP address; a Sidecar's may exclude a namespace with a "~". Neither
    can be a short name (`ValidateNamespaceSlashWildcardHostname`).
    """
    namespace, slash, host = entry.partition("/")
    if not slash:
        if not gateway:
            yield field, f'{entry!r} has no namespace; write "namespace/host", "./host" or "*/host"'
            return
        host = entry
    elif not (namespace in ("*", ".") or is_label(namespace) or (not gateway and _excludes(namespace))):
        yield field, f"{namespace!r} is no namespace"
    if host != "*" and "." not in host:
        yield (
            field,
            f"{host!r} is a short name; write the whole name, as in reviews.default.svc.cluster.local",
        )
    if not (gateway and is_address(host)):
        yield from host_problems(field, host)
    if partial_wildcard(host):
        yield field, f'{host!r} has a wildcard in a part of a label; write "*" or "*."'


def _excludes(namespace: str) -> bool:
    rest = namespace.removeprefix("~")
    return rest != namespace and (rest in ("", "*", ".") or is_label(rest))


def _server_problems(server: Server) -> Iterator[Problem]:
    if not server.hosts:
        yield "hosts", "a server must have at least one host"
    for index, entry in enumerate(server.hosts):
        yield from host_entry_problems(f"hosts[{index}]", entry, gateway=True)
    if not server.port.name:
        yield "port.name", "must not be empty"
    if not server.port.protocol:
        yield "port.protocol", "must not be empty; write HTTP, HTTPS, TLS, TCP or the like"
    if server.bind not in ("", "0.0.0.0"):  # noqa: S104  (a gateway's port is the pod's, whatever its address)
        yield "bind", "the local mesh binds the ports of a gateway to its pod's address; leave the field out"
    if server.tls is None:
        if server.port.protocol.tls:
            yield "tls", f"a port with the protocol {server.port.protocol} must have tls settings"
        return
    if not server.port.protocol.tls and not (server.port.protocol.http and server.tls.mode == "PASSTHROUGH"):
        yield (
            "tls",
            f"a port with the protocol {server.port.protocol} can have httpsRedirect at most, when it is HTTP",
        )
    yield from under("tls", _tls_problems(server.tls))


def _tls_problems(tls: ServerTls) -> Iterator[Problem]:
    given = [name for name in ("credential_name", "credential_names") if getattr(tls, name)]
    if tls.mode == "ISTIO_MUTUAL" and given:
        yield (
            "credentialName",
            "must not be given with mode ISTIO_MUTUAL, which uses the mesh's own certificate",
        )
    if len(given) > 1:
        yield "credentialNames", "only one of credentialName and credentialNames can be given"
    if tls.mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL") and not given:
        yield "credentialName", f"mode {tls.mode} needs the Secret with the server's certificate and key"
    for name in (tls.credential_name, *tls.credential_names, tls.ca_cert_credential_name):
        if "://" in name:
            yield (
                "credentialName",
                f"{name!r} is no name of a Secret, from which alone the local mesh takes certificates",
            )
    for index, cipher in enumerate(tls.cipher_suites):
        if cipher in ("", "ALL") or not cipher[0].isalnum():
            yield (
                f"cipherSuites[{index}]",
                f"the local mesh takes names of cipher suites only, not {cipher!r}",
            )
    yield from _pin_problems(tls)


def _pin_problems(tls: ServerTls) -> Iterator[Problem]:
    for index, pin in enumerate(tls.verify_certificate_spki):
        try:
            sound = len(pin) == 44 and len(base64.b64decode(pin, validate=True)) == 32
        except binascii.Error:
            sound = False
        if not sound:
            yield f"verifyCertificateSpki[{index}]", f"{pin!r} is no SHA-256 hash in base64 (44 characters)"
    for index, fingerprint in enumerate(tls.verify_certificate_hash):
        if not _FINGERPRINT.fullmatch(fingerprint):
            yield f"verifyCertificateHash[{index}]", f"{fingerprint!r} is no SHA-256 hash in hexadecimal"


def _tls_warnings(tls: ServerTls) -> Iterator[Problem]:
    if tls.min_protocol_version in ("TLSV1_0", "TLSV1_1") and not tls.cipher_suites:
        yield (
            "minProtocolVersion",
            "versions below TLSV1_2 need cipherSuites, for the default ones do not fit them",
        )
    unknown = sorted(set(tls.cipher_suites) - CIPHERS)
    if unknown:
        yield "cipherSuites", f"unknown suites are ignored: {', '.join(unknown)}"
    if (twice := repeated(tls.cipher_suites)) is not None:
        yield "cipherSuites", f"{twice!r} stands there twice"
    if tls.mode == "PASSTHROUGH" and (tls.credential_name or tls.credential_names):
        yield "credentialName", "is ignored: mode PASSTHROUGH uses no certificate"
