"""Secrets (SDS): a proxy's own certificate, what it trusts, and the credentials of Secrets in its namespace.

Envoy asks for those it uses by name, and istiod too gives a proxy the Secrets of its own namespace only.
Source: istio/istio `pilot/pkg/xds/sds.go`, `pilot/pkg/model/credentials/resource.go`.
"""

from __future__ import annotations

import ssl

from harness.localmesh.xds.model import Credential, Resource
from harness.localmesh.xds.proto import typed
from harness.localmesh.xds.view import View

_KIND = "envoy.extensions.transport_sockets.tls.v3.Secret"
_AUTHORITY_SUFFIX = "-cacert"

SYSTEM_ROOTS = "file-root:system"
"""The SDS resource of the authorities that the machine trusts, named as in istiod."""


def credential_name(name: str) -> str:
    """The SDS resource of the certificate in the Secret `name`."""
    return f"kubernetes://{name}"


def authority_name(name: str) -> str:
    """The SDS resource of the authority in the Secret `name`, or in the one of that name with "-cacert"."""
    return f"kubernetes://{name.removesuffix(_AUTHORITY_SUFFIX)}{_AUTHORITY_SUFFIX}"


def secrets(view: View) -> dict[str, Resource]:
    """All secrets of the proxy, by name."""
    made = {**_system_roots(), **view.proxy.secrets}
    own = [item for item in view.credentials if item.namespace == view.namespace]
    # A Secret of its own with "-cacert" beats the authority that stands beside a certificate.
    for item in sorted(own, key=lambda item: item.name.endswith(_AUTHORITY_SUFFIX)):
        if item.certificate and item.key:
            made[credential_name(item.name)] = view.memo(_certificate, item)
        if item.authority:
            made[authority_name(item.name)] = view.memo(_trusted, item)
    return made


def _system_roots() -> dict[str, Resource]:
    """Empty on a machine that has no list of authorities."""
    path: str | None = ssl.get_default_verify_paths().cafile
    if path is None:
        return {}
    context = {"trusted_ca": {"filename": path}}
    return {SYSTEM_ROOTS: typed(_KIND, name=SYSTEM_ROOTS, validation_context=context)}


def _certificate(item: Credential) -> Resource:
    pair = {
        "certificate_chain": {"inline_string": item.certificate},
        "private_key": {"inline_string": item.key},
    }
    return typed(_KIND, name=credential_name(item.name), tls_certificate=pair)


def _trusted(item: Credential) -> Resource:
    context = {"trusted_ca": {"inline_string": item.authority}}
    return typed(_KIND, name=authority_name(item.name), validation_context=context)
