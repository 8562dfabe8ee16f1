"""Deployments, ReplicaSets, pods and endpoint slices, without any process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper import Cluster, deployment

from harness.localmesh.api.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    PODS,
    REPLICA_SETS,
    SERVICES,
)

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
}


@pytest.fixture
def cluster():
    """An empty cluster."""
    return Cluster()


def test_a_deployment_becomes_as_many_pods_as_it_asks_for(cluster):
    """One ReplicaSet with the template's hash, and its pods carry the hash too."""
    cluster.store.create(DEPLOYMENTS, deployment(3))
    cluster.settle()
    (replica_set,) = cluster.store.list(REPLICA_SETS)
    hashed = replica_set["metadata"]["labels"]["pod-template-hash"]
    assert len(cluster.pods(**{"pod-template-hash": hashed})) == 3
    status = cluster.store.get(DEPLOYMENTS, "default", "web")["status"]
    assert (status["readyReplicas"], status["updatedReplicas"]) == (3, 3)
    assert status["conditions"][0] | {"status": "True"} == status["conditions"][0]


def test_a_killed_pod_is_replaced_by_one_with_another_uid(cluster):
    """The count is kept, the individual is not."""
    cluster.store.create(DEPLOYMENTS, deployment(3))
    cluster.settle()
    before = {pod["metadata"]["uid"] for pod in cluster.pods()}
    cluster.store.delete(PODS, "default", cluster.pods()[0]["metadata"]["name"], grace=0)
    cluster.settle()
    after = {pod["metadata"]["uid"] for pod in cluster.pods()}
    assert len(after) == 3
    assert len(after - before) == 1


def test_scaling_down_takes_pods_that_do_not_serve_first(cluster):
    """A pod that serves is not given up for one that does not."""
    cluster.store.create(DEPLOYMENTS, deployment(3))
    cluster.step()
    cluster.step()
    serving = cluster.pods()[0]
    cluster.make_ready(serving)
    cluster.store.update(
        DEPLOYMENTS, "default", "web", lambda old: {**old, "spec": {**old["spec"], "replicas": 1}}
    )
    cluster.settle()
    assert [pod["metadata"]["uid"] for pod in cluster.pods()] == [serving["metadata"]["uid"]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.sampled_from(["0%", "25%", 0, 1, 2]), st.sampled_from(["0%", "25%", 0, 1, 2]))
def test_a_rolling_update_keeps_to_its_bounds_and_comes_to_an_end(replicas, surge, unavailable):
    """At no step are there more pods than the surge allows, nor fewer ready ones than the wanted minus the rest."""
    cluster = Cluster()
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    cluster.store.create(DEPLOYMENTS, deployment(replicas, strategy=rolling))
    cluster.settle()
    new = deployment(replicas, "v2", rolling)["spec"]
    cluster.store.update(DEPLOYMENTS, "default", "web", lambda old: {**old, "spec": new})
    more, fewer = _bounds(replicas, surge, unavailable)
    for _ in range(200):
        cluster.step()
        live = [pod for pod in cluster.pods() if "deletionTimestamp" not in pod["metadata"]]
        assert len(live) <= replicas + more
        assert sum("status" in pod for pod in live) >= replicas - fewer
        waiting = [pod for pod in live if "status" not in pod]
        if waiting:
            cluster.make_ready(waiting[0])
        elif len(cluster.pods(version="v2")) == len(live) == replicas:
            return
    raise AssertionError("the rollout does not end")


