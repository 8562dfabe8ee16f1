"""What is refused before the first write, and what the cluster refuses."""

import threading
import time

import pytest
from answers import refusal
from stock import CATALOG, CHANGES, FILTER, RETRIES, WIDE, apply_to, manifest_of, scene_of, state

from harness.changes import Eviction, Ref
from harness.errors import HarnessError
from harness.faults import Abort, BadConfig, BlastRadius, Evict
from harness.injection import inject
from harness.ledger import Ledger


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
    with inject(cluster, Evict(2), scene_of(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        assert injection.refused == {Ref("v1", "Pod", "shop", "payments-2"): "budget b forbids"}
        assert injection.changes == (Eviction(Ref("v1", "Pod", "shop", "payments-1")),)
        assert [record.change for record in ledger.pending(cluster.identity)] in ([], list(injection.changes))
    assert ledger.pending(cluster.identity) == ()


def test_without_any_eviction_there_is_no_fault(cluster, shop, ledger):
    """The error has the budget's words, and nothing is left on record."""
    _budget(shop, "payments-1", "payments-2")
    with pytest.raises(HarnessError, match=r"No pod may be evicted.*payments-1: budget b forbids"):
        inject(cluster, Evict(2), scene_of(cluster), ledger=ledger, blast_radius=WIDE)
    assert ledger.pending(cluster.identity) == ()


def test_a_change_that_may_be_refused_is_noted_and_another_is_an_error(cluster, shop, ledger):
    """Nothing is left of either."""
    before = state(shop)
    shop.before = lambda request: (
        shop.reply(422, refusal(422, "Invalid", "spec.http: empty"))
        if request.method in ("POST", "PUT")
        else None
    )
    bad = BadConfig(manifest_of(FILTER, configPatches=[]))
    with inject(cluster, bad, scene_of(cluster), ledger=ledger, blast_radius=WIDE) as injection:
        assert injection.changes == ()
        assert "spec.http: empty" in injection.refused[FILTER]
    with inject(
        cluster, BadConfig(RETRIES), scene_of(cluster), ledger=ledger, blast_radius=WIDE
    ) as injection:
        assert list(injection.refused) == [CATALOG]
    with pytest.raises(HarnessError, match=r"spec\.http: empty"):
        inject(cluster, Abort(503, 30), scene_of(cluster), ledger=ledger, blast_radius=WIDE)
    assert state(shop) == before
    assert ledger.pending(cluster.identity) == ()


def test_a_fault_beyond_the_blast_radius_is_refused_before_the_first_write(cluster, shop, ledger):
    """Pods, as every other limit."""
    with pytest.raises(HarnessError, match="allows 1"):
        inject(
            cluster, Abort(503, 30), scene_of(cluster), ledger=ledger, blast_radius=BlastRadius(max_pods=1)
        )
    assert shop.writes() == []


def test_the_blast_radius_is_that_of_all_faults_in_force_together(cluster, shop, ledger):
    """Each of the two alone would stay within it; the first one gone, the second may be."""
    scene, half = scene_of(cluster), BlastRadius(max_pods=2, max_percent=60)
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
    with apply_to(cluster, ledger, CHANGES[1]):
        with pytest.raises(HarnessError, match=r"Another run is at work .*: run;"):
            apply_to(cluster, other, RETRIES, run="other")
        with apply_to(cluster, ledger, RETRIES, run="run-policy"):
            pass
    with apply_to(cluster, other, RETRIES, run="other"):
        pass


def test_a_ledger_that_cannot_be_written_stops_everything_before_the_first_write(cluster, shop, tmp_path):
    """What could not be undone is not done."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot be written"):
        apply_to(cluster, Ledger(tmp_path / "file"), *CHANGES)
    assert shop.writes() == []


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
            outcomes.append(apply_to(cluster, Ledger(tmp_path / "ledger"), change, run=run))
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
