"""A changed workload is waited for."""

from __future__ import annotations

import pytest

from harness.changes import Ref
from harness.errors import HarnessError
from harness.experiment.settling import await_settled

WEB = Ref("apps/v1", "Deployment", "shop", "web")


def deployment(**status):
    """A Deployment of one pod that was changed once."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 2, "updatedReplicas": 1} | status,
    }


def pod(name, *, ready=True, **meta):
    """A pod of it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}, **meta},
        "spec": {"containers": [{"name": "web"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def once(*steps):
    """Something to do instead of each wait; a wait more than that fails."""
    left = list(steps)

    def wait():
        left.pop(0)()

    return wait, left


def test_a_workload_is_settled_when_its_pods_are_all_there_is(cluster, kube_api):
    """Its controller has seen the change, the new pod is ready, and the old one is gone."""
    old, new = pod("old", deletionTimestamp="2026-01-02T03:04:05Z"), pod("new", ready=False)
    kube_api.put(deployment(observedGeneration=1))
    kube_api.put(old)
    gone = "/api/v1/namespaces/shop/pods/old"
    wait, left = once(
        lambda: kube_api.put(deployment(updatedReplicas=0)),
        lambda: kube_api.put(deployment()),
        lambda: kube_api.put(new),
        lambda: kube_api.put(pod("new")),
        lambda: kube_api.objects.pop(gone),
    )
    await_settled(cluster, WEB, within=10.0, wait=wait)
    assert left == []


def test_a_workload_that_does_not_settle_is_said_to(cluster, kube_api):
    """With what is missing."""
    kube_api.put(deployment())
    with pytest.raises(HarnessError, match="has not settled within 0 s: 0 of 1 pods are ready"):
        await_settled(cluster, WEB, within=0.0, wait=lambda: None)


def test_a_workload_that_is_gone_is_not_waited_for(cluster):
    """Somebody else has deleted it."""
    with pytest.raises(HarnessError, match="is gone"):
        await_settled(cluster, WEB, within=10.0, wait=lambda: None)