def _bounds(replicas, surge, unavailable):
    up = -(-int(surge[:-1]) * replicas // 100) if isinstance(surge, str) else surge
    down = (
        int(unavailable[:-1]) * replicas // 100
        if isinstance(unavailable, str)
        else min(unavailable, replicas)
    )
    return (up, down) if up or down else (0, 1)


def test_recreate_starts_nothing_before_the_old_pods_are_gone(cluster):
    """Two versions never run side by side."""
    cluster.store.create(DEPLOYMENTS, deployment(2, strategy={"type": "Recreate"}))
    cluster.settle()
    spec = deployment(2, "v2", {"type": "Recreate"})["spec"]
    cluster.store.update(DEPLOYMENTS, "default", "web", lambda old: {**old, "spec": spec})
    for _ in range(10):
        cluster.step()
        assert not cluster.pods(version="v2") or not cluster.pods(version="v1")
        for pod in cluster.pods(version="v1"):
            metadata = pod["metadata"]
            if "deletionTimestamp" in metadata:
                cluster.store.remove(PODS, "default", metadata["name"], metadata["uid"])
    assert len(cluster.pods(version="v2")) == 2


def test_endpoint_slices_follow_readiness(cluster):
    """A pod is an endpoint once it has an address, and a ready one while it serves."""
    cluster.store.create(SERVICES, SERVICE)
    cluster.store.create(DEPLOYMENTS, deployment(2))
    cluster.settle(ready=False)
    assert cluster.store.list(ENDPOINT_SLICES) == ()
    cluster.settle()
    (found,) = cluster.store.list(ENDPOINT_SLICES)
    assert [endpoint["conditions"]["ready"] for endpoint in found["endpoints"]] == [True, True]
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert found["metadata"]["labels"] == {"kubernetes.io/service-name": "web"}


def test_a_pod_that_is_being_deleted_is_no_ready_endpoint(cluster):
    """It is marked as terminating and gets no new requests."""
    cluster.store.create(SERVICES, SERVICE)
    cluster.store.create(DEPLOYMENTS, deployment(2))
    cluster.settle()
    victim = cluster.pods()[0]["metadata"]["name"]
    cluster.store.delete(PODS, "default", victim, grace=30)
    cluster.step()
    (found,) = cluster.store.list(ENDPOINT_SLICES)
    states = {endpoint["targetRef"]["name"]: endpoint["conditions"] for endpoint in found["endpoints"]}
    assert states[victim] == {"ready": False, "serving": True, "terminating": True}
    assert sum(state["ready"] for state in states.values()) == 1


def test_slices_of_a_deleted_service_are_gone(cluster):
    """Endpoints do not outlive their Service."""
    cluster.store.create(SERVICES, SERVICE)
    cluster.store.create(DEPLOYMENTS, deployment(1))
    cluster.settle()
    cluster.store.delete(SERVICES, "default", "web")
    cluster.settle()
    assert cluster.store.list(ENDPOINT_SLICES) == ()


def test_deleting_a_deployment_takes_its_pods_along(cluster):
    """ReplicaSet and pods go after their owner."""
    cluster.store.create(DEPLOYMENTS, deployment(3))
    cluster.settle()
    cluster.store.delete(DEPLOYMENTS, "default", "web")
    cluster.settle()
    assert cluster.pods() == []
    assert cluster.store.list(REPLICA_SETS) == ()


def relabel(cluster, resource, name, **labels):
    """Changes labels of an object."""

    def change(old):
        kept = {**old["metadata"].get("labels", {}), **labels}
        return {**old, "metadata": {**old["metadata"], "labels": kept}}

    return cluster.store.update(resource, "default", name, change)


def test_a_pod_whose_labels_no_longer_match_is_left_to_itself_and_replaced(cluster):
    """As people take a pod out of service to look at it."""
    cluster.store.create(DEPLOYMENTS, deployment(2))
    cluster.settle()
    taken = cluster.pods()[0]["metadata"]["name"]
    relabel(cluster, PODS, taken, app="aside")
    cluster.settle()
    assert "ownerReferences" not in cluster.store.get(PODS, "default", taken)["metadata"]
    assert len(cluster.pods(app="web")) == 2
    relabel(cluster, PODS, taken, app="web")
    cluster.settle()
    assert len(cluster.pods()) == 2


def test_what_a_deployment_left_behind_is_taken_over_by_the_next_one(cluster):
    """After a deletion with --cascade=orphan its pods go on, and are not doubled."""
    cluster.store.create(DEPLOYMENTS, deployment(2))
    cluster.settle()
    before = {pod["metadata"]["uid"] for pod in cluster.pods()}
    cluster.store.delete(DEPLOYMENTS, "default", "web", propagation="Orphan")
    cluster.settle()
    cluster.store.create(DEPLOYMENTS, deployment(2))
    cluster.settle()
    assert {pod["metadata"]["uid"] for pod in cluster.pods()} == before
    assert len(cluster.store.list(REPLICA_SETS)) == 1
