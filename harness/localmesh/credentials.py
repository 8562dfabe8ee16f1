"""Certificates that users put into Secrets for gateways and for `credentialName` of DestinationRules.

The keys are those istiod reads (istio/istio `pilot/pkg/credentials/kube/secrets.go`): `tls.crt`, `tls.key`,
`ca.crt` of a TLS Secret, or `cert`, `key`, `cacert` of a generic one. What Envoy could not use is no credential: istiod
too holds back certificates that it cannot read (`pilot/pkg/xds/sds.go`, ValidateCertificate), though not those with
another's key, which Envoy then rejects.
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.xds.model import Credential

_CERTIFICATE = ("tls.crt", "cert")
_KEY = ("tls.key", "key")
_AUTHORITY = ("ca.crt", "cacert")


def credential(secret: Manifest) -> Credential | None:
    """The credential in `secret`; None when there is neither a certificate with its key nor an authority in it."""
    data = secret.get("data") or {}
    certificate, key, authority = (_first(data, names) for names in (_CERTIFICATE, _KEY, _AUTHORITY))
    if not _is_pair(certificate, key):
        certificate = key = ""
    if not _are_certificates(authority):
        authority = ""
    if not certificate and not authority:
        return None
    metadata = secret["metadata"]
    return Credential(metadata["name"], metadata["namespace"], certificate, key, authority)


def _first(data: Manifest, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            text = base64.b64decode(data.get(name) or "", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if text:
            return text
    return ""


def _is_pair(certificate: str, key: str) -> bool:
    """Whether `key` is that of the first of the certificates."""
    if not _are_certificates(certificate):
        return False
    try:
        own = load_pem_private_key(key.encode(), None).public_key()
        return own == x509.load_pem_x509_certificates(certificate.encode())[0].public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _are_certificates(text: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False
