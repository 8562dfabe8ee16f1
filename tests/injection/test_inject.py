"""Injections: undo before do, and everything is as it was when they are reverted."""

import json

import pytest
from stock import CATALOG, CATALOG_PATH, CHANGES, RETRIES, WIDE, apply_to, deployed, scene_of, state

from harness.changes import Delete, Patch, Ref
from harness.errors import HarnessError
from harness.faults import Abort, BlastRadius, Nothing, PodKill, Scale, Target
from harness.injection import EXPIRES, Healing, inject, resolve


def test_a_scale_is_in_force_until_it_is_reverted(cluster, shop, ledger):
    """And the objects are what they were."""
    deployed(shop)
    before = state(shop)
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=Scale(0))
    with inject(cluster, Scale(0), scene, ledger=ledger, blast_radius=WIDE):
        deployment = cluster.get(scene.deployments[0].ref)
        assert deployment["spec"]["replicas"] == 0
    assert state(shop) == before


def test_abort_is_in_force_until_it_is_reverted(cluster, shop, ledger):
    """The filter is there, marked with its owner and its lease; then everything is as before."""
    before = state(shop)
    with inject(cluster, Abort(503, 30), scene_of(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        [created] = [kept for kept in shop.objects.values() if kept["kind"] == "EnvoyFilter"]
        assert created["metadata"]["annotations"]["harness.mesh/owner"] == injection.name
        assert created["metadata"]["annotations"][EXPIRES].endswith("Z")
        assert [change.ref.kind for change in injection.changes] == ["EnvoyFilter"]
    assert state(shop) == before
    assert ledger.pending(cluster.identity) == ()


def test_a_killed_pod_is_left_to_its_controller(cluster, shop, ledger):
    """It is deleted without grace, by its UID, and nothing is put back."""
    injection = inject(cluster, PodKill(), scene_of(cluster), ledger=ledger, blast_radius=WIDE)
    [request] = shop.writes()
    assert (request.method, request.body["gracePeriodSeconds"]) == ("DELETE", 0)
    assert request.body["preconditions"]["uid"] in ("u1", "u2")
    [done] = injection.revert().done
    assert "is replaced by its controller" in done


def test_nothing_writes_nothing(cluster, shop, ledger):
    """The control run goes the same way and leaves no trace."""
    with inject(cluster, Nothing(), scene_of(cluster), ledger=ledger, blast_radius=WIDE) as injection:
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
    injection = apply_to(cluster, ledger, *CHANGES)
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
    before = state(shop)
    injection = apply_to(cluster, ledger, *CHANGES)
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
    assert state(shop) == before


def test_reverting_twice_is_harmless(cluster, shop, ledger):
    """The second time there is nothing to do."""
    injection = apply_to(cluster, ledger, *CHANGES)
    injection.revert()
    shop.requests.clear()
    assert injection.revert() == Healing()
    assert shop.writes() == []


def test_an_error_inside_the_with_statement_reverts(cluster, shop, ledger):
    """Whatever happens while the fault is in force."""
    before = state(shop)

    def fail():
        with apply_to(cluster, ledger, *CHANGES):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert state(shop) == before


def test_a_change_that_fails_reverts_those_before_it(cluster, shop, ledger):
    """Half a fault is never in force; the error says what went wrong."""
    before = state(shop)
    with pytest.raises(HarnessError, match="no VirtualService shop/gone"):
        apply_to(
            cluster,
            ledger,
            *CHANGES,
            Patch(Ref(CATALOG.api_version, CATALOG.kind, "shop", "gone"), RETRIES.edits),
        )
    assert state(shop) == before
    assert ledger.pending(cluster.identity) == ()


def test_a_fault_that_rises_changes_its_own_object_and_is_gone_with_it(cluster, shop, ledger):
    """One record for all of its steps; a step whose answer was lost is harmless."""
    before, rising = shop.state(), Abort(503, 30, ramp=9)
    scene = scene_of(cluster)
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
    scene, fault = scene_of(cluster), PodKill(every=5)
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=BlastRadius(20)) as injection:
        injection.go_on(fault.further(scene, scene.pods, 1))
        assert [type(change) for change in injection.changes][:1] == [Delete]
    assert sum(request.method == "DELETE" for request in shop.writes()) >= 1
