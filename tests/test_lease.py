"""One run per mesh at a time, whatever the timing."""

import threading
import time

import pytest
from support import eventually

from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.injection import heal
from harness.lease import LEASE, Lease
from harness.ledger import Ledger


def test_of_two_runs_the_second_is_told_who_is_at_work(kube_api, cluster, tmp_path):
    """Also when it runs on another machine, with a ledger of its own; afterwards the mesh is free."""
    before = kube_api.state()
    with Lease(cluster, Ledger(tmp_path / "here"), "first"):
        with pytest.raises(HarnessError, match=r"Another run is at work .*@.*, run first, since 2"):
            Lease(cluster, Ledger(tmp_path / "there"), "second")
        assert list((tmp_path / "there").iterdir()) == []
    assert kube_api.state() == before
    with Lease(cluster, Ledger(tmp_path / "there"), "second"):
        pass


@pytest.mark.parametrize("run", ["next", "alive"])
def test_a_lease_that_somebody_creates_between_looking_and_creating_is_theirs(
    kube_api, cluster, write_kubeconfig, tmp_path, run
):
    """Even if both call their run the same."""
    ledger = Ledger(tmp_path / "here")
    with Cluster.connect(write_kubeconfig(kube_api.url)) as faster:
        theirs = []

        def overtake(request):
            if request.method == "POST" and "leases" in request.path:
                kube_api.before = lambda request: None
                theirs.append(Lease(faster, Ledger(tmp_path / "there"), "alive"))

        kube_api.before = overtake
        with pytest.raises(HarnessError, match=r"Another run is at work .* run alive"):
            Lease(cluster, ledger, run)
        assert cluster.get(LEASE) is not None
        assert not ledger.pending(cluster.identity)
        theirs[0].release()
    assert cluster.get(LEASE) is None


def test_a_lease_that_was_there_for_a_moment_is_no_error(kube_api, cluster, tmp_path):
    """Its holder ended between our creation, which it foiled, and our next look."""

    def refuse_once(request):
        if request.method == "POST" and "leases" in request.path:
            kube_api.before = lambda request: None
            return kube_api.reply(409, {"kind": "Status", "reason": "AlreadyExists"})
        return None

    kube_api.before = refuse_once
    with Lease(cluster, Ledger(tmp_path / "ledger"), "run"):
        assert cluster.get(LEASE)
    assert cluster.get(LEASE) is None


def test_a_lease_whose_creation_got_no_answer_stays_in_the_ledger(kube_api, write_kubeconfig, tmp_path):
    """The server may create it yet; then it is deleted by whoever heals."""
    before, go, ledger = kube_api.state(), threading.Event(), Ledger(tmp_path / "ledger")

    def hold(request):
        if request.method == "POST" and "leases" in request.path:
            assert go.wait(20)

    kube_api.before = hold
    with Cluster.connect(write_kubeconfig(kube_api.url), timeout=0.5) as hurried:
        with pytest.raises(HarnessError, match="did not answer"):
            Lease(hurried, ledger, "run")
        assert ledger.pending(hurried.identity)
        go.set()
        eventually(lambda: kube_api.state() != before)
        kube_api.before = lambda request: None
        assert heal(hurried, ledger, elsewhere=False).done == (f"{LEASE} is deleted again.",)
    assert kube_api.state() == before


def test_a_lease_that_a_dead_run_of_this_machine_left_goes_when_it_is_healed(kube_api, cluster, tmp_path):
    """Nobody waits for it to expire."""
    before = kube_api.state()
    left = Lease(cluster, Ledger(tmp_path / "ledger"), "dead")
    left._entries.close()
    assert heal(cluster, Ledger(tmp_path / "ledger"), elsewhere=False).done == (f"{LEASE} is deleted again.",)
    assert kube_api.state() == before


def _age(api, seconds):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - seconds))
    [path] = [path for path in api.objects if "leases" in path]
    held = api.objects[path]
    api.put({**held, "spec": {**held["spec"], "renewTime": stamp}})


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_lease_that_expired_is_taken_over_and_its_holder_notices(
    kube_api, cluster, tmp_path, seconds, monkeypatch
):
    """Also one from a clock that is an hour ahead: what counts is that nobody renews it."""
    monkeypatch.setattr("harness.lease._EVERY", 0.0)
    with Lease(cluster, Ledger(tmp_path / "there"), "lost") as lost:
        _age(kube_api, seconds)
        with Lease(cluster, Ledger(tmp_path / "here"), "next", watch=0.3):
            with pytest.raises(HarnessError, match=r"lost the mesh: .* run next"):
                lost.renew()
            lost.release()
            assert cluster.get(LEASE)["metadata"]["annotations"]["harness.mesh/owner"] == "next"


def test_a_lease_that_is_renewed_while_it_is_watched_is_left_to_its_holder(kube_api, cluster, tmp_path):
    """Clocks differ between machines; a renewal is what tells."""
    with Lease(cluster, Ledger(tmp_path / "there"), "alive"):
        _age(kube_api, 3600)
        gets = []

        def renew(request):
            gets.append(request)
            if request.method == "GET" and len(gets) == 2:
                _age(kube_api, 3599)

        kube_api.before = renew
        with pytest.raises(HarnessError, match="run alive"):
            Lease(cluster, Ledger(tmp_path / "here"), "next", watch=5.0)


def test_a_lease_is_renewed_when_it_is_time(kube_api, cluster, tmp_path, monkeypatch):
    """And not at every look."""
    with Lease(cluster, Ledger(tmp_path / "ledger"), "run") as lease:
        made = cluster.get(LEASE)["metadata"]["resourceVersion"]
        lease.renew()
        assert cluster.get(LEASE)["metadata"]["resourceVersion"] == made
        monkeypatch.setattr("harness.lease._EVERY", 0.0)
        lease.renew()
        assert cluster.get(LEASE)["metadata"]["resourceVersion"] != made
