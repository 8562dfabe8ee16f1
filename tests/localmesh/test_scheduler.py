"""Where pods are placed, and what becomes of them when their node goes."""

import pytest
from paper import Cluster, deployment

from harness.localmesh import nodes
from harness.localmesh.api.resources import DEPLOYMENTS, EVENTS, NODES, PODS


@pytest.fixture
def cluster():
    """A cluster on paper with its three nodes."""
    return Cluster()


def node(cluster, name, **changes):
    """Changes a node's spec."""
    cluster.store.update(NODES, "", name, lambda old: {**old, "spec": {**old.get("spec", {}), **changes}})


def places(cluster):
    """The node of each pod, sorted."""
    return sorted(pod["spec"].get("nodeName", "") for pod in cluster.pods())


def asking(replicas, **spec):
    """A Deployment whose pods ask for something of their node."""
    made = deployment(replicas)
    made["spec"]["template"]["spec"] |= spec
    return made


def test_pods_of_a_deployment_are_spread_evenly(cluster):
    """No node has two more of them than another."""
    cluster.store.create(DEPLOYMENTS, deployment(6))
    cluster.settle()
    assert places(cluster) == ["local-0", "local-0", "local-1", "local-1", "local-2", "local-2"]


def test_a_cordoned_node_keeps_its_pods_and_gets_no_new_ones(cluster):
    """As after `kubectl cordon`."""
    cluster.store.create(DEPLOYMENTS, deployment(3))
    cluster.settle()
    node(cluster, "local-1", unschedulable=True)
    cluster.change(replicas=6)
    cluster.settle()
    assert places(cluster).count("local-1") == 1


def test_a_pod_goes_where_its_selector_says(cluster):
    """NodeSelector names labels that the node must have."""
    selector = {"kubernetes.io/hostname": "local-2"}
    cluster.store.create(DEPLOYMENTS, asking(2, nodeSelector=selector))
    cluster.settle()
    assert places(cluster) == ["local-2", "local-2"]


def test_a_taint_keeps_pods_out_that_do_not_tolerate_it(cluster):
    """A toleration of the same key and value lets them in."""
    taint = {"key": "broken", "value": "yes", "effect": "NoSchedule"}
    for name in ("local-0", "local-1"):
        node(cluster, name, taints=[taint])
    cluster.store.create(DEPLOYMENTS, deployment(2))
    cluster.settle()
    assert set(places(cluster)) == {"local-2"}
    cluster.change(**asking(3, tolerations=[{"key": "broken", "value": "yes"}])["spec"])
    cluster.settle()
    assert places(cluster) == ["local-0", "local-1", "local-2"]


def test_a_pod_that_fits_nowhere_says_why_until_there_is_a_node_for_it(cluster):
    """Pending, with the scheduler's words in its condition and in one event."""
    for name in nodes.NAMES:
        node(cluster, name, unschedulable=True)
    cluster.store.create(DEPLOYMENTS, deployment(1))
    for _ in range(5):
        cluster.step()
    (pod,) = cluster.pods()
    assert "nodeName" not in pod["spec"]
    (condition,) = pod["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == "0/3 nodes are available: 3 node(s) were unschedulable."
    events = [item for item in cluster.store.list(EVENTS) if item["reason"] == "FailedScheduling"]
    assert [item["message"] for item in events] == [condition["message"]]
    node(cluster, "local-1", unschedulable=False)
    cluster.step()
    assert places(cluster) == ["local-1"]


def test_pods_of_a_deleted_node_come_back_on_another(cluster):
    """A node's deletion is a machine's loss."""
    cluster.store.create(DEPLOYMENTS, deployment(3))
    cluster.settle()
    for pod in cluster.pods():
        status = {**pod["status"], "startTime": "2026-01-01T00:00:00Z"}
        cluster.store.update(
            PODS,
            "default",
            pod["metadata"]["name"],
            lambda old, s=status: {**old, "status": s},
            section="status",
        )
    cluster.store.delete(NODES, "", "local-1")
    cluster.settle()
    assert len(places(cluster)) == 3
    assert "local-1" not in places(cluster)


def test_nodes_are_ready_and_share_a_locality_until_their_labels_say_otherwise(cluster):
    """So that locality changes nothing unasked."""
    cluster.settle()
    found = cluster.store.list(NODES)
    assert {nodes.locality(item) for item in found} == {"local/local"}
    assert all(item["status"]["conditions"][0]["type"] == "Ready" for item in found)
    moved = {
        **found[0],
        "metadata": {**found[0]["metadata"], "labels": {nodes.REGION: "r", nodes.SUBZONE: "s"}},
    }
    assert nodes.locality(moved) == "r//s"
