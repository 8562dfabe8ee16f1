"""The store: revisions, optimistic concurrency, deletion, and watches that miss nothing."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.localmesh.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    VIRTUAL_SERVICES,
)
from harness.localmesh.api.selectors import labels
from harness.localmesh.errors import Refused
from harness.localmesh.store import Admitted, Author, Store


def config_map(name, **data):
    """A ConfigMap."""
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name, owners=(), **metadata):
    """A pod with these owners."""
    references = [
        {"apiVersion": "v1", "kind": "X", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        for owner in owners
    ]
    owned = {"ownerReferences": references} if references else {}
    return {
        "metadata": {"name": name, "namespace": "default", **owned, **metadata},
        "spec": {"containers": [{"name": "main", "image": "i"}]},
    }


def names(items):
    """Their names."""
    return [item["metadata"]["name"] for item in items]


@pytest.fixture
def store():
    """A store with the namespace `default`."""
    made = Store()
    made.create(NAMESPACES, {"metadata": {"name": "default"}})
    return made


def test_created_object_is_stamped(store):
    """A new object gets a UID, the next revision as its resourceVersion, a creation time and generation 1."""
    before = store.revision
    made = store.create(PODS, pod("a"))["metadata"]
    assert made["resourceVersion"] == str(before + 1) == str(store.revision)
    assert made["generation"] == 1
    assert made["uid"]
    assert made["creationTimestamp"].endswith("Z")


def test_what_the_caller_does_to_its_manifest_does_not_reach_the_store(store):
    """Objects enter as copies."""
    mine = config_map("a", key="value")
    store.create(CONFIG_MAPS, mine)
    mine["data"]["key"] = "changed"
    assert store.get(CONFIG_MAPS, "default", "a")["data"] == {"key": "value"}


def test_a_stored_object_is_replaced_and_never_mutated(store):
    """Whoever holds an object keeps seeing the state it had."""
    held = store.create(CONFIG_MAPS, config_map("a", key="old"))
    store.update(CONFIG_MAPS, "default", "a", lambda it: {**it, "data": {"key": "new"}})
    assert held["data"] == {"key": "old"}


def test_generate_name_gives_different_names(store):
    """Two objects from one generateName do not collide."""
    manifest = {"metadata": {"generateName": "web-", "namespace": "default"}}
    first, second = (store.create(CONFIG_MAPS, manifest)["metadata"]["name"] for _ in range(2))
    assert first != second
    assert first.startswith("web-")


def test_an_object_with_a_revision_is_not_created(store):
    """Whoever restores a deleted object leaves its resourceVersion out, as for a real cluster."""
    with pytest.raises(Refused, match="resourceVersion should not be set"):
        store.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default", "resourceVersion": "7"}})


def test_an_update_is_made_again_on_the_newest_object(store):
    """When another writer was faster, the change is applied to what that one wrote; None changes nothing."""
    store.create(CONFIG_MAPS, config_map("a"))
    rivals = ["second", "first"]

    def change(it):
        if rivals:
            store.replace(CONFIG_MAPS, config_map("a", **it["data"], **{rivals.pop(): "x"}))
        return {**it, "data": {**it["data"], "mine": "x"}}

    assert set(store.update(CONFIG_MAPS, "default", "a", change)["data"]) == {"first", "second", "mine"}
    before = store.revision
    store.update(CONFIG_MAPS, "default", "a", lambda it: None)
    assert store.revision == before


def test_creating_twice_is_refused(store):
    """A second object of that name is a 409 AlreadyExists."""
    store.create(CONFIG_MAPS, config_map("a"))
    with pytest.raises(Refused, match='configmaps "a" already exists') as refused:
        store.create(CONFIG_MAPS, config_map("a"))
    assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")


def test_creating_in_a_missing_namespace_is_refused(store):
    """The namespace that is missing is named, with 404."""
    with pytest.raises(Refused, match='namespaces "nowhere" not found') as refused:
        store.create(VIRTUAL_SERVICES, {"metadata": {"name": "a", "namespace": "nowhere"}})
    assert refused.value.code == 404


def test_replacing_a_stale_object_is_refused(store):
    """A writer that has not seen the newest version gets a Conflict, and nothing changes."""
    seen = store.create(CONFIG_MAPS, config_map("a"))
    newest = store.replace(CONFIG_MAPS, {**seen, "data": {"by": "first"}})
    with pytest.raises(Refused, match="Operation cannot be fulfilled on configmaps") as refused:
        store.replace(CONFIG_MAPS, {**seen, "data": {"by": "second"}})
    assert refused.value.reason == "Conflict"
    assert store.get(CONFIG_MAPS, "default", "a") == newest


def test_generation_grows_with_the_spec_only(store):
    """Labels and status leave the generation alone, a changed spec raises it by one."""
    store.create(PODS, pod("a"))

    def generation(change, section=""):
        return store.update(PODS, "default", "a", change, section=section)["metadata"]["generation"]

    assert generation(lambda it: {**it, "metadata": {**it["metadata"], "labels": {"a": "b"}}}) == 1
    assert generation(lambda it: {**it, "status": {"phase": "Running"}}, "status") == 1
    assert generation(lambda it: {**it, "spec": {"containers": []}}) == 2


def test_status_and_the_rest_are_written_apart(store):
    """A write to the object keeps the status, a write to the status keeps everything else."""
    store.create(PODS, {**pod("a"), "status": {"phase": "Running"}})
    assert "status" not in store.get(PODS, "default", "a")
    everything = {**store.get(PODS, "default", "a"), "spec": {"x": 1}, "status": {"phase": "Running"}}
    changed = store.replace(PODS, everything, section="status")
    assert (changed["status"], changed["spec"]) == ({"phase": "Running"}, pod("a")["spec"])
    changed = store.replace(PODS, {**changed, "spec": {"x": 1}, "status": {"phase": "Failed"}})
    assert (changed["status"], changed["spec"]) == ({"phase": "Running"}, {"x": 1})


def test_a_replacement_that_changes_nothing_is_no_change(store):
    """Neither revision nor watch notices it."""
    made = store.create(CONFIG_MAPS, config_map("a", key="value"))
    before = store.revision
    assert store.replace(CONFIG_MAPS, config_map("a", key="value")) == made
    assert store.revision == before


def test_a_dry_run_answers_and_stores_nothing(store):
    """Create, replace and delete with dry_run leave revision and objects as they were."""
    before = store.revision
    assert store.create(CONFIG_MAPS, config_map("a"), dry_run=True)["metadata"]["uid"]
    assert store.revision == before
    store.create(CONFIG_MAPS, config_map("a"))
    before = store.revision
    assert store.replace(CONFIG_MAPS, config_map("a", k="v"), dry_run=True)["data"] == {"k": "v"}
    store.delete(CONFIG_MAPS, "default", "a", dry_run=True)
    assert store.revision == before


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


def test_lists_are_selected_and_sorted(store):
    """By namespace, by label, in the order of their names."""
    store.create(NAMESPACES, {"metadata": {"name": "other"}})
    for name, namespace, tier in (("b", "default", "web"), ("a", "default", "db"), ("c", "other", "web")):
        store.create(
            CONFIG_MAPS, {"metadata": {"name": name, "namespace": namespace, "labels": {"tier": tier}}}
        )
    assert names(store.list(CONFIG_MAPS)) == ["a", "b", "c"]
    assert names(store.list(CONFIG_MAPS, "default")) == ["a", "b"]
    assert names(store.list(CONFIG_MAPS, where=labels("tier=web"))) == ["b", "c"]


def test_admission_decides_what_is_stored():
    """Each function sees what the one before made of the object, and the old object on a replace."""
    seen = []

    def first(operation, resource, new, old):
        seen.append((operation, resource.kind, old and old["data"]))
        return {**new, "data": {**new.get("data", {}), "first": "yes"}}

    def second(operation, resource, new, old):
        return {**new, "data": {**new["data"], "second": new["data"]["first"]}}

    store = Store([first, second])
    store.create(NAMESPACES, {"metadata": {"name": "default"}})
    made = store.create(CONFIG_MAPS, config_map("a"))
    assert made["data"] == {"first": "yes", "second": "yes"}
    store.replace(CONFIG_MAPS, made)
    assert seen[-1] == ("UPDATE", "ConfigMap", made["data"])


def test_subscribers_are_called_after_changes_without_the_lock(store):
    """Another thread can read the store while a subscriber runs; nothing is called when nothing changed."""
    calls = []

    def callback():
        reader = threading.Thread(target=lambda: calls.append(names(store.list(CONFIG_MAPS))))
        reader.start()
        reader.join(timeout=5)

    unsubscribe = store.subscribe(callback)
    store.create(CONFIG_MAPS, config_map("a"))
    store.replace(CONFIG_MAPS, config_map("a"))
    unsubscribe()
    store.create(CONFIG_MAPS, config_map("b"))
    assert calls == [["a"]]


def test_changes_that_are_no_longer_kept_are_expired():
    """A watch from too far back, or from the future, is told so with 410."""
    store = Store(history=10)
    for number in range(40):
        store.create(NAMESPACES, {"metadata": {"name": f"n{number}"}})
    for since in (1, store.revision + 1):
        with pytest.raises(Refused) as refused:
            store.watch(NAMESPACES, since).next(0)
        assert (refused.value.code, refused.value.reason) == (410, "Expired")
    assert len(store.watch(NAMESPACES, store.revision - 10).next(0)) == 10


def test_a_watch_waits_for_the_next_change(store):
    """It returns as soon as something happens, long before its timeout."""
    watch = store.watch(CONFIG_MAPS, store.revision)
    writer = threading.Timer(0.05, store.create, (CONFIG_MAPS, config_map("a")))
    writer.start()
    started = time.monotonic()
    changes = watch.next(30)
    writer.join()
    assert [change.type for change in changes] == ["ADDED"]
    assert time.monotonic() - started < 10


def test_concurrent_writers_lose_no_update(store):
    """Every increment of every writer is in the result."""
    store.create(CONFIG_MAPS, config_map("counter", value="0"))

    def increment(counter):
        time.sleep(0)  # lets another thread in, between the read and the write
        return {**counter, "data": {"value": str(int(counter["data"]["value"]) + 1)}}

    def count():
        for _ in range(50):
            store.update(CONFIG_MAPS, "default", "counter", increment)

    writers = [threading.Thread(target=count) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.get(CONFIG_MAPS, "default", "counter")["data"] == {"value": "200"}


def test_a_list_shows_the_state_at_an_earlier_revision(store):
    """What was created since is not in it, what was changed is as it was, what was deleted is there."""
    for name in "ab":
        store.create(CONFIG_MAPS, config_map(name, key="old"))
    at = store.revision
    store.update(CONFIG_MAPS, "default", "a", lambda it: {**it, "data": {"key": "new"}})
    store.delete(CONFIG_MAPS, "default", "b")
    store.create(CONFIG_MAPS, config_map("c"))
    items, revision = store.snapshot(CONFIG_MAPS, "default", at=at)
    assert revision == at
    assert [(item["metadata"]["name"], item["data"]["key"]) for item in items] == [("a", "old"), ("b", "old")]
    with pytest.raises(Refused) as refused:
        store.snapshot(CONFIG_MAPS, at=store.revision + 1)
    assert refused.value.code == 410


def test_an_author_hears_warnings_and_records_what_is_whose():
    """A writer without one changes nothing of that record."""

    def doubtful(operation, resource, new, old):
        return Admitted(new, ("odd",)) if resource == CONFIG_MAPS else new

    store, heard = Store([doubtful]), []
    store.create(NAMESPACES, {"metadata": {"name": "default"}})
    author = Author(heard.append, lambda new, old: [{"manager": "me"}])
    store.create(CONFIG_MAPS, config_map("a"), author=author)
    store.update(CONFIG_MAPS, "default", "a", lambda it: {**it, "data": {"b": "c"}})
    assert heard == ["odd"]
    assert store.get(CONFIG_MAPS, "default", "a")["metadata"]["managedFields"] == [{"manager": "me"}]


ACTIONS = st.lists(st.tuples(st.sampled_from("cudf"), st.sampled_from("abc")), max_size=30)


def act(store, action, name, number):
    """One write; that the object exists or not is no failure."""
    try:
        if action == "c":
            store.create(PODS, pod(name))
        elif action == "u":
            metadata = {**pod(name)["metadata"], "labels": {"number": str(number)}}
            store.replace(PODS, {**pod(name), "metadata": metadata})
        else:
            store.delete(PODS, "default", name, grace=None if action == "d" else 0)
    except Refused as refused:
        assert refused.reason in ("NotFound", "AlreadyExists")  # noqa: PT017 - the others are bugs


@settings(max_examples=60, deadline=None)
@given(ACTIONS, st.integers(min_value=0, max_value=30))
def test_replaying_a_watch_from_any_revision_gives_the_listed_state(actions, start):
    """A list and the changes after it lead to the state a later list shows, each change once and in order."""
    store = Store()
    store.create(NAMESPACES, {"metadata": {"name": "default"}})
    state, since = {}, store.revision
    for number, (action, name) in enumerate(actions):
        if number == start:
            items, since = store.snapshot(PODS)
            state = {item["metadata"]["name"]: item for item in items}
        act(store, action, name, number)
    changes = store.watch(PODS, since).next(0)
    revisions = [change.revision for change in changes]
    assert revisions == sorted(set(revisions))
    for change in changes:
        name = change.object["metadata"]["name"]
        assert (name in state) == (change.type != "ADDED")
        if change.type == "DELETED":
            del state[name]
        else:
            state[name] = change.object
    assert state == {item["metadata"]["name"]: item for item in store.list(PODS)}
