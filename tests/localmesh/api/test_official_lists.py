"""Lists and watches of the official client: nothing is missed, and what is too old is said."""

from __future__ import annotations

from kubernetes import client, watch
from official import LABELS, pod, refused

from harness.localmesh.api.resources import CONFIG_MAPS


def test_a_watch_begins_with_what_there_is_and_goes_on_with_changes(core, cluster):
    """ADDED for the existing, then each change in order; DELETED when it leaves the selection."""
    core.create_namespaced_pod("default", pod("a", labels=LABELS))
    events = watch.Watch().stream(
        core.list_namespaced_pod, "default", label_selector="app=web", timeout_seconds=20
    )
    seen = []

    def write():
        core.create_namespaced_pod("default", pod("unseen"))
        core.patch_namespaced_pod("a", "default", {"metadata": {"annotations": {"x": "y"}}})
        core.patch_namespaced_pod("a", "default", {"metadata": {"labels": {"app": "other"}}})
        core.create_namespaced_pod("default", pod("b", labels=LABELS))

    for event in events:
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 1:
            write()
        if len(seen) == 4:
            break
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


def test_a_watch_from_a_list_misses_nothing_and_ends_in_time(core):
    """Everything after the list's resourceVersion, until timeoutSeconds."""
    since = core.list_namespaced_pod("default").metadata.resource_version
    for name in "abc":
        core.create_namespaced_pod("default", pod(name))
    stream = watch.Watch().stream(
        core.list_namespaced_pod,
        "default",
        resource_version=since,
        timeout_seconds=1,
        allow_watch_bookmarks=True,
    )
    assert [event["object"].metadata.name for event in stream if event["type"] == "ADDED"] == ["a", "b", "c"]


def test_a_watch_from_too_far_back_is_expired(core, cluster):
    """The client is told with an ERROR event of 410 and has to list again."""
    counter = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "counter", "namespace": "default"},
    }
    cluster.store.create(CONFIG_MAPS, counter)
    for number in range(20_001):
        cluster.store.replace(CONFIG_MAPS, {**counter, "data": {"number": str(number)}})
    stream = watch.Watch().stream(
        core.list_namespaced_pod, "default", resource_version="1", timeout_seconds=1
    )
    assert refused(lambda: list(stream)).status == 410


def test_lists_come_in_parts_of_one_state(core):
    """Each part continues the one before, whatever is written meanwhile; a token of another server is refused."""
    for name in "abcde":
        core.create_namespaced_config_map(
            "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name))
        )
    first = core.list_namespaced_config_map("default", limit=2)
    assert (first.metadata.remaining_item_count, len(first.items)) == (3, 2)
    core.delete_namespaced_config_map("d", "default")
    core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c0")))
    found, token = [], first.metadata._continue
    while token:
        part = core.list_namespaced_config_map("default", limit=2, _continue=token)
        assert part.metadata.resource_version == first.metadata.resource_version
        found += [item.metadata.name for item in part.items]
        token = part.metadata._continue
    assert found == ["c", "d", "e"]
    assert refused(core.list_namespaced_config_map, "default", _continue="e30=").status == 400


def test_the_state_at_an_earlier_revision_can_be_listed(core):
    """Exactly that one; a revision that is not there yet is a 504."""
    made = core.create_namespaced_config_map(
        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"))
    )
    core.delete_namespaced_config_map("a", "default")
    at = {"resource_version": made.metadata.resource_version, "resource_version_match": "Exact"}
    assert [item.metadata.name for item in core.list_namespaced_config_map("default", **at).items] == ["a"]
    assert not core.list_namespaced_config_map("default").items
    assert refused(core.list_namespaced_config_map, "default", resource_version="99999").status == 504
