"""Workload certificates: when they are renewed, and how one root takes over from another."""

import base64
import contextlib
import random
import time

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from harness.localmesh.api.resources import CONFIG_MAPS, EVENTS, NAMESPACES, SECRETS
from harness.localmesh.ca import Authority
from harness.localmesh.certificates import ROOT_CONFIG_MAP, ROOT_SECRET, Certificates
from harness.localmesh.kinds.istio.meshconfig import AgentSettings
from harness.localmesh.store import Store

WEB = "spiffe://cluster.local/ns/default/sa/web"


@pytest.fixture
def store():
    """A store with three namespaces."""
    made = Store()
    for name in ("default", "istio-system", "kube-system"):
        made.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return made


@pytest.fixture
def certificates(store):
    """Certificates that live for an hour, their root in its Secret."""
    made = Certificates(store, 3600.0, random.Random(1))
    made.reconcile()
    return made


def signer(secrets):
    """The root that has signed the certificate, and those that are trusted, as PEM."""
    chain = secrets["default"]["tls_certificate"]["certificate_chain"]["inline_string"]
    trusted = secrets["ROOTCA"]["validation_context"]["trusted_ca"]["inline_string"]
    leaf, root = x509.load_pem_x509_certificates(chain.encode())
    leaf.verify_directly_issued_by(root)
    return root, x509.load_pem_x509_certificates(trusted.encode())


def put_root(store, authority):
    """Replaces the root as a user would."""
    data = {"ca-cert.pem": authority.root_pem, "ca-key.pem": authority.key_pem}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    store.update(SECRETS, "istio-system", ROOT_SECRET, lambda old: {**old, "data": encoded})


def test_a_certificate_stays_until_half_of_its_life(store):
    """Then another one takes its place, in good time before the end."""
    certificates = Certificates(store, 0.4, random.Random(1))
    certificates.reconcile()
    first = certificates.secrets("a", WEB)
    assert certificates.secrets("a", WEB) is first
    assert 0.15 < certificates.patience() <= 0.21
    deadline = time.monotonic() + 5
    while certificates.secrets("a", WEB) is first:
        assert time.monotonic() < deadline
    assert certificates.secrets("a", WEB)["default"] != first["default"]


def test_renewals_of_many_do_not_coincide(store):
    """Each is moved by up to a hundredth of the life, as in Istio."""
    certificates = Certificates(store, 1000.0, random.Random(1))
    certificates.reconcile()
    times = []
    for number in range(20):
        certificates.secrets(f"{number}", WEB)
        times.append(certificates._leases[f"{number}"].renew_at - time.time())
    assert max(times) - min(times) > 5
    assert all(489 < moment < 511 for moment in times)


def test_every_namespace_is_told_the_root_but_those_of_kubernetes(store, certificates):
    """A ConfigMap that is changed or deleted comes back."""
    found = {item["metadata"]["namespace"]: item["data"] for item in store.list(CONFIG_MAPS)}
    assert found == {key: {"root-cert.pem": certificates.root} for key in ("default", "istio-system")}
    store.update(CONFIG_MAPS, "default", ROOT_CONFIG_MAP, lambda old: {**old, "data": {}})
    store.delete(CONFIG_MAPS, "istio-system", ROOT_CONFIG_MAP)
    certificates.reconcile()
    assert [item["data"] for item in store.list(CONFIG_MAPS)] == [{"root-cert.pem": certificates.root}] * 2


def test_a_new_root_is_read_when_istiod_starts_and_followed_when_a_certificate_is_renewed(store):
    """Before that nothing changes; who has followed trusts the new root only, who has not the old one only."""
    certificates = Certificates(store, 0.6, random.Random(1))
    certificates.reconcile()
    old, _ = signer(certificates.secrets("a", WEB))
    new = Authority()
    put_root(store, new)
    certificates.reconcile()
    assert certificates.root != new.root_pem
    certificates.restart()
    certificates.reconcile()
    assert certificates.root == new.root_pem
    assert signer(certificates.secrets("a", WEB)) == (old, [old])
    assert signer(certificates.secrets("b", WEB)) == (new.root, [new.root])
    deadline = time.monotonic() + 5
    while signer(certificates.secrets("a", WEB)) == (old, [old]):
        assert time.monotonic() < deadline
    assert signer(certificates.secrets("a", WEB)) == (new.root, [new.root])


