"""Writes: revisions, optimistic concurrency, admission, and what is refused."""

from __future__ import annotations

import threading
import time

import pytest
from stored import config_map, pod

from harness.localmesh.api.resources import CONFIG_MAPS, NAMESPACES, PODS, VIRTUAL_SERVICES
from harness.localmesh.errors import Refused
from harness.localmesh.store import Admitted, Author, Store


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
