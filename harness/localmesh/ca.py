"""The mesh's certificate authority: SPIFFE certificates for workloads, one certificate for the API server.

Keys are EC P-256, as istiod's own. Secrets reach Envoy by SDS, never by a file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type, not a secret)


_ROOT_LIFETIME = 10 * 365 * 86_400.0  # as istiod's self-signed root
_WORKLOAD_LIFETIME = 86_400.0  # as istiod's


class Authority:
    """A certificate authority: a root of its own, or one that was given, which may be below another one.

    Attributes:
        lifetime: seconds for which a workload's certificate is valid unless it is said.
        root: the certificate that signs.
        trusted: whom workloads are to trust, PEM: that root, and others where there are.
    """

    def __init__(self, lifetime: float = _WORKLOAD_LIFETIME) -> None:
        """Makes a new root. Args: lifetime: seconds for which a workload's certificate is valid (istiod: 24 h)."""
        self.lifetime = lifetime
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        self.root = (
            _builder(name, name, self._key.public_key(), _ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._chain, self.trusted = "", self.root_pem

    @classmethod
    def of(cls, certificate: str, key: str, *, chain: str = "", trusted: str = "") -> Authority:
        """The authority with this certificate and key.

        Args:
            certificate: PEM; of several the first one signs.
            key: its key, PEM.
            chain: the certificates between it and those that are trusted, PEM.
            trusted: whom workloads are to trust, PEM; those in `certificate` unless it is said.

        Raises:
            ValueError: they are none, do not belong together, or the certificate may sign no others or has expired.
        """
        root = x509.load_pem_x509_certificate(certificate.encode())
        try:
            private = serialization.load_pem_private_key(key.encode(), None)
        except TypeError as error:  # it is encrypted
            raise ValueError(str(error)) from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is no key of an elliptic curve")
        if private.public_key() != root.public_key():
            raise ValueError("the key is not that of the certificate")
        try:
            signs = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            signs = False
        if not signs:
            raise ValueError("the certificate is not one of an authority (CA:TRUE)")
        if root.not_valid_after_utc <= datetime.now(UTC):
            raise ValueError("the certificate has expired")
        trusted = trusted or certificate
        between = x509.load_pem_x509_certificates(chain.encode()) if chain.strip() else []
        if not _leads(root, between, x509.load_pem_x509_certificates(trusted.encode())):
            raise ValueError("the certificate is below none of those that are trusted")
        found = cls.__new__(cls)
        found.lifetime, found.root, found._key = _WORKLOAD_LIFETIME, root, private
        found._chain, found.trusted = chain, trusted
        return found

    @property
    def root_pem(self) -> str:
        """The root certificate."""
        return _pem(self.root)

    @property
    def key_pem(self) -> str:
        """The root's private key."""
        return _private(self._key)

    def issue(self, *, uri: str = "", address: str = "", lifetime: float | None = None) -> tuple[str, str]:
        """A certificate chain and its private key as PEM, for the SPIFFE identity `uri` or the IP `address`.

        Whom to trust is the end of the chain, as in what istiod answers (istio/istio `security/pkg/server/ca`).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        if address:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        certificate = (
            _builder(x509.Name([]), self.root.subject, key.public_key(), lifetime or self.lifetime)
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
        return "\n".join(
            filter(None, (_pem(certificate).strip(), self._chain.strip(), self.trusted))
        ), _private(key)

    def secrets(self, identity: str) -> dict[str, dict[str, Any]]:
        """The SDS resources of the workload `identity`: "default", a new certificate with its key, and "ROOTCA"."""
        return {"default": self.certificate(identity), "ROOTCA": trust(self.trusted)}

    def certificate(self, identity: str, lifetime: float | None = None) -> dict[str, Any]:
        """The SDS resource "default": a new certificate for `identity` with its key, valid for `lifetime` seconds."""
        chain, key = self.issue(uri=identity, lifetime=lifetime)
        certificate = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
        return {"@type": _SECRET, "name": "default", "tls_certificate": certificate}


def trust(roots: str) -> dict[str, Any]:
    """The SDS resource "ROOTCA": whoever has a certificate under one of these roots (PEM) is believed."""
    trusted = {"trusted_ca": {"inline_string": roots}}
    return {"@type": _SECRET, "name": "ROOTCA", "validation_context": trusted}


def _leads(
    certificate: x509.Certificate, between: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]
) -> bool:
    """Whether a certificate is one of those that are trusted, or below one by way of those between."""
    below = [certificate]
    for one in below:
        if any(_is_issuer(root, one) for root in trusted):
            return True
        below += [other for other in between if other not in below and _is_issuer(other, one)]
    return False


def _is_issuer(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A minute of grace, since a clock may be stepped back while the mesh runs.
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(seconds=lifetime))
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


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
