"""The certificate authority."""

import datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.localmesh.ca import Authority

IDENTITY = "spiffe://cluster.local/ns/shop/sa/catalog"


def test_a_workload_certificate_carries_its_identity_and_is_signed_by_the_root():
    """The SPIFFE URI is the certificate's only name, and the root's key made the signature."""
    authority = Authority()
    chain, _ = authority.issue(uri=IDENTITY)
    leaf, root = x509.load_pem_x509_certificates(chain.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [IDENTITY]
    assert names.critical  # as SPIFFE asks where the subject is empty
    leaf.verify_directly_issued_by(root)
    assert root == authority.root


def test_the_key_belongs_to_the_certificate():
    """TLS libraries accept chain and key as a pair."""
    chain, key = Authority().issue(address="127.16.0.1")
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    private = load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.public_key() == leaf.public_key()


def test_a_certificate_lives_as_long_as_asked():
    """The lifetime can be set to seconds."""
    authority = Authority(lifetime=5.0)
    leaf = x509.load_pem_x509_certificates(authority.issue(uri=IDENTITY)[0].encode())[0]
    left = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(seconds=2) < left <= datetime.timedelta(seconds=5)


def test_a_certificate_of_another_mesh_is_not_trusted():
    """The roots of two meshes have the same name and different keys."""
    stranger = x509.load_pem_x509_certificates(Authority().issue(uri=IDENTITY)[0].encode())[0]
    with pytest.raises(InvalidSignature):
        stranger.verify_directly_issued_by(Authority().root)
