"""A rotated root: its key stays in the cluster, and the old one comes back."""

import base64
import time
from dataclasses import replace

import pytest
from certs import Issuer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from stock import OLD_ROOT, ROOT, apply_to, forbidden, state

from harness.changes import Create, Delete, Edit, Patch, Ref, Rotate
from harness.errors import HarnessError
from harness.injection import apply_changes, heal
from harness.ledger import Ledger
from harness.roots import split

ROOT_PATH = "/api/v1/namespaces/istio-system/secrets/istio-ca-secret"


def _held(api, path=ROOT_PATH):
    return {name: base64.b64decode(text).decode() for name, text in api.objects[path]["data"].items()}


def test_a_rotated_root_is_another_one_of_the_same_kind_until_the_revert(cluster, shop, ledger):
    """Istiod finds it where the old one was; empty fields stay empty."""
    before, old = state(shop), _held(shop)
    with apply_to(cluster, ledger, Rotate(ROOT)):
        new = _held(shop)
        assert new["ca-cert.pem"] == new["root-cert.pem"] != old["ca-cert.pem"]
        assert new["key.pem"] == ""
        root = x509.load_pem_x509_certificate(new["ca-cert.pem"].encode())
        root.verify_directly_issued_by(root)
        key = load_pem_private_key(new["ca-key.pem"].encode(), None)
        assert key.public_key() == root.public_key()
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert root.subject.rfc4514_string() == "O=cluster.local"
    assert state(shop) == before


@pytest.mark.parametrize("name", ["istio-ca-secret", "cacerts"])
def test_a_root_is_trusted_before_it_signs_and_the_old_one_still_after_it(cluster, shop, ledger, name):
    """Where istiod reads it, the one that signs first; on the way back the same steps."""
    ref = replace(ROOT, name=name)
    shop.put(OLD_ROOT.secret(name))
    field = "root-cert.pem" if name == "cacerts" else "ca-cert.pem"
    path, before, seen = ROOT_PATH.replace("istio-ca-secret", name), state(shop), []
    with apply_to(cluster, ledger, Rotate(ref, "trust", 0.3)) as injection:
        held = _held(shop, path)
        assert held["ca-key.pem"] == OLD_ROOT.key
        old, new = split(held[field])
        assert old == OLD_ROOT.root
        assert field == "ca-cert.pem" or held["ca-cert.pem"] == OLD_ROOT.root
        injection.go_on([Rotate(ref, "sign")])
        signing = _held(shop, path)
        assert split(signing[field]) == (new, old)
        assert split(signing["ca-cert.pem"])[0] == new
        key = load_pem_private_key(signing["ca-key.pem"].encode(), None)
        assert key.public_key() == x509.load_pem_x509_certificate(new.encode()).public_key()
        written = "".join(one.read_text() for one in ledger.directory.iterdir())
        for secret in (OLD_ROOT.key, signing["ca-key.pem"]):
            assert secret.splitlines()[1] not in written
        shop.before = lambda request: seen.append((request.method, request.path, time.monotonic())) or None
        began = time.monotonic()
    assert state(shop) == before
    back, *_, last = [at for method, where, at in seen if (method, where) == ("PUT", path)]
    assert back - began < 0.3 <= last - back
    assert shop.objects[path]["data"] == OLD_ROOT.secret(name)["data"]


def test_a_root_that_nobody_trusts_yet_is_not_let_sign(cluster, shop, ledger):
    """Nothing is written."""
    with pytest.raises(
        HarnessError, match="No new root of Secret istio-system/istio-ca-secret is trusted yet"
    ):
        apply_to(cluster, ledger, Rotate(ROOT, "sign"))
    assert shop.writes() == []


def test_no_key_of_a_root_is_written_down_outside_the_cluster(cluster, shop, ledger, tmp_path):
    """The ledger has names and hashes; the old root is in the cluster before the new one is."""
    with apply_to(cluster, ledger, Rotate(ROOT)) as injection:
        [copy] = [path for path in shop.objects if "harness-keeps" in path]
        assert _held(shop, copy)["ca-key.pem"] == OLD_ROOT.key
        assert [request.method for request in shop.writes()] == ["POST", "PUT"]
        written = "".join(path.read_text() for path in (tmp_path / "ledger").iterdir())
        assert "harness-keeps" in written
        for key in (OLD_ROOT.key, _held(shop)["ca-key.pem"]):
            assert key.splitlines()[1] not in written
            assert base64.b64encode(key.encode()).decode()[:60] not in written
            assert key.splitlines()[1] not in repr(injection.changes)
    assert not [path for path in shop.objects if "harness-keeps" in path]


