"""Injections: undo before do, whoever crashes when, and never at the cost of somebody else's edit."""

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import replace
from uuid import uuid4

import pytest
from certs import Issuer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scenes import refusal
from support import eventually

from harness.changes import ABSENT, Attach, Create, Delete, Edit, Eviction, Patch, Ref, Rotate, to_json, undo
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.faults import (
    Abort,
    BadConfig,
    BlastRadius,
    CertificateExpiry,
    Delay,
    Disconnect,
    Evict,
    Nothing,
    PodKill,
    ProxyKill,
    RollingRestart,
    RootRotation,
    Scale,
    Stress,
    Target,
)
from harness.injection import EXPIRES, Healing, apply_changes, heal, inject, resolve
from harness.ledger import Ledger
from harness.marks import CLAIM, marks
from harness.roots import split

CATALOG = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
CATALOG_PATH = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/catalog"
POLICY = Ref("security.istio.io/v1", "PeerAuthentication", "shop", "strict")
POLICY_PATH = "/apis/security.istio.io/v1/namespaces/shop/peerauthentications/strict"
FILTER = Ref("networking.istio.io/v1alpha3", "EnvoyFilter", "shop", "extra")
FILTER_PATH = "/apis/networking.istio.io/v1alpha3/namespaces/shop/envoyfilters/extra"
ROOT = Ref("v1", "Secret", "istio-system", "istio-ca-secret")
ROOT_PATH = "/api/v1/namespaces/istio-system/secrets/istio-ca-secret"
OLD_ROOT = Issuer("cluster.local")
WIDE = BlastRadius(max_pods=3)
EVERYWHERE = BlastRadius(max_pods=9, namespaces=("shop", "istio-system"))


def _manifest(ref, **spec):
    metadata = {"name": ref.name, "namespace": ref.namespace}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, "spec": spec}


def _pod(number, ready="True", app="payments", namespace="shop"):
    owner = {"kind": "ReplicaSet", "name": app, "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-{number}",
            "namespace": namespace,
            "uid": f"u{number}" if app == "payments" else f"u-{app}-{number}",
            "labels": {"app": app},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


RETRIES = Patch(CATALOG, (Edit(("spec", "http", 0, "retries"), ABSENT),))
CHANGES = (
    RETRIES,
    Create(_manifest(FILTER, configPatches=[])),
    Delete(POLICY),
    Patch(
        CATALOG, (Edit(("metadata", "annotations", "team/pager"), "off"), Edit(("spec", "hosts", 1), "extra"))
    ),
)
EVERY = (*CHANGES, Rotate(ROOT))


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def shop(kube_api):
    """A shop with a policy, a route with retries and two ready pods."""
    _fill(kube_api)
    return kube_api


def _fill(api):
    api.objects = {path: kept for path, kept in api.objects.items() if "kube-system" in path}
    api.put(_manifest(CATALOG, hosts=["catalog"], http=[{"retries": {"attempts": 2}, "route": []}]))
    api.put(_manifest(POLICY, mtls={"mode": "STRICT"}))
    api.put(OLD_ROOT.secret())
    for number in (1, 2):
        api.put(_pod(number))


def _state(api):
    """What people wrote: an object that was created again has another UID."""
    state = api.state()
    for manifest in state.values():
        manifest["metadata"].pop("uid")
    return state


def _scene(cluster):
    return resolve(cluster, Target("payments", "shop"), run="run", seed=1)


def _apply(cluster, ledger, *changes, run="run"):
    return apply_changes(cluster, changes, run=run, ledger=ledger, expires_in=60)


# resolve


def _deployed(shop, replicas=2, app="payments", namespace="shop"):
    """The ReplicaSet and the Deployment behind the pods of payments, or of another app."""
    set_ = f"{app}-abc"
    meta = {"namespace": namespace, "name": set_}
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": app, "controller": True}
    shop.put(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": meta | {"ownerReferences": [owner]},
            "spec": {},
        }
    )
    spec = {"replicas": replicas, "template": {"metadata": {"labels": {"app": app}}}}
    meta = {"namespace": namespace, "name": app}
    shop.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
    for number in range(1, replicas + 1):
        pod = _pod(number, app=app, namespace=namespace)
        pod["metadata"]["ownerReferences"][0] |= {"apiVersion": "apps/v1", "name": set_}
        shop.put(pod)


def test_the_deployments_behind_the_pods_are_found_for_a_fault_that_needs_them(cluster, shop):
    """Through the ReplicaSet that is their controller; nothing more is read for one that does not."""
    _deployed(shop)
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=Scale(0))
    [found] = scene.deployments
    assert (found.ref, found.replicas, found.uids) == (
        Ref("apps/v1", "Deployment", "shop", "payments"),
        2,
        ("u1", "u2"),
    )
    shop.requests.clear()
    assert resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=PodKill()).deployments == ()
    assert not any("apps" in request.path for request in shop.requests)


def test_other_workloads_are_found_for_a_fault_that_needs_them(cluster, shop):
    """And one that is not there is missed before anything is written."""
    there = Target("payments", "shop", {"app": "payments"})
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=Disconnect(there))
    assert [pod.name for pod in scene.other(there).pods] == ["payments-1", "payments-2"]
    with pytest.raises(HarnessError, match="No ready pod in namespace shop carries app=nobody"):
        resolve(
            cluster, Target("payments", "shop"), run="run", seed=1, fault=Disconnect(Target("nobody", "shop"))
        )


def test_a_scale_is_in_force_until_it_is_reverted(cluster, shop, ledger):
    """And the objects are what they were."""
    _deployed(shop)
    before = _state(shop)
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=Scale(0))
    with inject(cluster, Scale(0), scene, ledger=ledger, blast_radius=WIDE):
        deployment = cluster.get(scene.deployments[0].ref)
        assert deployment["spec"]["replicas"] == 0
    assert _state(shop) == before


# what the cluster refuses


def _budget(shop, *forbidden):
    """A PodDisruptionBudget that forbids the eviction of these pods."""

    def answer(request):
        name, _, last = request.path.removeprefix("/api/v1/namespaces/shop/pods/").partition("/")
        if last != "eviction":
            return None
        if name not in forbidden:
            del shop.objects[f"/api/v1/namespaces/shop/pods/{name}"]
            return shop.reply(201, {"kind": "Status", "status": "Success"})
        return shop.reply(429, refusal(429, "TooManyRequests", "Cannot evict pod", "budget b forbids"))

    shop.before = answer