def test_a_running_istiod_looks_at_the_root_once_an_hour(store, certificates, monkeypatch):
    """As its rotator does; it wakes up for it."""
    new = Authority()
    put_root(store, new)
    assert 3590 < certificates.patience() <= 3600
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3601)
    certificates.reconcile()
    assert certificates.root == new.root_pem


def _put(store, name, **fields):
    """Puts a Secret with these files in the place of what is there."""
    data = {
        f"{key.replace('_', '-')}.pem": base64.b64encode(value.encode()).decode()
        for key, value in fields.items()
    }
    if any(one["metadata"]["name"] == name for one in store.list(SECRETS)):
        store.update(SECRETS, "istio-system", name, lambda old: {**old, "data": data})
        return
    metadata = {"name": name, "namespace": "istio-system"}
    store.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def _handshake(secrets):
    """The certificate that signs, and whom the sidecar trusts."""
    chain = secrets["default"]["tls_certificate"]["certificate_chain"]["inline_string"]
    leaf, *above = x509.load_pem_x509_certificates(chain.encode())
    trusted = secrets["ROOTCA"]["validation_context"]["trusted_ca"]["inline_string"]
    for one in above:
        with contextlib.suppress(InvalidSignature):
            leaf.verify_directly_issued_by(one)
            return one, x509.load_pem_x509_certificates(trusted.encode())
    raise AssertionError("nobody in the chain has signed it")


def test_of_several_roots_the_first_signs_and_all_are_trusted(store, certificates):
    """So one root takes over from another without a moment in which anybody is refused."""
    old, new = Authority(), Authority()
    _put(store, ROOT_SECRET, ca_cert=old.root_pem + new.root_pem, ca_key=old.key_pem)
    certificates.restart()
    certificates.reconcile()
    assert _handshake(certificates.secrets("a", WEB)) == (old.root, [old.root, new.root])
    assert certificates.root == old.root_pem + new.root_pem
    _put(store, ROOT_SECRET, ca_cert=new.root_pem + old.root_pem, ca_key=new.key_pem)
    certificates.restart()
    certificates.reconcile()
    assert _handshake(certificates.secrets("b", WEB)) == (new.root, [new.root, old.root])
    told = store.get(CONFIG_MAPS, "default", ROOT_CONFIG_MAP)["data"]["root-cert.pem"]
    assert told == new.root_pem + old.root_pem


def test_a_ca_that_is_plugged_in_comes_before_the_meshs_own_when_istiod_starts(store, certificates):
    """With as many roots as it has; without it the mesh has its own again."""
    own, plugged, other = certificates.root, Authority(), Authority()
    both = plugged.root_pem + other.root_pem
    files = {"ca_cert": plugged.root_pem, "ca_key": plugged.key_pem, "cert_chain": plugged.root_pem}
    _put(store, "cacerts", **files, root_cert=both)
    certificates.reconcile()
    assert certificates.root == own
    certificates.restart()
    certificates.reconcile()
    assert _handshake(certificates.secrets("a", WEB)) == (plugged.root, [plugged.root, other.root])
    assert certificates.patience() > 1000
    store.delete(SECRETS, "istio-system", "cacerts")
    certificates.reconcile()
    assert certificates.root == both
    certificates.restart()
    certificates.reconcile()
    assert certificates.root == own


