"""The mesh's certificate authority: SPIFFE certificates for workloads, one certificate for the API server.

Keys are EC P-256, as istiod's own. Secrets reach Envoy by SDS, never by a file.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type, not a secret)


class Authority:
    """A self-signed root that lives as long as the mesh; its key never leaves this process."""

    def __init__(self, lifetime: float = 86_400.0) -> None:
        """Args: lifetime: seconds for which the root and everything it signs are valid (istiod: 24 h for workloads)."""
        self._lifetime = lifetime
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        self.root = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def root_pem(self) -> str:
        """The root certificate."""
        return _pem(self.root)

    def issue(self, *, uri: str = "", address: str = "") -> tuple[str, str]:
        """A certificate chain and its private key as PEM, for the SPIFFE identity `uri` or the IP `address`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        if address:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        certificate = (
            self._builder(x509.Name([]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(certificate) + self.root_pem, private.decode()

    def secrets(self, identity: str) -> dict[str, dict[str, Any]]:
        """The SDS resources of the workload `identity`: "default", a new certificate with its key, and "ROOTCA"."""
        chain, key = self.issue(uri=identity)
        certificate = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
        trusted = {"trusted_ca": {"inline_string": self.root_pem}}
        return {
            "default": {"@type": _SECRET, "name": "default", "tls_certificate": certificate},
            "ROOTCA": {"@type": _SECRET, "name": "ROOTCA", "validation_context": trusted},
        }

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            # A minute of grace, since a clock may be stepped back while the mesh runs.
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(seconds=self._lifetime))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_encipherment=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