@pytest.mark.parametrize(
    "change", [Create(OLD_ROOT.secret()), Patch(ROOT, (Edit(("data", "ca-key.pem"), "eA=="),)), Delete(ROOT)]
)
def test_a_secret_is_neither_changed_nor_written_down(cluster, shop, ledger, tmp_path, change):
    """Not in the ledger, and not in an object beside it."""
    with pytest.raises(
        HarnessError, match="Secret istio-system/istio-ca-secret cannot be changed"
    ) as refused:
        apply_to(cluster, ledger, change)
    assert shop.writes() == []
    written = "".join(path.read_text() for path in (tmp_path / "ledger").iterdir() if path.is_file())
    for key in OLD_ROOT.secret()["data"].values():
        assert not key or (key not in written and key not in str(refused.value))


def test_a_new_root_that_comes_late_does_not_get_in_when_the_old_one_is_healed(cluster, shop, ledger):
    """The write that got no answer names the version that it would replace."""
    before, late = state(shop), []

    def hold_back(request):
        if request.method == "PUT" and request.path == ROOT_PATH:
            late.append(request)
            return forbidden(shop)
        return None

    shop.before = hold_back
    with pytest.raises(HarnessError, match="may not change Secret"):
        apply_to(cluster, ledger, Rotate(ROOT))
    shop.before = lambda request: None
    heal(cluster, ledger)
    assert shop.answer(late[0]).code == 409
    assert state(shop) == before


def test_the_copy_of_a_root_stays_as_long_as_the_root_could_not_be_put_back(cluster, shop, tmp_path):
    """It is the only one there is; the next time all is well."""
    before = state(shop)
    gone = apply_changes(cluster, (Rotate(ROOT),), run="run", ledger=Ledger(tmp_path / "gone"), expires_in=-1)
    gone._entries.close()
    shop.before = lambda request: forbidden(shop) if request.method == "PUT" else None
    healing = heal(cluster, Ledger(tmp_path / "here"))
    assert "harness-keeps" in healing.failed[0]
    [copy] = [path for path in shop.objects if "harness-keeps" in path]
    assert _held(shop, copy)["ca-key.pem"] == OLD_ROOT.key
    shop.before = lambda request: None
    assert heal(cluster, Ledger(tmp_path / "here")).failed == ()
    assert state(shop) == before


def test_a_root_that_somebody_else_has_put_there_meanwhile_stays(cluster, shop, ledger):
    """It is said, and the copy goes; so it is when the Secret was deleted."""
    theirs = Issuer("theirs").secret()
    with apply_to(cluster, ledger, Rotate(ROOT)) as injection:
        shop.put(theirs)
        healing = injection.revert()
        assert "was given another root by somebody else meanwhile" in healing.kept[0]
    assert shop.objects[ROOT_PATH]["data"] == theirs["data"]
    with apply_to(cluster, ledger, Rotate(ROOT)) as injection:
        del shop.objects[ROOT_PATH]
        assert "was deleted by somebody else meanwhile" in injection.revert().kept[0]
    assert not [path for path in shop.objects if "secrets" in path]


def test_other_fields_of_the_secret_that_others_edit_survive_a_rotation(cluster, shop, ledger):
    """Only the root comes back."""
    with apply_to(cluster, ledger, Rotate(ROOT)):
        shop.objects[ROOT_PATH]["data"]["ca-crl.pem"] = "eA=="
    assert shop.objects[ROOT_PATH]["data"] == OLD_ROOT.secret()["data"] | {"ca-crl.pem": "eA=="}


def test_a_secret_without_a_root_is_refused_and_not_quoted(cluster, shop, ledger):
    """Nothing is written; so is one that is not there."""
    broken = OLD_ROOT.secret()
    broken["data"]["ca-cert.pem"] = broken["data"]["ca-key.pem"]
    shop.put(broken)
    with pytest.raises(HarnessError, match=r"holds no root in ca-cert.pem with its key") as refused:
        apply_to(cluster, ledger, Rotate(ROOT))
    assert OLD_ROOT.key.splitlines()[1] not in str(refused.value)
    with pytest.raises(HarnessError, match="There is no Secret istio-system/cacerts"):
        apply_to(cluster, ledger, Rotate(Ref("v1", "Secret", "istio-system", "cacerts")))
    assert shop.writes() == []