def test_a_running_istiod_takes_another_ca_under_the_same_roots_and_no_other_roots(store, certificates):
    """The one is what it watches its files for, the other has to wait for its restart."""
    first, second = Authority(), Authority()
    both = first.root_pem + second.root_pem

    def plug(one, roots):
        _put(
            store,
            "cacerts",
            ca_cert=one.root_pem,
            ca_key=one.key_pem,
            cert_chain=one.root_pem,
            root_cert=roots,
        )
        certificates.reconcile()

    certificates.restart()
    plug(first, both)
    plug(second, both)
    assert _handshake(certificates.secrets("a", WEB)) == (second.root, [first.root, second.root])
    plug(first, first.root_pem)
    assert certificates.root == both
    assert _handshake(certificates.secrets("b", WEB))[0] == second.root
    certificates.restart()
    certificates.reconcile()
    assert certificates.root == first.root_pem


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ({"root_cert": ""}, "there is no root-cert.pem"),
        ({"ca_key": "", "cert_chain": ""}, "there is no ca-key.pem and no cert-chain.pem"),
        ({"root_cert": Authority().root_pem}, "the certificate is below none of those that are trusted"),
    ],
    ids=["no roots", "no key", "other roots"],
)
def test_a_ca_that_is_plugged_in_by_halves_changes_nothing_and_is_told(store, certificates, lacking, why):
    """On a cluster istiod would not start with it."""
    own, one = certificates.root, Authority()
    files = {
        "ca_cert": one.root_pem,
        "ca_key": one.key_pem,
        "cert_chain": one.root_pem,
        "root_cert": one.root_pem,
    }
    _put(store, "cacerts", **files | lacking)
    certificates.restart()
    certificates.reconcile()
    certificates.reconcile()
    assert certificates.root == own
    (event,) = store.list(EVENTS)
    assert event["message"].endswith(why)


def test_a_sidecar_may_have_its_own_lifetime_and_time_of_renewal(store, certificates):
    """As its agent was told when it started; the others keep the mesh's."""
    certificates.secrets("a", WEB, AgentSettings(lifetime=10.0, grace="0.7"))
    certificates.secrets("b", WEB)
    assert 9 < certificates.expires_at("a") - time.time() <= 10
    assert 2.8 < certificates.patience() <= 3.1
    assert 3590 < certificates.expires_at("b") - time.time() <= 3600


def test_a_deleted_root_is_replaced_by_a_new_one_when_istiod_starts(store, certificates):
    """As istiod makes its own when there is none; until then it goes on with the one it has."""
    old = certificates.root
    store.delete(SECRETS, "istio-system", ROOT_SECRET)
    certificates.reconcile()
    assert certificates.root == old
    assert not store.list(SECRETS)
    certificates.restart()
    certificates.reconcile()
    assert certificates.root != old
    kept = base64.b64decode(store.get(SECRETS, "istio-system", ROOT_SECRET)["data"]["ca-cert.pem"])
    assert kept.decode() == certificates.root


def test_a_certificate_tells_when_it_expires(certificates):
    """As the agent's metric does; who has none, nothing."""
    certificates.secrets("a", WEB)
    assert 3590 < certificates.expires_at("a") - time.time() <= 3600
    assert certificates.expires_at("b") is None


def test_what_is_no_root_changes_nothing_and_is_told(store, certificates):
    """A key that belongs to another certificate, or no certificate at all."""
    old = signer(certificates.secrets("a", WEB))
    mixed = Authority()
    mixed.__dict__["_key"] = Authority().__dict__["_key"]
    put_root(store, mixed)
    certificates.restart()
    certificates.reconcile()
    assert signer(certificates.secrets("a", WEB)) == old
    (event,) = store.list(EVENTS)
    assert event["message"].endswith("the key is not that of the certificate")


def test_while_frozen_nothing_is_issued_or_renewed(store):
    """Who has a certificate keeps it, also beyond its end; who is new gets none."""
    certificates = Certificates(store, 0.1, random.Random(1))
    certificates.reconcile()
    first = certificates.secrets("a", WEB)
    certificates.frozen = True
    until = time.monotonic() + 0.15
    while time.monotonic() < until:
        certificates.reconcile()
        assert certificates.secrets("a", WEB) is first
    assert certificates.secrets("b", WEB) == {}
    assert certificates.patience() is None
    certificates.frozen = False
    assert certificates.secrets("a", WEB) is not first
    assert certificates.secrets("b", WEB)
