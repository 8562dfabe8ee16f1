"""Every fault through real Envoys: it bites, the control shows nothing, and it is gone after the revert."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

import httpx
import pytest
from catalog import BUDGET, CATALOG, WIDE, every_pod, ready, specs
from live import steadily
from support import eventually, query

from harness import (
    Abort,
    BadConfig,
    ControlPlaneOutage,
    Delay,
    Disconnect,
    Evict,
    HarnessError,
    NodeDrain,
    PodKill,
    ProxyKill,
    RollingRestart,
    Scale,
    Stress,
    Target,
)
from harness.changes import Edit, Patch, Ref, as_written
from harness.injection import inject, resolve

pytestmark = pytest.mark.e2e
BROKEN = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "broken", "namespace": "shop"},
    "spec": {"hosts": ["catalog"], "http": [{"retries": {"attempts": 3}}]},
}


@pytest.fixture
def in_force(cluster, ledger):
    """Puts a fault in force for as long as a block lasts; afterwards every spec is what it was, to the byte."""

    @contextlib.contextmanager
    def put(fault, radius=WIDE):
        eventually(lambda: len(ready(cluster)) == 3)
        before = specs(cluster)
        scene = resolve(cluster, CATALOG, run="bites", seed=1, fault=fault)
        with inject(cluster, fault, scene, ledger=ledger, blast_radius=radius) as injection:
            yield injection
        assert specs(cluster) == before
        eventually(lambda: len(ready(cluster)) == 3)

    return put


@pytest.fixture
def ask(cluster):
    """Asks through the sidecar of frontend: so many answers, each with its seconds."""
    frontend = cluster.pods("shop", {"app": "frontend"})[0]
    with httpx.Client(proxy=f"http://{frontend.ip}:15001", trust_env=False, timeout=10) as caller:

        def ask(times=1, path="/items", host="catalog", **headers):
            answers = []
            for _ in range(times):
                began = time.monotonic()
                answer = caller.get(f"http://{host}:8080{path}", headers=headers)
                answers.append((answer, time.monotonic() - began))
            return answers

        yield ask


def _codes(answers):
    return Counter(answer.status_code for answer, _ in answers)


def _statuses(answers):
    return Counter(answer.headers.get("grpc-status", "") for answer, _ in answers)


def _slow(answers, seconds):
    return sum(spent >= seconds for _, spent in answers)


def _counted(victim, **labels):
    """Requests that the sidecars of catalog have counted."""
    every = {"reporter": "destination", "destination_app": "catalog"} | labels
    matchers = ",".join(f'{name}=~"{value}"' for name, value in every.items())
    return query(victim, f"istio_requests_total{{{matchers}}}")


def test_a_delay_holds_its_share_of_the_requests(in_force, ask, victim):
    """About 40 % wait, the others do not, and the callee flags them DI."""
    assert _slow(ask(20), 0.15) == 0
    assert _counted(victim, response_flags="DI") == []
    with in_force(Delay(0.15, percent=40)):
        eventually(lambda: _slow(ask(), 0.15))
        assert 8 <= _slow(ask(50), 0.15) <= 33
        assert eventually(lambda: _counted(victim, response_flags="(.*,)?DI(,.*)?"))
    eventually(lambda: _slow(ask(5), 0.15) == 0)
    assert _slow(ask(20), 0.15) == 0


def test_a_delay_varies_within_its_jitter(in_force, ask):
    """Every request waits for a time between the two ends, and not for the same."""
    with in_force(Delay(0.15, jitter=0.1)):
        steadily(lambda: _slow(ask(4), 0.05) == 4)
        spent = sorted(seconds for _, seconds in ask(20))
    assert spent[0] >= 0.05
    assert spent[-1] - spent[0] > 0.06
    assert spent[len(spent) // 2] < 0.25


def test_a_fault_that_is_aimed_at_a_path_and_a_header_hits_nobody_else(in_force, ask):
    """Both have to match."""
    aimed = Abort(418, path="/items", headers={"x-user": "alice"})
    with in_force(aimed):
        steadily(lambda: _codes(ask(5, **{"x-user": "alice"})) == {418: 5})
        assert _codes(ask(10, **{"x-user": "alice"})) == {418: 10}
        assert _codes(ask(10, **{"x-user": "bob"})) == {200: 10}
        assert _codes(ask(10, path="/other", **{"x-user": "alice"})) == {200: 10}
    eventually(lambda: _codes(ask(**{"x-user": "alice"})) == {200: 1})


def test_an_abort_with_a_grpc_status_answers_grpc_requests_only(in_force, ask, victim):
    """Their status is in the headers of the answer; others never notice."""
    grpc = {"content-type": "application/grpc"}
    with in_force(Abort(grpc_status=7)):
        eventually(lambda: _statuses(ask(5, **grpc)) == {"7": 5})
        assert _statuses(ask(5)) == {"": 5}
        assert eventually(lambda: _counted(victim, response_flags="FI", grpc_response_status="7"))
    eventually(lambda: "7" not in _statuses(ask(5, **grpc)))


@pytest.fixture
def unrouted(cluster):
    """The Service recommendations without the shop's route to it."""
    ref = Ref("networking.istio.io/v1", "VirtualService", "shop", "recommendations")
    found = cluster.get(ref)
    cluster.delete(ref, uid=found["metadata"]["uid"])
    yield
    cluster.create(as_written(found))


