"""Certificates that users put into Secrets for gateways and for `credentialName` of DestinationRules.

The keys are those istiod reads (istio/istio `pilot/pkg/credentials/kube/secrets.go`): `tls.crt`, `tls.key`,
`ca.crt` of a TLS Secret, or `cert`, `key`, `cacert` of a generic one.
"""

from __future__ import annotations

import base64
import binascii

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.xds.model import Credential

_CERTIFICATE = ("tls.crt", "cert")
_KEY = ("tls.key", "key")
_AUTHORITY = ("ca.crt", "cacert")


def credential(secret: Manifest) -> Credential | None:
    """The credential in `secret`; None when there is neither a certificate with its key nor an authority in it."""
    data = secret.get("data") or {}
    certificate, key, authority = (_first(data, names) for names in (_CERTIFICATE, _KEY, _AUTHORITY))
    if not (certificate and key) and not authority:
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