def test_an_eviction_that_a_budget_forbids_is_said_and_not_on_record(cluster, shop, ledger):
    """The others have happened."""
    _budget(shop, "payments-2")
    with inject(cluster, Evict(2), _scene(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        assert injection.refused == {Ref("v1", "Pod", "shop", "payments-2"): "budget b forbids"}
        assert injection.changes == (Eviction(Ref("v1", "Pod", "shop", "payments-1")),)
        assert [record.change for record in ledger.pending(cluster.identity)] in ([], list(injection.changes))
    assert ledger.pending(cluster.identity) == ()


def test_without_any_eviction_there_is_no_fault(cluster, shop, ledger):
    """The error has the budget's words, and nothing is left on record."""
    _budget(shop, "payments-1", "payments-2")
    with pytest.raises(HarnessError, match=r"No pod may be evicted.*payments-1: budget b forbids"):
        inject(cluster, Evict(2), _scene(cluster), ledger=ledger, blast_radius=WIDE)
    assert ledger.pending(cluster.identity) == ()


def test_a_change_that_may_be_refused_is_noted_and_another_is_an_error(cluster, shop, ledger):
    """Nothing is left of either."""
    before = _state(shop)
    shop.before = lambda request: (
        shop.reply(422, refusal(422, "Invalid", "spec.http: empty"))
        if request.method in ("POST", "PUT")
        else None
    )
    bad = BadConfig(_manifest(FILTER, configPatches=[]))
    with inject(cluster, bad, _scene(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        assert injection.changes == ()
        assert "spec.http: empty" in injection.refused[FILTER]
    with inject(cluster, BadConfig(RETRIES), _scene(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        assert list(injection.refused) == [CATALOG]
    with pytest.raises(HarnessError, match=r"spec\.http: empty"):
        inject(cluster, Abort(503, 30), _scene(cluster), ledger=ledger, blast_radius=WIDE)
    assert _state(shop) == before
    assert ledger.pending(cluster.identity) == ()


def test_resolve_finds_the_pods_that_are_ready(cluster, shop):
    """A pod that is about to come or to go is no part of the scene."""
    shop.put(_pod(3, ready="False"))
    leaving = _pod(4)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    shop.put(leaving)
    assert [pod.name for pod in _scene(cluster).pods] == ["payments-1", "payments-2"]


# inject and revert


def test_abort_is_in_force_until_it_is_reverted(cluster, shop, ledger):
    """The filter is there, marked with its owner and its lease; then everything is as before."""
    before = _state(shop)
    with inject(cluster, Abort(503, 30), _scene(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        [created] = [kept for kept in shop.objects.values() if kept["kind"] == "EnvoyFilter"]
        assert created["metadata"]["annotations"]["harness.mesh/owner"] == injection.name
        assert created["metadata"]["annotations"][EXPIRES].endswith("Z")
        assert [change.ref.kind for change in injection.changes] == ["EnvoyFilter"]
    assert _state(shop) == before
    assert ledger.pending(cluster.identity) == ()


def test_a_killed_pod_is_left_to_its_controller(cluster, shop, ledger):
    """It is deleted without grace, by its UID, and nothing is put back."""
    injection = inject(cluster, PodKill(), _scene(cluster), ledger=ledger, blast_radius=WIDE)
    [request] = shop.writes()
    assert (request.method, request.body["gracePeriodSeconds"]) == ("DELETE", 0)
    assert request.body["preconditions"]["uid"] in ("u1", "u2")
    [done] = injection.revert().done
    assert "is replaced by its controller" in done


def test_nothing_writes_nothing(cluster, shop, ledger):
    """The control run goes the same way and leaves no trace."""
    with inject(cluster, Nothing(), _scene(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        assert injection.changes == ()
    assert shop.writes() == []


def test_the_inverse_is_on_disk_before_the_change_is_made(cluster, shop, ledger, tmp_path):
    """At the moment of every write, the ledger already knows how to undo it."""
    seen = []

    def look(request):
        if request.method != "GET":
            lines = (tmp_path / "ledger" / "run.jsonl").read_text().splitlines()
            seen.append((request.path.rpartition("/")[2], next(iter(json.loads(lines[-1])["undo"]))))

    shop.before = look
    injection = _apply(cluster, ledger, *CHANGES)
    assert seen == [
        ("catalog", "Restore"),
        ("envoyfilters", "Uncreate"),
        ("configmaps", "Uncreate"),
        ("strict", "Recreate"),
        ("catalog", "Restore"),
    ]
    shop.before = lambda request: None
    injection.revert()


def test_changes_are_reverted_in_reverse_order(cluster, shop, ledger):
    """The last one first, as each was made on top of those before."""
    before = _state(shop)
    injection = _apply(cluster, ledger, *CHANGES)
    assert shop.objects[CATALOG_PATH]["spec"] == {"hosts": ["catalog", "extra"], "http": [{"route": []}]}
    shop.requests.clear()
    [keepsake] = [change.ref for change in injection.changes if change.ref.kind == "ConfigMap"]
    assert injection.revert() == Healing(
        done=(
            "VirtualService shop/catalog metadata.annotations.team/pager, spec.hosts is set back.",
            "PeerAuthentication shop/strict is created again.",
            f"{keepsake} is deleted again.",
            "EnvoyFilter shop/extra is deleted again.",
            "VirtualService shop/catalog spec.http[0].retries is set back.",
        )
    )
    assert _state(shop) == before


def test_reverting_twice_is_harmless(cluster, shop, ledger):
    """The second time there is nothing to do."""
    injection = _apply(cluster, ledger, *CHANGES)
    injection.revert()
    shop.requests.clear()
    assert injection.revert() == Healing()
    assert shop.writes() == []


def test_an_error_inside_the_with_statement_reverts(cluster, shop, ledger):
    """Whatever happens while the fault is in force."""
    before = _state(shop)

    def fail():
        with _apply(cluster, ledger, *CHANGES):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert _state(shop) == before


def test_a_change_that_fails_reverts_those_before_it(cluster, shop, ledger):
    """Half a fault is never in force; the error says what went wrong."""
    before = _state(shop)
    with pytest.raises(HarnessError, match="no VirtualService shop/gone"):
        _apply(
            cluster,
            ledger,
            *CHANGES,
            Patch(Ref(CATALOG.api_version, CATALOG.kind, "shop", "gone"), RETRIES.edits),
        )
    assert _state(shop) == before
    assert ledger.pending(cluster.identity) == ()


# refused before the first write


def test_a_fault_beyond_the_blast_radius_is_refused_before_the_first_write(cluster, shop, ledger):
    """Pods, as every other limit."""
    with pytest.raises(HarnessError, match="allows 1"):
        inject(cluster, Abort(503, 30), _scene(cluster), ledger=ledger, blast_radius=BlastRadius(max_pods=1))
    assert shop.writes() == []


def test_the_blast_radius_is_that_of_all_faults_in_force_together(cluster, shop, ledger):
    """Each of the two alone would stay within it; the first one gone, the second may be."""
    scene, half = _scene(cluster), BlastRadius(max_pods=2, max_percent=60)
    other = Abort(500, percent=30, path="/other")
    with inject(cluster, Abort(503, percent=50), scene, ledger=ledger, blast_radius=half):
        before = shop.state()
        with pytest.raises(
            HarnessError, match=r"with abort 503 50% in force, would take away 80 % of shop/payments.*60 %"
        ):
            inject(cluster, other, scene, ledger=ledger, blast_radius=half)
        assert shop.state() == before
    with inject(cluster, other, scene, ledger=ledger, blast_radius=half):
        pass


def test_a_mesh_in_which_another_run_is_at_work_is_refused(cluster, shop, ledger, tmp_path):
    """Two faults at once would spoil both verdicts; whoever holds the ledger may inject again."""
    other = Ledger(tmp_path / "ledger")
    with _apply(cluster, ledger, CHANGES[1]):
        with pytest.raises(HarnessError, match=r"Another run is at work .*: run;"):
            _apply(cluster, other, RETRIES, run="other")
        with _apply(cluster, ledger, RETRIES, run="run-policy"):
            pass
    with _apply(cluster, other, RETRIES, run="other"):
        pass


def test_a_ledger_that_cannot_be_written_stops_everything_before_the_first_write(cluster, shop, tmp_path):
    """What could not be undone is not done."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot be written"):
        _apply(cluster, Ledger(tmp_path / "file"), *CHANGES)
    assert shop.writes() == []


# others at work


def test_a_field_that_somebody_else_changed_is_kept_and_said(cluster, shop, ledger):
    """Nobody's edit is overwritten, and nobody is left in the dark."""
    injection = _apply(cluster, ledger, RETRIES)
    theirs = deepcopy(shop.objects[CATALOG_PATH])
    theirs["spec"]["http"][0]["retries"] = {"attempts": 9}
    shop.put(theirs)
    assert injection.revert().kept == (
        "VirtualService shop/catalog spec.http[0].retries was changed by somebody else meanwhile.",
    )
    assert shop.objects[CATALOG_PATH]["spec"]["http"][0]["retries"] == {"attempts": 9}


def test_an_object_that_somebody_else_put_in_the_place_of_ours_is_kept(cluster, shop, ledger):
    """The owner in its annotation tells."""
    injection = _apply(cluster, ledger, CHANGES[1])
    shop.put(_manifest(FILTER, configPatches=["theirs"]))
    [kept] = injection.revert().kept
    assert "created by somebody else" in kept
    assert FILTER_PATH in shop.objects


def test_a_conflict_is_not_taken_for_another_object(cluster, shop, ledger):
    """A server may refuse to delete for a moment although it is ours: then it is not said to be deleted."""
    injection = _apply(cluster, ledger, CHANGES[1])
    conflict = {"kind": "Status", "reason": "Conflict", "message": "try again", "code": 409}
    shop.before = lambda request: shop.reply(409, conflict) if request.method == "DELETE" else None
    assert "try again" in injection.revert().failed[0]
    shop.before = lambda request: None
    assert injection.revert().failed == ()
    assert FILTER_PATH not in shop.objects


def test_an_object_that_is_gone_needs_no_revert(cluster, shop, ledger):
    """Created or changed by us, deleted by others: it stays deleted, and nothing fails."""
    injection = _apply(cluster, ledger, RETRIES, CHANGES[1], CHANGES[2])
    shop.put(_manifest(POLICY, mtls={"mode": "DISABLE"}))
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
    with _apply(cluster, ledger, RETRIES):
        assert shop.objects[CATALOG_PATH]["spec"]["http"] == [{"route": []}]
    assert shop.objects[CATALOG_PATH]["spec"]["http"][0]["retries"] == {"attempts": 5}
    assert ledger.pending(cluster.identity) == ()


def test_a_patch_whose_answer_was_lost_is_still_undone(cluster, shop, ledger):
    """The second try finds our own change there; that must not become the state to go back to."""
    before = _state(shop)
    lost = []

    def lose(request):
        if request.method == "PUT" and not lost:
            lost.append(request)
            return shop.reply(0)
        return None

    shop.after = lose
    with _apply(cluster, ledger, RETRIES):
        assert shop.objects[CATALOG_PATH]["spec"]["http"] == [{"route": []}]
    assert _state(shop) == before


def test_a_request_that_got_no_answer_is_not_taken_for_undone(shop, write_kubeconfig, ledger):
    """It may have its effect when everything was reverted: it stays in the ledger, for whoever heals."""
    before, go = _state(shop), threading.Event()

    def hold(request):
        if request.method == "POST" and "envoyfilters" in request.path:
            assert go.wait(20)

    shop.before = hold
    with Cluster.connect(write_kubeconfig(shop.url), timeout=0.5) as hurried:
        with pytest.raises(HarnessError, match=r"may still be on its way.*Run `harness heal`"):
            _apply(hurried, ledger, *CHANGES[:2])
        assert _state(shop) == before
        go.set()
        eventually(lambda: FILTER_PATH in shop.objects)
        shop.before = lambda request: None
        assert heal(hurried, ledger).failed == ()
    assert _state(shop) == before


def test_a_pod_that_is_still_ending_is_created_again_when_it_is_gone(cluster, shop, ledger):
    """Nobody else would bring it back; while it ends, its name is taken."""
    ref, path = _lone_pod(shop)
    injection = _apply(cluster, ledger, Delete(ref))
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
    monkeypatch.setattr("harness.ephemeral._MARGIN", 0.2)
    ref, path = _lone_pod(shop)
    [failed] = _apply(cluster, ledger, Delete(ref)).end().failed
    assert "still being deleted" in failed
    assert len(ledger.pending(cluster.identity)) == 1
    del shop.objects[path]
    assert heal(cluster, ledger).done == ("Pod shop/lone is created again.",)


def _lone_pod(api):
    """A pod without a controller that goes on being there, as one does until it has ended."""
    lone = _pod("lone")
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
    injection = _apply(cluster, ledger, CHANGES[1])
    del shop.objects[FILTER_PATH]["metadata"]["annotations"]
    assert injection.end() == Healing(done=("EnvoyFilter shop/extra is deleted again.",))
    assert FILTER_PATH not in shop.objects


def test_of_two_runs_that_begin_at_once_one_is_refused(cluster, shop, tmp_path):
    """Looking whether one is alone and making the first change are one step."""
    barrier = threading.Barrier(2)
    outcomes = []

    def dawdle(request):
        if request.method == "GET":
            time.sleep(0.1)

    def begin(run, change):
        barrier.wait(5)
        try:
            outcomes.append(_apply(cluster, Ledger(tmp_path / "ledger"), change, run=run))
        except HarnessError as error:
            outcomes.append(str(error))

    shop.before = dawdle
    threads = [threading.Thread(target=begin, args=pair) for pair in (("one", RETRIES), ("two", CHANGES[1]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [refusal] = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert "Another run is at work" in refusal
    [injection] = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    injection.end()


# heal


def test_a_run_that_could_not_revert_leaves_it_to_heal(cluster, shop, ledger):
    """Also within the same process: its claim has ended."""
    before = _state(shop)
    injection = _apply(cluster, ledger, CHANGES[1])
    shop.before = lambda request: _forbidden(shop) if request.method == "DELETE" else None
    assert len(injection.end().failed) == 1
    shop.before = lambda request: None
    assert Ledger(ledger._directory).claims(cluster.identity) == frozenset()
    assert heal(cluster, ledger).done == ("EnvoyFilter shop/extra is deleted again.",)
    assert _state(shop) == before


def _left_elsewhere(api, name, expires, **labels):
    """A filter that a run on another machine made, in a namespace of its own; the API lists all namespaces."""
    manifest = _manifest(Ref(FILTER.api_version, FILTER.kind, "bank", name), configPatches=[])
    manifest["metadata"]["labels"] = labels
    if expires:
        manifest["metadata"]["annotations"] = {EXPIRES: expires}
    api.put(manifest)


def test_heal_deletes_the_filter_of_a_run_that_died_on_another_machine(cluster, shop, ledger):
    """The object itself says that its time is over; no ledger here knows it."""
    before = _state(shop)
    _left_elsewhere(shop, "harness-old", "2026-01-01T00:00:00Z", **{CLAIM: "true"})
    [done] = heal(cluster, ledger).done
    assert "EnvoyFilter bank/harness-old" in done
    assert _state(shop) == before
    assert heal(cluster, ledger) == Healing()


def test_heal_keeps_the_filter_of_a_run_that_may_be_alive_on_another_machine(cluster, shop, ledger):
    """It is named with its expiry; so is one that does not say, and none that was never ours."""
    _left_elsewhere(shop, "harness-new", "2999-01-01T00:00:00Z", **{CLAIM: "true", "harness.mesh/run": "r-1"})
    _left_elsewhere(shop, "harness-odd", "soon", **{CLAIM: "true", "harness.mesh/run": "r-2"})
    _left_elsewhere(shop, "theirs", "")
    healing = heal(cluster, ledger)
    assert healing == Healing(claimed=healing.claimed)
    known, odd = healing.claimed
    assert "bank/harness-new is claimed by the run r-1 until 2999-01-01T00:00:00Z" in known
    assert "bank/harness-odd of the run r-2 does not say until when" in odd
    assert shop.writes() == []


def test_heal_says_what_it_could_not_look_for(cluster, shop, ledger):
    """Whoever may not list all namespaces does not learn that there is nothing."""
    shop.before = lambda request: _forbidden(shop) if request.path.endswith("v1alpha3/envoyfilters") else None
    [unseen] = heal(cluster, ledger).unseen
    assert "cannot be seen" in unseen


def test_heal_restores_the_rest_when_a_ledger_is_damaged(cluster, shop, ledger, tmp_path):
    """Then it names the damaged one; a new run does not begin on top of it."""
    before = _state(shop)
    _die(shop, _apply(cluster, ledger, RETRIES))
    (tmp_path / "ledger" / "bad.jsonl").write_text("3\n")
    healing = heal(cluster, ledger)
    assert len(healing.done) == 1
    assert "bad.jsonl, line 1, cannot be read" in healing.failed[0]
    assert _state(shop) == before
    with pytest.raises(HarnessError, match=r"bad\.jsonl"):
        _apply(cluster, ledger, RETRIES)


def test_heal_goes_on_past_an_object_that_it_cannot_restore(cluster, shop, ledger):
    """The others are restored now, that one the next time."""
    before = _state(shop)
    injection = _apply(cluster, ledger, *CHANGES)
    shop.before = lambda request: _forbidden(shop) if request.method == "DELETE" else None
    with (
        pytest.raises(
            HarnessError, match=r"Left behind: .*EnvoyFilter shop/extra is not restored: .*harness heal"
        ),
        injection,
    ):
        pass
    healing = heal(cluster, ledger)
    assert (healing.done, healing.kept, len(healing.failed)) == ((), (), 2)
    shop.before = lambda request: None
    assert heal(cluster, ledger).done[1:] == ("EnvoyFilter shop/extra is deleted again.",)
    assert _state(shop) == before
    assert heal(cluster, ledger) == Healing()


def test_heal_undoes_the_newest_first(cluster, shop, ledger):
    """Two dead runs changed the same field; only this order leads back to what was before both."""
    before = _state(shop)
    for run, attempts in (("b", 3), ("a", 4)):
        change = Patch(CATALOG, (Edit(("spec", "http", 0, "retries", "attempts"), attempts),))
        _die(shop, _apply(cluster, ledger, change, run=run))
    assert len(heal(cluster, ledger).done) == 2
    assert _state(shop) == before


def test_heal_removes_the_file_of_a_run_that_died_after_its_last_revert(cluster, shop, ledger, tmp_path):
    """Nothing is left to undo, so nothing is left to look at."""
    _die(shop, _apply(cluster, ledger, RETRIES))
    path = tmp_path / "ledger" / "run.jsonl"
    path.write_text(path.read_text() + '{"reverted": 0}\n')
    assert heal(cluster, ledger, elsewhere=False) == Healing()
    assert not path.exists()


def _die(api, injection):
    """Ends an injection as a crash does: nothing reverted, the claim gone."""
    api.before = lambda request: _forbidden(api)
    with pytest.raises(HarnessError, match="Left behind"), injection:
        pass
    api.before = lambda request: None


def test_heal_leaves_a_living_run_alone(cluster, shop, ledger):
    """Until its claim expires."""
    with _apply(cluster, ledger, RETRIES):
        healing = heal(cluster, ledger)
        assert healing == Healing(claimed=healing.claimed)
        assert "VirtualService shop/catalog is claimed by the run run until" in healing.claimed[0]
    with apply_changes(cluster, (RETRIES,), run="slow", ledger=ledger, expires_in=-1):
        assert len(heal(cluster, ledger).done) == 1
    assert shop.objects[CATALOG_PATH]["spec"]["http"][0]["retries"] == {"attempts": 2}


def _forbidden(api):
    return api.reply(403, {"kind": "Status", "reason": "Forbidden", "message": "no", "code": 403})


class _Outage:
    """From the write with this number on, every request is refused; that write may have its effect, unanswered."""

    def __init__(self, api, number, *, effect):
        self._api, self._left, self._effect = api, number, effect
        api.before, api.after = self.before, self.after

    def before(self, request):
        if self._left < 0:
            return _forbidden(self._api)
        if request.method != "GET":
            self._left -= 1
        return _forbidden(self._api) if self._left < 0 and not self._effect else None

    def after(self, _request):
        return self._api.reply(0) if self._left < 0 else None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(0, 13),
    effect=st.booleans(),
    changes=st.permutations(EVERY),
    count=st.integers(1, len(EVERY)),
    theirs=st.booleans(),
)
@example(number=1, effect=True, changes=EVERY, count=5, theirs=True)
@example(number=0, effect=True, changes=EVERY[::-1], count=1, theirs=False)
@example(number=1, effect=True, changes=EVERY[::-1], count=1, theirs=False)
@example(number=1, effect=False, changes=EVERY[::-1], count=1, theirs=False)
@example(number=2, effect=True, changes=EVERY[::-1], count=1, theirs=False)
def test_wherever_a_run_breaks_off_heal_gives_back_the_state_before(
    cluster, shop, ledger, *, number, effect, changes, count, theirs
):
    """Before, between or after any two writes, of the injection or of the revert; edits of others survive it."""
    _fill(shop)
    before = _state(shop)
    _Outage(shop, number, effect=effect)
    try:
        with _apply(cluster, ledger, *changes[:count]):
            pass
    except HarnessError:
        pass
    shop.before = shop.after = lambda request: None
    if theirs:
        catalog = deepcopy(shop.objects[CATALOG_PATH])
        catalog["spec"]["gateways"] = before[CATALOG_PATH]["spec"]["gateways"] = ["theirs"]
        shop.put(catalog)
    assert heal(cluster, ledger).failed == ()
    assert _state(shop) == before
    assert heal(cluster, ledger) == Healing()


_NAMES = st.sampled_from(("a", "b", "c"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("xyz", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spec=st.dictionaries(_NAMES, _VALUES, max_size=3),
    labels=st.dictionaries(_NAMES, st.text("xyz", max_size=3), max_size=2),
    edits=st.lists(
        st.builds(
            Edit,
            st.tuples(st.just("spec"), _NAMES, _NAMES) | st.tuples(st.just("spec"), _NAMES),
            _VALUES | st.just(ABSENT),
        ),
        min_size=1,
        max_size=3,
    ),
    number=st.integers(0, 10),
    effect=st.booleans(),
    theirs=st.one_of(st.none(), _VALUES),
)
def test_another_machine_gives_back_the_state_before_from_the_objects_alone(
    cluster, shop, tmp_path, *, spec, labels, edits, number, effect, theirs
):
    """Any object, any patch, any moment of the crash, and an edit by somebody else: only the kubeconfig is known."""
    _fill(shop)
    manifest = _manifest(CATALOG, **spec)
    if labels:
        manifest["metadata"]["labels"] = labels
    shop.put(manifest)
    before = _state(shop)
    _Outage(shop, number, effect=effect)
    try:
        patch = Patch(CATALOG, tuple(edits))
        ours = Ledger(tmp_path / uuid4().hex)
        with apply_changes(cluster, (patch, *CHANGES[1:3], EVERY[-1]), run="run", ledger=ours, expires_in=-1):
            pass
    except HarnessError:
        pass
    shop.before = shop.after = lambda request: None
    if theirs is not None:
        catalog = deepcopy(shop.objects[CATALOG_PATH])
        catalog["spec"]["theirs"] = before[CATALOG_PATH]["spec"]["theirs"] = theirs
        shop.put(catalog)
    assert heal(cluster, Ledger(tmp_path / uuid4().hex)).failed == ()
    assert _state(shop) == before
    assert heal(cluster, Ledger(tmp_path / uuid4().hex)) == Healing()


class _Visitor:
    """Somebody who edits the route and the Deployment just before the request with this number is served."""

    def __init__(self, api, number):
        self._api, self._left, self._serve = api, number, api.before
        api.before = self.before

    def before(self, request):
        self._left -= 1
        if self._left == -1:
            self.edit()
        return self._serve(request)

    def edit(self):
        self._left = -2
        for path, manifest in list(self._api.objects.items()):
            if path == CATALOG_PATH or manifest["kind"] == "Deployment":
                edited = deepcopy(manifest)
                edited["metadata"].setdefault("annotations", {})["visitor"] = "was here"
                self._api.put(edited)


def _with_workloads(api):
    """The state with payments, istiod, and the root that istiod tells."""
    _deployed(api)
    _deployed(api, 1, "istiod", "istio-system")
    metadata = {"name": "istio-ca-root-cert", "namespace": "shop"}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"root-cert.pem": "old"}})
    return _state(api)


def _with_agents(api):
    """Lets sidecars' agents tell that their certificates are good for some seconds."""
    serve = api.before

    def before(request):
        if ":15020/proxy/" in request.path:
            return api.reply(200, 'istio_agent_cert_expiry_seconds{resource_name="default"} 5\n')
        return serve(request)

    api.before = before


_FAULTS = (
    Abort(503, percent=30),
    Abort(500, percent=10, path="/items"),
    Delay(0.2, percent=40),
    Scale(0),
    Scale(1),
    RollingRestart(),
    BadConfig(Patch(CATALOG, (Edit(("spec", "http"), []), Edit(("metadata", "labels"), {"broken": "yes"})))),
    BadConfig(_manifest(Ref(CATALOG.api_version, CATALOG.kind, "shop", "another"), hosts=["x"], http=[])),
    CertificateExpiry(),
    RootRotation(),
)


@pytest.mark.parametrize("fault", _FAULTS, ids=str)
def test_each_of_these_faults_comes_into_force_and_goes_when_nothing_happens(cluster, shop, ledger, fault):
    """So that what follows is about faults, and not about refusals."""
    before = _with_workloads(shop)
    _with_agents(shop)
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=fault)
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=EVERYWHERE) as injection:
        assert len(injection.changes) == len(fault.changes(scene)) > 0
        assert _state(shop) != before
    assert _state(shop) == before


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(_FAULTS), min_size=1, max_size=3, unique_by=str),
    number=st.integers(0, 12),
    effect=st.booleans(),
    visit=st.integers(0, 30),
    here=st.booleans(),
)
@example(faults=[RootRotation()], number=3, effect=True, visit=18, here=False)
@example(faults=[RootRotation()], number=2, effect=True, visit=99, here=True)
def test_whatever_the_faults_heal_gives_back_the_state_before_and_what_somebody_edited(
    cluster, shop, tmp_path, *, faults, number, effect, visit, here
):
    """Broken off at any write, edited at any request, healed on this machine or on another one."""
    _fill(shop)
    before = _with_workloads(shop)
    _Outage(shop, number, effect=effect)
    _with_agents(shop)
    visitor = _Visitor(shop, visit)
    ledger = Ledger(tmp_path / uuid4().hex)
    with suppress(HarnessError), ExitStack() as stack:
        for fault in faults:
            scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=fault)
            stack.enter_context(
                inject(cluster, fault, scene, ledger=ledger, blast_radius=EVERYWHERE, expires_in=-1)
            )
    shop.before = shop.after = lambda request: None
    if visitor._left != -2:
        visitor.edit()
    assert heal(cluster, ledger if here else Ledger(tmp_path / uuid4().hex)).failed == ()
    for manifest in before.values():
        if manifest["kind"] in ("Deployment", "VirtualService"):
            manifest["metadata"].setdefault("annotations", {})["visitor"] = "was here"
    assert _state(shop) == before


def test_what_a_changed_object_says_is_written_with_the_change_and_goes_with_it(cluster, shop, ledger):
    """Owner, expiry, a hash of what was there, and the inverse: in one write each."""
    with apply_changes(cluster, (RETRIES,), run="run", ledger=ledger, expires_in=60) as injection:
        assert len(shop.writes()) == 1
        meta = shop.objects[CATALOG_PATH]["metadata"]
        assert meta["labels"] == {CLAIM: "true"}
        [(made,), broken] = marks(shop.objects[CATALOG_PATH])
        assert (made.owner, made.expires, broken) == (injection.name, injection.expires, ())
    assert len(shop.writes()) == 2
    assert "annotations" not in shop.objects[CATALOG_PATH]["metadata"]


def test_a_mark_that_names_no_owner_is_healed_and_one_that_cannot_be_read_is_named(cluster, shop, tmp_path):
    """What nobody claims is nobody's; what cannot be read has to be seen by a person."""
    with apply_changes(cluster, (RETRIES,), run="run", ledger=Ledger(tmp_path / "gone"), expires_in=60):
        route = shop.objects[CATALOG_PATH]
        [name] = route["metadata"]["annotations"]
        content = json.loads(route["metadata"]["annotations"][name])
        route["metadata"]["annotations"] = {name: json.dumps({**content, "owner": ""}), f"{name}x": "?"}
        healing = heal(cluster, Ledger(tmp_path / "here"))
    assert healing.done == ("VirtualService shop/catalog spec.http[0].retries is set back.",)
    assert "says in its annotation" in healing.failed[0]


def test_two_patches_of_one_object_by_runs_that_are_gone_are_undone_newest_first(cluster, shop, tmp_path):
    """Also by a machine that has never heard of them."""
    before = _state(shop)
    for number, attempts in enumerate((3, 4)):
        change = Patch(CATALOG, (Edit(("spec", "http", 0, "retries", "attempts"), attempts),))
        gone = apply_changes(
            cluster, (change,), run=f"run{number}", ledger=Ledger(tmp_path / str(number)), expires_in=-1
        )
        gone._entries.close()
    assert len(heal(cluster, Ledger(tmp_path / "here")).done) == 2
    assert _state(shop) == before


# roots


def _held(api, path=ROOT_PATH):
    return {name: base64.b64decode(text).decode() for name, text in api.objects[path]["data"].items()}


def test_a_rotated_root_is_another_one_of_the_same_kind_until_the_revert(cluster, shop, ledger):
    """Istiod finds it where the old one was; empty fields stay empty."""
    before, old = _state(shop), _held(shop)
    with _apply(cluster, ledger, Rotate(ROOT)):
        new = _held(shop)
        assert new["ca-cert.pem"] == new["root-cert.pem"] != old["ca-cert.pem"]
        assert new["key.pem"] == ""
        root = x509.load_pem_x509_certificate(new["ca-cert.pem"].encode())
        root.verify_directly_issued_by(root)
        key = load_pem_private_key(new["ca-key.pem"].encode(), None)
        assert key.public_key() == root.public_key()
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert root.subject.rfc4514_string() == "O=cluster.local"
    assert _state(shop) == before


@pytest.mark.parametrize("name", ["istio-ca-secret", "cacerts"])
def test_a_root_is_trusted_before_it_signs_and_the_old_one_still_after_it(cluster, shop, ledger, name):
    """Where istiod reads it, the one that signs first; on the way back the same steps."""
    ref = replace(ROOT, name=name)
    shop.put(OLD_ROOT.secret(name))
    field = "root-cert.pem" if name == "cacerts" else "ca-cert.pem"
    path, before, seen = ROOT_PATH.replace("istio-ca-secret", name), _state(shop), []
    with _apply(cluster, ledger, Rotate(ref, "trust", 0.3)) as injection:
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
    assert _state(shop) == before
    back, *_, last = [at for method, where, at in seen if (method, where) == ("PUT", path)]
    assert back - began < 0.3 <= last - back
    assert shop.objects[path]["data"] == OLD_ROOT.secret(name)["data"]


def test_a_root_that_nobody_trusts_yet_is_not_let_sign(cluster, shop, ledger):
    """Nothing is written."""
    with pytest.raises(
        HarnessError, match="No new root of Secret istio-system/istio-ca-secret is trusted yet"
    ):
        _apply(cluster, ledger, Rotate(ROOT, "sign"))
    assert shop.writes() == []


def test_no_key_of_a_root_is_written_down_outside_the_cluster(cluster, shop, ledger, tmp_path):
    """The ledger has names and hashes; the old root is in the cluster before the new one is."""
    with _apply(cluster, ledger, Rotate(ROOT)) as injection:
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
        _apply(cluster, ledger, change)
    assert shop.writes() == []
    written = "".join(path.read_text() for path in (tmp_path / "ledger").iterdir() if path.is_file())
    for key in OLD_ROOT.secret()["data"].values():
        assert not key or (key not in written and key not in str(refused.value))


def test_a_new_root_that_comes_late_does_not_get_in_when_the_old_one_is_healed(cluster, shop, ledger):
    """The write that got no answer names the version that it would replace."""
    before, late = _state(shop), []

    def hold_back(request):
        if request.method == "PUT" and request.path == ROOT_PATH:
            late.append(request)
            return _forbidden(shop)
        return None

    shop.before = hold_back
    with pytest.raises(HarnessError, match="may not change Secret"):
        _apply(cluster, ledger, Rotate(ROOT))
    shop.before = lambda request: None
    heal(cluster, ledger)
    assert shop.answer(late[0]).code == 409
    assert _state(shop) == before


def test_the_copy_of_a_root_stays_as_long_as_the_root_could_not_be_put_back(cluster, shop, tmp_path):
    """It is the only one there is; the next time all is well."""
    before = _state(shop)
    gone = apply_changes(cluster, (Rotate(ROOT),), run="run", ledger=Ledger(tmp_path / "gone"), expires_in=-1)
    gone._entries.close()
    shop.before = lambda request: _forbidden(shop) if request.method == "PUT" else None
    healing = heal(cluster, Ledger(tmp_path / "here"))
    assert "harness-keeps" in healing.failed[0]
    [copy] = [path for path in shop.objects if "harness-keeps" in path]
    assert _held(shop, copy)["ca-key.pem"] == OLD_ROOT.key
    shop.before = lambda request: None
    assert heal(cluster, Ledger(tmp_path / "here")).failed == ()
    assert _state(shop) == before


def test_a_root_that_somebody_else_has_put_there_meanwhile_stays(cluster, shop, ledger):
    """It is said, and the copy goes; so it is when the Secret was deleted."""
    theirs = Issuer("theirs").secret()
    with _apply(cluster, ledger, Rotate(ROOT)) as injection:
        shop.put(theirs)
        healing = injection.revert()
        assert "was given another root by somebody else meanwhile" in healing.kept[0]
    assert shop.objects[ROOT_PATH]["data"] == theirs["data"]
    with _apply(cluster, ledger, Rotate(ROOT)) as injection:
        del shop.objects[ROOT_PATH]
        assert "was deleted by somebody else meanwhile" in injection.revert().kept[0]
    assert not [path for path in shop.objects if "secrets" in path]


def test_other_fields_of_the_secret_that_others_edit_survive_a_rotation(cluster, shop, ledger):
    """Only the root comes back."""
    with _apply(cluster, ledger, Rotate(ROOT)):
        shop.objects[ROOT_PATH]["data"]["ca-crl.pem"] = "eA=="
    assert shop.objects[ROOT_PATH]["data"] == OLD_ROOT.secret()["data"] | {"ca-crl.pem": "eA=="}


def test_a_secret_without_a_root_is_refused_and_not_quoted(cluster, shop, ledger):
    """Nothing is written; so is one that is not there."""
    broken = OLD_ROOT.secret()
    broken["data"]["ca-cert.pem"] = broken["data"]["ca-key.pem"]
    shop.put(broken)
    with pytest.raises(HarnessError, match=r"holds no root in ca-cert.pem with its key") as refused:
        _apply(cluster, ledger, Rotate(ROOT))
    assert OLD_ROOT.key.splitlines()[1] not in str(refused.value)
    with pytest.raises(HarnessError, match="There is no Secret istio-system/cacerts"):
        _apply(cluster, ledger, Rotate(Ref("v1", "Secret", "istio-system", "cacerts")))
    assert shop.writes() == []


_VICTIM = """
import sys
from pathlib import Path
from harness.changes import change_from_json
from harness.cluster import Cluster
from harness.injection import apply_changes
from harness.ledger import Ledger
import json
kubeconfig, ledger, changes = sys.argv[1:]
with Cluster.connect(Path(kubeconfig)) as cluster:
    parsed = [change_from_json(change) for change in json.loads(changes)]
    with apply_changes(cluster, parsed, run="victim", ledger=Ledger(Path(ledger)), expires_in=60):
        pass
"""


@pytest.mark.parametrize("number", [1, 3, 4, 6])
def test_heal_undoes_what_a_killed_process_left(cluster, shop, ledger, tmp_path, number):
    """SIGKILL at a write of the injection (1 to 4) or of the revert (5 to 8): its claim dies with it."""
    before = _state(shop)
    claims = []
    arguments = [
        tmp_path / "kubeconfig",
        tmp_path / "ledger",
        json.dumps([to_json(change) for change in CHANGES]),
    ]

    def kill(_request):
        if len(shop.writes()) == number and not claims:
            claims.append(ledger.claims(cluster.identity))
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)

    shop.after = kill
    with subprocess.Popen([sys.executable, "-c", _VICTIM, *map(str, arguments)]) as victim:
        assert victim.wait(30) == -signal.SIGKILL
    assert claims == [{"victim"}]
    assert _state(shop) != before
    assert heal(cluster, ledger).failed == ()
    assert _state(shop) == before
    assert list((tmp_path / "ledger").iterdir()) == []


# what is put into pods, and faults that go on

QUIT = {"name": "harness-run-proxy-kill", "image": "proxy", "args": ["request", "POST", "quitquitquit"]}


def _attaching(api, *, served=True, ends=True):
    """An API server that has ephemeral containers, with a kubelet that says how they are."""

    def answer(request):
        path, _, below = request.path.rpartition("/")
        if request.path == "/api/v1" and request.method == "GET" and served:
            names = [("Pod", "pods"), ("Pod", "pods/ephemeralcontainers"), ("Namespace", "namespaces")]
            listed = [{"kind": kind, "name": name, "namespaced": kind == "Pod"} for kind, name in names]
            return api.reply(200, {"kind": "APIResourceList", "resources": listed})
        if below != "ephemeralcontainers":
            return None
        state = {"terminated": {"exitCode": 0}} if ends else {"running": {}}
        attached = request.body["spec"]["ephemeralContainers"]
        told = [{"name": one["name"], "state": state} for one in attached]
        body = {**request.body, "status": {**request.body["status"], "ephemeralContainerStatuses": told}}
        return api.reply(200, api._keep(path, body))

    api.before = answer


def test_a_container_that_was_put_into_a_pod_is_waited_for(cluster, shop, ledger, tmp_path):
    """Nobody can take it out; its undo is on record before."""
    _attaching(shop)
    pod = Ref("v1", "Pod", "shop", "payments-1")
    injection = _apply(cluster, ledger, Attach(pod, QUIT, 5.0))
    assert cluster.get(pod)["spec"]["ephemeralContainers"] == [QUIT]
    assert any('"Outlast"' in path.read_text() for path in (tmp_path / "ledger").rglob("*") if path.is_file())
    [said] = injection.revert().done
    assert said == (
        "Container harness-run-proxy-kill of Pod shop/payments-1 has ended; it is listed until the pod goes."
    )
    assert ledger.pending(cluster.identity) == ()


def test_a_container_that_does_not_end_is_said_and_stays_on_record(cluster, shop, ledger, monkeypatch):
    """With what to do about it."""
    monkeypatch.setattr("harness.healing._MARGIN", 0.1)
    _attaching(shop, ends=False)
    pod = Ref("v1", "Pod", "shop", "payments-1")
    injection = _apply(cluster, ledger, Attach(pod, QUIT, 0.1))
    [said] = injection.revert().failed
    assert "runs still; delete the pod to be rid of it" in said
    cluster.delete(pod)
    assert injection.end().failed == ()
    assert heal(cluster, ledger).failed == ()


def test_a_crash_before_a_container_was_put_leaves_nothing_to_wait_for(cluster, shop, ledger):
    """The record came first."""
    _attaching(shop)
    pod = Ref("v1", "Pod", "shop", "payments-1")
    with ledger.open("run", cluster.identity) as entries:
        change = Attach(pod, QUIT, 60.0)
        entries.record("run/1", change, undo(change, cluster.get(pod)), expires=0.0)
    assert heal(cluster, ledger).done == (
        "Container harness-run-proxy-kill was never put into Pod shop/payments-1.",
    )


@pytest.mark.parametrize("fault", [ProxyKill(), Stress(seconds=1)], ids=str)
def test_a_cluster_without_ephemeral_containers_is_refused_before_anything(cluster, shop, fault):
    """In the resolve phase, with the reason."""
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=fault)
    with pytest.raises(HarnessError, match=r"cannot be had .* the cluster has no ephemeral containers"):
        BlastRadius().check(
            fault, replace(scene, pods=tuple(replace(pod, sidecar=True) for pod in scene.pods))
        )
    assert shop.writes() == []


def test_a_fault_that_rises_changes_its_own_object_and_is_gone_with_it(cluster, shop, ledger):
    """One record for all of its steps; a step whose answer was lost is harmless."""
    before, rising = shop.state(), Abort(503, 30, ramp=9)
    scene = _scene(cluster)
    injection = inject(cluster, rising, scene, ledger=ledger, blast_radius=WIDE)
    for time_ in (1, 9, 9):
        injection.go_on(rising.further(scene, scene.pods, time_))
    [created] = [item for path, item in shop.state().items() if "envoyfilters" in path]
    assert created["spec"] == Abort(503, 30).changes(scene)[0].manifest["spec"]
    assert len(injection.changes) == 1
    assert injection.revert().failed == ()
    assert shop.state() == before


def test_kills_that_follow_are_on_record_like_the_first(cluster, shop, ledger):
    """Each of them belongs to its controller."""
    scene, fault = _scene(cluster), PodKill(every=5)
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=BlastRadius(20)) as injection:
        injection.go_on(fault.further(scene, scene.pods, 1))
        assert [type(change) for change in injection.changes][:1] == [Delete]
    assert sum(request.method == "DELETE" for request in shop.writes()) >= 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 14), effect=st.booleans(), theirs=st.booleans())
def test_wherever_a_fault_that_goes_on_breaks_off_heal_gives_back_the_state_before(
    cluster, shop, ledger, *, number, effect, theirs
):
    """One field of somebody's object that is changed again and again, and an object of our own that is."""
    _fill(shop)
    before = _state(shop)
    _Outage(shop, number, effect=effect)
    own = Create(_manifest(FILTER, configPatches=[]))
    try:
        with _apply(cluster, ledger, own, Patch(CATALOG, (Edit(("spec", "gateways"), ["0"]),))) as injection:
            for step in ("1", "2"):
                moved = Patch(FILTER, (Edit(("spec",), {"configPatches": [step]}),))
                injection.go_on((moved, Patch(CATALOG, (Edit(("spec", "gateways"), [step]),))))
    except HarnessError:
        pass
    shop.before = shop.after = lambda request: None
    if theirs:
        catalog = deepcopy(shop.objects[CATALOG_PATH])
        catalog["spec"]["exportTo"] = before[CATALOG_PATH]["spec"]["exportTo"] = ["theirs"]
        shop.put(catalog)
    assert heal(cluster, ledger).failed == ()
    assert _state(shop) == before
    assert heal(cluster, ledger) == Healing()
