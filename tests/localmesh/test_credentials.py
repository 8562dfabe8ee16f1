"""Which Secrets are credentials: those that Envoy can use."""

from __future__ import annotations

import base64

import pytest

from harness.localmesh.ca import Authority
from harness.localmesh.credentials import credential

ROOT = Authority()
CERTIFICATE, KEY = ROOT.issue(address="127.0.0.1")
OTHER = Authority().issue(address="127.0.0.1")[1]


def _credential(**texts: str):
    data = {name.replace("_", "."): base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    return credential({"metadata": {"name": "one", "namespace": "default"}, "data": data})


def test_a_certificate_with_its_key_is_one():
    """With or without an authority, under the names of a TLS Secret and of a generic one."""
    made = _credential(tls_crt=CERTIFICATE, tls_key=KEY, ca_crt=ROOT.root_pem)
    assert (made.certificate, made.key, made.authority) == (CERTIFICATE, KEY, ROOT.root_pem)
    assert _credential(cert=CERTIFICATE, key=KEY).certificate == CERTIFICATE


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("x", KEY),
        ("-----BEGIN CERTIFICATE-----\n", KEY),
        (CERTIFICATE[:200], KEY),
        (CERTIFICATE, "x"),
        (CERTIFICATE, OTHER),
        (CERTIFICATE, ""),
    ],
)
def test_what_envoy_could_not_use_is_none(certificate, key):
    """Neither half a certificate nor another's key; an authority beside it still counts."""
    assert _credential(tls_crt=certificate, tls_key=key) is None
    made = _credential(tls_crt=certificate, tls_key=key, ca_crt=ROOT.root_pem)
    assert (made.certificate, made.key, made.authority) == ("", "", ROOT.root_pem)


def test_an_authority_must_be_a_certificate():
    """Other text is no authority."""
    assert _credential(ca_crt="x") is None
