"""Deletion: grace, finalizers, dependents and namespaces."""

from __future__ import annotations

import pytest
from stored import config_map, pod

from harness.localmesh.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS
from harness.localmesh.errors import Refused


def test_a_pod_stays_until_its_grace_is_over(store):
    """Deleting marks it with its own grace; it goes when the runner removes it, and only that very pod."""
    store.create(PODS, pod("a"))
    last, gone = store.delete(PODS, "default", "a")
    assert not gone
    assert last["metadata"]["deletionGracePeriodSeconds"] == 30
    store.remove(PODS, "default", "a", "another uid")
    assert store.list(PODS)
    store.remove(PODS, "default", "a", last["metadata"]["uid"])
    store.remove(PODS, "default", "a", last["metadata"]["uid"])
    assert not store.list(PODS)


def test_grace_can_be_shortened_but_not_lengthened(store):
    """A second deletion moves the end forward only; without grace the pod goes at once."""
    store.create(PODS, pod("a"))
    graces = [
        store.delete(PODS, "default", "a", grace=grace)[0]["metadata"]["deletionGracePeriodSeconds"]
        for grace in (20, 5, 60)
    ]
    assert graces == [20, 5, 5]
    assert store.delete(PODS, "default", "a", grace=0)[1]


def test_a_finalizer_holds_an_object_until_it_is_taken_off(store):
    """A deleted object with finalizers is marked, and goes with its last one."""
    store.create(
        CONFIG_MAPS, {**config_map("a"), "metadata": {**config_map("a")["metadata"], "finalizers": ["x/y"]}}
    )
    marked, gone = store.delete(CONFIG_MAPS, "default", "a")
    assert not gone
    assert "deletionTimestamp" in marked["metadata"]
    store.update(
        CONFIG_MAPS, "default", "a", lambda it: {**it, "metadata": {**it["metadata"], "finalizers": []}}
    )
    assert not store.list(CONFIG_MAPS)


def family(store):
    """A Deployment that owns a replica set that owns a pod."""
    deployment = store.create(DEPLOYMENTS, pod("deployment"))
    replica_set = store.create(REPLICA_SETS, pod("set", [deployment]))
    store.create(PODS, pod("pod", [replica_set]))


def test_background_deletion_takes_the_dependents_along(store):
    """Deleting a Deployment deletes its replica set and marks its pods."""
    family(store)
    assert store.delete(DEPLOYMENTS, "default", "deployment")[1]
    assert not store.list(REPLICA_SETS)
    assert "deletionTimestamp" in store.get(PODS, "default", "pod")["metadata"]


def test_foreground_deletion_waits_for_the_dependents(store):
    """The owner goes after the last of what it owns."""
    family(store)
    assert not store.delete(DEPLOYMENTS, "default", "deployment", propagation="Foreground")[1]
    assert store.get(DEPLOYMENTS, "default", "deployment")["metadata"]["finalizers"] == ["foregroundDeletion"]
    store.remove(PODS, "default", "pod", store.get(PODS, "default", "pod")["metadata"]["uid"])
    assert not store.list(DEPLOYMENTS) + store.list(REPLICA_SETS) + store.list(PODS)


def test_orphan_deletion_leaves_the_dependents_without_owner(store):
    """The replica set stays and no longer names the Deployment."""
    family(store)
    assert store.delete(DEPLOYMENTS, "default", "deployment", propagation="Orphan")[1]
    assert "ownerReferences" not in store.get(REPLICA_SETS, "default", "set")["metadata"]


def test_a_dependent_with_another_owner_stays(store):
    """Only what has no owner left is collected."""
    owners = [store.create(CONFIG_MAPS, config_map(name)) for name in "ab"]
    store.create(PODS, pod("pod", owners))
    store.delete(CONFIG_MAPS, "default", "a")
    left = store.get(PODS, "default", "pod")["metadata"]
    assert [owner["name"] for owner in left["ownerReferences"]] == ["b"]
    assert "deletionTimestamp" not in left


def test_an_object_whose_owner_is_gone_is_collected_at_once(store):
    """A controller that was too slow leaves nothing behind."""
    owner = store.create(CONFIG_MAPS, config_map("owner"))
    store.delete(CONFIG_MAPS, "default", "owner")
    store.create(CONFIG_MAPS, {"metadata": pod("late", [owner])["metadata"]})
    assert not store.list(CONFIG_MAPS)


def test_a_namespace_takes_everything_in_it_along(store):
    """It is Terminating while pods end, takes nothing new, and goes with the last of them."""
    made = store.create(PODS, pod("a"))
    store.create(CONFIG_MAPS, config_map("a"))
    store.delete(NAMESPACES, "", "default")
    assert not store.list(CONFIG_MAPS)
    assert store.get(NAMESPACES, "", "default")["status"]["phase"] == "Terminating"
    with pytest.raises(Refused, match="because it is being terminated"):
        store.create(CONFIG_MAPS, config_map("b"))
    store.remove(PODS, "default", "a", made["metadata"]["uid"])
    assert not store.list(NAMESPACES)
