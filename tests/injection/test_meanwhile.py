"""What others do while a fault is in force, and answers that are late or lost: nobody's edit is lost."""

import threading
from copy import deepcopy

import pytest
from stock import (
    CATALOG_PATH,
    CHANGES,
    FILTER,
    FILTER_PATH,
    POLICY,
    RETRIES,
    apply_to,
    manifest_of,
    ready_pod,
    state,
)
from support import eventually

from harness.changes import Delete, Ref
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.injection import Healing, heal

POLICY_PATH = "/apis/security.istio.io/v1/namespaces/shop/peerauthentications/strict"


def test_a_field_that_somebody_else_changed_is_kept_and_said(cluster, shop, ledger):
    """Nobody's edit is overwritten, and nobody is left in the dark."""
    injection = apply_to(cluster, ledger, RETRIES)
    theirs = deepcopy(shop.objects[CATALOG_PATH])
    theirs["spec"]["http"][0]["retries"] = {"attempts": 9}
    shop.put(theirs)
    assert injection.revert().kept == (
        "VirtualService shop/catalog spec.http[0].retries was changed by somebody else meanwhile.",
    )
    assert shop.objects[CATALOG_PATH]["spec"]["http"][0]["retries"] == {"attempts": 9}


def test_an_object_that_somebody_else_put_in_the_place_of_ours_is_kept(cluster, shop, ledger):
    """The owner in its annotation tells."""
    injection = apply_to(cluster, ledger, CHANGES[1])
    shop.put(manifest_of(FILTER, configPatches=["theirs"]))
    [kept] = injection.revert().kept
    assert "created by somebody else" in kept
    assert FILTER_PATH in shop.objects


def test_a_conflict_is_not_taken_for_another_object(cluster, shop, ledger):
    """A server may refuse to delete for a moment although it is ours: then it is not said to be deleted."""
    injection = apply_to(cluster, ledger, CHANGES[1])
    conflict = {"kind": "Status", "reason": "Conflict", "message": "try again", "code": 409}
    shop.before = lambda request: shop.reply(409, conflict) if request.method == "DELETE" else None
    assert "try again" in injection.revert().failed[0]
    shop.before = lambda request: None
    assert injection.revert().failed == ()
    assert FILTER_PATH not in shop.objects


def test_an_object_that_is_gone_needs_no_revert(cluster, shop, ledger):
    """Created or changed by us, deleted by others: it stays deleted, and nothing fails."""
    injection = apply_to(cluster, ledger, RETRIES, CHANGES[1], CHANGES[2])
    shop.put(manifest_of(POLICY, mtls={"mode": "DISABLE"}))
    del shop.objects[FILTER_PATH], shop.objects[CATALOG_PATH]
    healing = injection.revert()
    assert (len(healing.done), len(healing.kept), healing.failed) == (2, 2, ())
    assert shop.objects[POLICY_PATH]["spec"] == {"mtls": {"mode": "DISABLE"}}


def test_an_edit_between_our_read_and_our_write_is_what_comes_back(cluster, shop, ledger):
    """The inverse belongs to the object that was really replaced, not to one read a moment before."""
    edited = []

    def meddle(request):
        if request.method == "PUT" and not edited:
            edited.append(True)
            theirs = deepcopy(shop.objects[CATALOG_PATH])
            theirs["spec"]["http"][0]["retries"] = {"attempts": 5}
            shop.put(theirs)

    shop.before = meddle
    with apply_to(cluster, ledger, RETRIES):
        assert shop.objects[CATALOG_PATH]["spec"]["http"] == [{"route": []}]
    assert shop.objects[CATALOG_PATH]["spec"]["http"][0]["retries"] == {"attempts": 5}
    assert ledger.pending(cluster.identity) == ()


def test_a_patch_whose_answer_was_lost_is_still_undone(cluster, shop, ledger):
    """The second try finds our own change there; that must not become the state to go back to."""
    before = state(shop)
    lost = []

    def lose(request):
        if request.method == "PUT" and not lost:
            lost.append(request)
            return shop.reply(0)
        return None

    shop.after = lose
    with apply_to(cluster, ledger, RETRIES):
        assert shop.objects[CATALOG_PATH]["spec"]["http"] == [{"route": []}]
    assert state(shop) == before


def test_a_request_that_got_no_answer_is_not_taken_for_undone(shop, write_kubeconfig, ledger):
    """It may have its effect when everything was reverted: it stays in the ledger, for whoever heals."""
    before, go = state(shop), threading.Event()

    def hold(request):
        if request.method == "POST" and "envoyfilters" in request.path:
            assert go.wait(20)

    shop.before = hold
    with Cluster.connect(write_kubeconfig(shop.url), timeout=0.5) as hurried:
        with pytest.raises(HarnessError, match=r"may still be on its way.*Run `harness heal`"):
            apply_to(hurried, ledger, *CHANGES[:2])
        assert state(shop) == before
        go.set()
        eventually(lambda: FILTER_PATH in shop.objects)
        shop.before = lambda request: None
        assert heal(hurried, ledger).failed == ()
    assert state(shop) == before


def test_a_pod_that_is_still_ending_is_created_again_when_it_is_gone(cluster, shop, ledger):
    """Nobody else would bring it back; while it ends, its name is taken."""
    ref, path = _lone_pod(shop)
    injection = apply_to(cluster, ledger, Delete(ref))
    looks = []

    def end(request):
        looks.append(request)
        if len(looks) == 3:
            del shop.objects[path]

    shop.before = end
    assert injection.end().done[0] == "Pod shop/lone is created again."
    assert shop.objects[path]["metadata"]["uid"] != "u-lone"
    assert ledger.pending(cluster.identity) == ()


def test_a_pod_that_does_not_end_stays_in_the_ledger(cluster, shop, ledger, monkeypatch):
    """The next heal brings it back."""
    monkeypatch.setattr("harness.healing._MARGIN", 0.2)
    ref, path = _lone_pod(shop)
    [failed] = apply_to(cluster, ledger, Delete(ref)).end().failed
    assert "still being deleted" in failed
    assert len(ledger.pending(cluster.identity)) == 1
    del shop.objects[path]
    assert heal(cluster, ledger).done == ("Pod shop/lone is created again.",)


def _lone_pod(api):
    """A pod without a controller that goes on being there, as one does until it has ended."""
    lone = ready_pod("lone")
    del lone["metadata"]["ownerReferences"]
    lone["metadata"] |= {"name": "lone", "uid": "u-lone"}
    api.put(lone)

    def begin_to_end(request):
        if request.method == "DELETE" and request.path.endswith("/lone"):
            api.objects[request.path]["metadata"] |= {
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "deletionGracePeriodSeconds": 0,
            }
            return api.reply(200, api.objects[request.path])
        return None

    api.before = begin_to_end
    return Ref("v1", "Pod", "shop", "lone"), "/api/v1/namespaces/shop/pods/lone"


def test_what_we_created_is_ours_whatever_its_annotations_say(cluster, shop, ledger):
    """Its UID tells; only an object that took its name is kept."""
    injection = apply_to(cluster, ledger, CHANGES[1])
    del shop.objects[FILTER_PATH]["metadata"]["annotations"]
    assert injection.end() == Healing(done=("EnvoyFilter shop/extra is deleted again.",))
    assert FILTER_PATH not in shop.objects