@pytest.mark.usefixtures("unrouted")
def test_a_fault_at_the_caller_is_put_on_a_route_of_our_own_where_there_is_none(cluster, ledger, ask, victim):
    """The caller counts it; where the route carries the policies under test, it is refused."""
    target = Target("recommendations", "shop")
    fault = Abort(418, percent=100, at="caller")
    scene = resolve(cluster, target, run="caller", seed=1, fault=fault)
    before = specs(cluster)
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=WIDE) as injection:
        assert [change.ref.kind for change in injection.changes] == ["VirtualService"]
        steadily(lambda: _codes(ask(host="recommendations", path="/today")) == {418: 1})
        every = ",".join(f'{name}="{value}"' for name, value in fault.evidence(scene).selector_hit.items())
        assert eventually(lambda: query(victim, f"istio_requests_total{{{every}}}"))
    assert specs(cluster) == before
    eventually(lambda: _codes(ask(host="recommendations", path="/today")) == {200: 1})
    scene = resolve(cluster, CATALOG, run="caller", seed=1, fault=fault)
    with pytest.raises(HarnessError, match="carries retries and timeout, which would never see abort 418"):
        fault.changes(scene)


def test_a_share_of_the_pods_is_killed(in_force, cluster):
    """Two of three, and not the third."""
    before = ready(cluster)
    with in_force(PodKill(percent=70)):
        pass
    assert len(ready(cluster) & before) == 1


def test_an_evicted_pod_is_replaced(in_force, cluster):
    """One UID changes, the others stay."""
    before = ready(cluster)
    with in_force(Evict()) as injection:
        assert injection.refused == {}
    eventually(lambda: len(ready(cluster) & before) == 2 and len(ready(cluster)) == 3)


def test_a_budget_stops_evictions_and_is_named(in_force, cluster):
    """Where it allows none nothing is done; where it allows one of two, the other is said to be refused."""
    budget = cluster.create(BUDGET)
    ref = Ref("policy/v1", "PodDisruptionBudget", "shop", "catalog")
    try:
        eventually(lambda: cluster.get(ref).get("status", {}).get("expectedPods") == 3)
        before = ready(cluster)
        with (
            pytest.raises(HarnessError, match=r"No pod may be evicted.*disruption budget catalog needs 3"),
            in_force(Evict(2)),
        ):
            pass
        assert every_pod(cluster) == before
        cluster.patch(ref, lambda now: {**now, "spec": {**budget["spec"], "minAvailable": 2}})
        eventually(lambda: cluster.get(ref)["status"].get("disruptionsAllowed") == 1)
        with in_force(Evict(2)) as injection:
            assert len(injection.refused) == len(injection.changes) == 1
            assert "disruption budget catalog" in next(iter(injection.refused.values()))
    finally:
        cluster.delete(ref)


def test_a_drained_node_loses_the_pods_and_takes_none_until_the_revert(in_force, cluster):
    """Cordoned while in force; the pods come back on other nodes."""
    scene = resolve(cluster, CATALOG, run="look", seed=1)
    fault = NodeDrain()
    node = next(change.ref for change in fault.changes(scene) if change.ref.kind == "Node")
    gone = {pod.uid for pod in fault.pods(scene)}
    with in_force(fault):
        assert cluster.get(node)["spec"]["unschedulable"] is True
        eventually(lambda: len(ready(cluster)) == 3 and not every_pod(cluster) & gone)
        assert all(pod.node != node.name for pod in cluster.pods("shop", CATALOG.labels))
    assert not (cluster.get(node).get("spec") or {}).get("unschedulable")


def _counts(cluster):
    """How often each container of the pods was started again, by pod and container."""
    return {pod.uid: dict(pod.restarts) for pod in cluster.pods("shop", CATALOG.labels)}


