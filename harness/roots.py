"""The Secret that holds the root of a mesh: a new root in the place of the old one, at once or in two steps.

In two steps the new one is trusted first, and signs later, when the old one is trusted still. Whom istiod lets sidecars
trust is in the field `root-cert.pem` of `cacerts`, where the root was plugged in (istio/istio
`pilot/pkg/bootstrap/istio_ca.go`, createIstioCA). Of `istio-ca-secret`, and of a `cacerts` that istiod made itself, it
reads `ca-cert.pem` and its key only: the first certificate there signs, all of them are trusted
(`security/pkg/pki/ca/ca.go`, loadSelfSignedCaSecret, with `AppendRootCerts` and `VerifyAndSetAll`). Either way the one
that signs stands first here.

The private key of a root stays in the cluster. What is written down of a Secret anywhere else is a hash of its
certificate, which is public.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from harness.changes import Manifest, ref_of
from harness.errors import HarnessError

_CERTIFICATE: Final = "ca-cert.pem"
_KEY: Final = "ca-key.pem"
_TRUSTED: Final = "root-cert.pem"
_COPIES: Final = (_TRUSTED, "cert-chain.pem")
_GENERATED: Final = "istio-generated"  # the field by which istiod marks a Secret `cacerts` of its own
_PLUGGED: Final = "cacerts"
_END: Final = "-----END CERTIFICATE-----"
_LIFETIME: Final = timedelta(days=3650)  # as istiod's self-signed root (CITADEL_SELF_SIGNED_CA_CERT_TTL)
_SLACK: Final = timedelta(minutes=1)  # for clocks that are behind
_FIELDS: Final = (_CERTIFICATE, _KEY, *_COPIES)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def fingerprint(text: str) -> str:
    """A hash of a certificate (PEM), "" of none."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:32] if text.strip() else ""


def split(text: str) -> tuple[str, ...]:
    """The certificates (PEM) in a text, one by one; what is none is one, too."""
    return tuple(f"{part.strip()}\n" for part in text.replace(_END, f"{_END}\0").split("\0") if part.strip())


def root_of(secret: Manifest) -> str:
    """The fingerprint of the root in a Secret and of what is trusted beside it, "" if there is none."""
    root = _text(secret, _CERTIFICATE)
    return fingerprint(root + _text(secret, _TRUSTED)) if root.strip() else ""


def trusting(secret: Manifest, new: Manifest) -> Manifest:
    """The Secret whose root signs as before, and the one in `new` is trusted as well."""
    return _with(secret, {}, _joined(_text(secret, _anchors(secret)), _text(new, _CERTIFICATE)))


def signing(secret: Manifest, new: Manifest) -> Manifest:
    """The Secret with the root in `new` to sign, whose own is trusted still."""
    root = {field: value for field, value in new["data"].items() if field in _FIELDS}
    return _with(secret, root, _joined(_text(new, _CERTIFICATE), _text(secret, _anchors(secret))))


def renewed(secret: Manifest) -> Manifest:
    """The Secret with a new self-signed root, of the same name and the same kind of key as the one in it.

    The fields are those that istiod reads (istio/istio `security/pkg/pki/ca/ca.go`, in `istio-ca-secret` and in
    `cacerts` alike); those that hold a certificate besides the root's own hold the new root as well.

    Raises:
        HarnessError: there is no root with its key in the Secret; no message quotes its content.
    """
    try:
        old = x509.load_pem_x509_certificate(_text(secret, _CERTIFICATE).encode())
        old_key = serialization.load_pem_private_key(_text(secret, _KEY).encode(), None)
        if not isinstance(old_key, Key):
            raise TypeError("no key that istiod could sign with")
    except (TypeError, ValueError) as error:
        raise HarnessError(
            f"{ref_of(secret)} holds no root in {_CERTIFICATE} with its key in {_KEY} ({type(error).__name__}); "
            "name the Secret that istiod signs with (istio-ca-secret or cacerts)."
        ) from None
    key = _another(old_key)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, _organization(old))])
    certificate = _signed(name, key).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    held = secret["data"]
    certificates = [field for field in (_CERTIFICATE, *_COPIES) if held.get(field)]
    data = dict.fromkeys(certificates, _encoded(certificate)) | {_KEY: _encoded(private)}
    return {**secret, "data": {**held, **data}}


def with_root_of(secret: Manifest, other: Manifest) -> Manifest:
    """The Secret with the root that is in another one; its other fields stay as they are."""
    root = {field: value for field, value in (other.get("data") or {}).items() if field in _FIELDS}
    return {**secret, "data": {**(secret.get("data") or {}), **root}}


def _with(secret: Manifest, root: Manifest, trusted: str) -> Manifest:
    return {**secret, "data": {**secret["data"], **root, _anchors(secret): _encoded(trusted.encode())}}


def _anchors(secret: Manifest) -> str:
    """The field with the certificates that are trusted."""
    plugged = secret["metadata"]["name"] == _PLUGGED and _GENERATED not in secret["data"]
    return _TRUSTED if plugged else _CERTIFICATE


def _joined(*texts: str) -> str:
    """Several certificates in one text, each of them once."""
    return "".join(dict.fromkeys(part for text in texts for part in split(text)))


def _signed(name: x509.Name, key: Key) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _another(key: Key) -> Key:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ec.generate_private_key(key.curve)
    return rsa.generate_private_key(public_exponent=65537, key_size=max(2048, key.key_size))


def _organization(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else "cluster.local"


def _text(secret: Manifest, field: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(field) or "", validate=True).decode()
    except ValueError:
        return ""


def _encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()
