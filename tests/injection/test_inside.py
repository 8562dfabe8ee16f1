"""Containers that are put into pods: they are waited for, as nobody can take them out."""

from dataclasses import replace

import pytest
from stock import apply_to

from harness.changes import Attach, Ref, undo
from harness.errors import HarnessError
from harness.faults import BlastRadius, ProxyKill, Stress, Target
from harness.injection import heal, resolve

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
    injection = apply_to(cluster, ledger, Attach(pod, QUIT, 5.0))
    assert cluster.get(pod)["spec"]["ephemeralContainers"] == [QUIT]
    assert any('"Outlast"' in path.read_text() for path in (tmp_path / "ledger").rglob("*") if path.is_file())
    [said] = injection.revert().done
    assert said == (
        "Container harness-run-proxy-kill of Pod shop/payments-1 has ended; it is listed until the pod goes."
    )
    assert ledger.pending(cluster.identity) == ()


def test_a_container_that_does_not_end_is_said_and_stays_on_record(cluster, shop, ledger, monkeypatch):
    """With what to do about it."""
    monkeypatch.setattr("harness.ephemeral._MARGIN", 0.1)
    _attaching(shop, ends=False)
    pod = Ref("v1", "Pod", "shop", "payments-1")
    injection = apply_to(cluster, ledger, Attach(pod, QUIT, 0.1))
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