def test_killed_proxies_come_back_and_their_programs_never_notice(in_force, cluster, ask):
    """Two of three restart counts rise by one, none of the programs'; the pods are the same."""
    before = _counts(cluster)
    eventually(lambda: _codes(ask(5)) == {200: 5})
    assert _counts(cluster) == before
    fault = ProxyKill(2)
    scene = resolve(cluster, CATALOG, run="look", seed=1)
    victims = {pod.uid for pod in fault.pods(scene)}
    after = {
        uid: counts | {"istio-proxy": counts["istio-proxy"] + (uid in victims)}
        for uid, counts in before.items()
    }
    with in_force(fault) as injection:
        assert len(injection.changes) == 2
        eventually(lambda: _counts(cluster) == after)
    assert _counts(cluster) == after
    steadily(lambda: _codes(ask(5)) == {200: 5})


def test_stress_runs_in_a_pod_until_it_has_ended(in_force, cluster, ask):
    """The revert comes back when it is over; nobody else is touched, and the program answers all the time."""
    name = "harness-bites-stress"
    fault = Stress(cpu=1, memory_mib=16, seconds=4)
    with in_force(fault):
        pods = eventually(
            lambda: [pod for pod in cluster.pods("shop", CATALOG.labels) if name in pod.attached]
        )
        assert len(pods) == 1
        assert _codes(ask(10)) == {200: 10}
    assert not any(pod.attached for pod in cluster.pods("shop", CATALOG.labels))
    told = cluster.get(pods[0].ref)["status"]["ephemeralContainerStatuses"]
    assert [one["state"]["terminated"]["exitCode"] for one in told if one["name"] == name] == [0]


def test_a_rolling_restart_replaces_every_pod_and_the_revert_does_so_again(in_force, cluster, ask):
    """No request fails meanwhile."""
    before = ready(cluster)
    with in_force(RollingRestart()):
        eventually(lambda: len(ready(cluster)) == 3 and not every_pod(cluster) & before)
        between = ready(cluster)
    eventually(lambda: len(ready(cluster)) == 3 and not every_pod(cluster) & between)
    assert _codes(ask(20)) == {200: 20}


def test_a_workload_scaled_to_zero_is_gone_until_the_revert(in_force, cluster, ask):
    """Its callers get 503, then answers again."""
    with in_force(Scale(0)):
        eventually(lambda: every_pod(cluster) == set())
        assert _codes(ask(3)) == {503: 3}
    eventually(lambda: _codes(ask()) == {200: 1})


def test_without_a_control_plane_configuration_is_frozen(in_force, cluster, ask, tmp_path):
    """A policy that is made meanwhile is in force only afterwards."""
    with in_force(ControlPlaneOutage()):
        eventually(lambda: every_pod(cluster, "istiod", "istio-system") == set())
        scene = resolve(cluster, CATALOG, run="meanwhile", seed=1)
        cluster.create(Abort(418).changes(scene)[0].manifest)
        assert _codes(ask(150)) == {200: 150}
        cluster.delete(Abort(418).changes(scene)[0].ref)
    eventually(lambda: len(ready(cluster, "istiod", "istio-system")) == 1)


def test_a_disconnected_caller_is_refused_and_others_are_not(in_force, cluster, ask, victim):
    """Frontend is answered 403, and the callee counts that for this source."""
    assert _codes(ask(5)) == {200: 5}
    with in_force(Disconnect(Target("frontend", "shop"))):
        steadily(lambda: _codes(ask(5)) == {403: 5})
        assert _codes(ask(10)) == {403: 10}
        assert eventually(lambda: _counted(victim, response_code="403", source_app="frontend"))
    eventually(lambda: _codes(ask()) == {200: 1})


def test_a_broken_object_is_refused_by_the_mesh_and_that_is_said(in_force, cluster):
    """Nothing was changed."""
    with in_force(BadConfig(BROKEN)) as injection:
        assert injection.changes == ()
        assert "http" in next(iter(injection.refused.values()))
        assert cluster.get(Ref("networking.istio.io/v1", "VirtualService", "shop", "broken")) is None


def test_a_broken_object_that_is_admitted_leaves_requests_without_a_cluster(in_force, ask, victim):
    """A subset that nobody defines: the caller's own sidecar flags NC."""
    ref = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
    astray = Patch(ref, (Edit(("spec", "http", 0, "route", 0, "destination", "subset"), "typo"),))
    with in_force(BadConfig(astray)):
        steadily(lambda: _codes(ask()) == {503: 1})
        seen = 'istio_requests_total{reporter="source",response_flags=~"NC|NR"}'
        assert eventually(lambda: query(victim, seen))
    eventually(lambda: _codes(ask(3)) == {200: 3})
