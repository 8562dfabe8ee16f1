"""What is found in the cluster before a fault comes into force."""

import pytest
from stock import deployed, ready_pod, scene_of

from harness.changes import Ref
from harness.errors import HarnessError
from harness.faults import Disconnect, PodKill, Scale, Target
from harness.injection import resolve


def test_the_deployments_behind_the_pods_are_found_for_a_fault_that_needs_them(cluster, shop):
    """Through the ReplicaSet that is their controller; nothing more is read for one that does not."""
    deployed(shop)
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


def test_resolve_finds_the_pods_that_are_ready(cluster, shop):
    """A pod that is about to come or to go is no part of the scene."""
    shop.put(ready_pod(3, ready="False"))
    leaving = ready_pod(4)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    shop.put(leaving)
    assert [pod.name for pod in scene_of(cluster).pods] == ["payments-1", "payments-2"]
