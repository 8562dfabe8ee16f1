"""Lists, subscriptions and watches that miss nothing."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import config_map, names, pod

from harness.localmesh.api.resources import CONFIG_MAPS, NAMESPACES, PODS
from harness.localmesh.api.selectors import labels
from harness.localmesh.errors import Refused
from harness.localmesh.store import Store


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
