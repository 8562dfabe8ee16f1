"""The verbs without a socket: races of writers, and the finer points of watches."""

from __future__ import annotations

import json
from email.message import Message

import msgspec
import pytest

from harness.localmesh.api.messages import request
from harness.localmesh.api.resources import CONFIG_MAPS, NAMESPACES
from harness.localmesh.api.verbs import Api
from harness.localmesh.store import Store

PATH = "/api/v1/namespaces/default/configmaps"


class NoPods:
    """Pods without logs."""

    def logs(self, namespace, name, container):
        """Nothing."""
        return b""

    def certificate_expires_at(self, pod):
        """No sidecar has a certificate."""


class ContestedStore(Store):
    """A store in which, after each read of a ConfigMap, the next of `rivals` writes to it."""

    rivals = ()

    def get(self, resource, namespace, name):
        """The object as it was before the rival's write."""
        found = super().get(resource, namespace, name)
        if resource == CONFIG_MAPS and self.rivals:
            data = {**found.get("data", {}), self.rivals.pop(): "x"}
            # `replace` reads too, under the lock: nobody gets in between there.
            waiting, self.rivals = self.rivals, ()
            self.replace(resource, {**found, "data": data})
            self.rivals = waiting
        return found


@pytest.fixture
def store():
    """A store with the namespace `default`."""
    made = ContestedStore()
    made.create(NAMESPACES, {"metadata": {"name": "default"}})
    return made


@pytest.fixture
def ask(store):
    """Sends one request; gives the answer."""
    api = Api(store, NoPods())

    def send(method, target, body=None, **headers):
        fields = Message()
        for name, value in headers.items():
            fields[name.replace("_", "-")] = value
        return api.dispatch(request(method, target, fields, json.dumps(body).encode() if body else b""))

    return send


def frames(answer, count):
    """The first events of a watch."""
    events = []
    while len(events) < count:
        if frame := next(answer.frames):
            events.append(msgspec.json.decode(frame))
    return events


def test_a_patch_is_applied_to_the_newest_object_when_another_writer_was_faster(ask, store):
    """Neither write is lost, and the client sees no conflict."""
    ask("POST", PATH, {"metadata": {"name": "a"}})
    store.rivals = [f"rival-{number}" for number in range(5)]
    answer = ask("PATCH", f"{PATH}/a", {"data": {"mine": "x"}}, Content_Type="application/merge-patch+json")
    assert answer.code == 200
    data = store.get(CONFIG_MAPS, "default", "a")["data"]
    assert set(data) == {"mine", *(f"rival-{number}" for number in range(5))}


def test_a_patch_that_names_another_version_conflicts(ask):
    """Its author meant that very object."""
    ask("POST", PATH, {"metadata": {"name": "a"}})
    patch = {"metadata": {"resourceVersion": "1"}, "data": {"a": "b"}}
    assert ask("PATCH", f"{PATH}/a", patch, Content_Type="application/merge-patch+json").code == 409


def test_an_object_of_another_name_or_namespace_is_refused(ask):
    """The URL and the body must mean the same object."""
    ask("POST", PATH, {"metadata": {"name": "a"}})
    for metadata in ({"name": "b"}, {"name": "a", "namespace": "other"}):
        assert ask("PUT", f"{PATH}/a", {"metadata": metadata}).code == 400
        patch = {"metadata": metadata}
        assert ask("PATCH", f"{PATH}/a", patch, Content_Type="application/merge-patch+json").code == 400


def test_a_streamed_list_ends_with_a_bookmark(ask, store):
    """`sendInitialEvents`: what there is, then a bookmark that says so, then changes."""
    ask("POST", PATH, {"metadata": {"name": "a"}})
    stream = ask(
        "GET",
        f"{PATH}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan",
    )
    first, bookmark = frames(stream, 2)
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "a")
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(store.revision)
    ask("POST", PATH, {"metadata": {"name": "b"}})
    assert frames(stream, 1)[0]["object"]["metadata"]["name"] == "b"


def test_a_watch_says_at_its_end_how_far_it_has_come(ask, store):
    """A bookmark with the newest revision, although none of the changes concerned it."""
    since = store.revision
    stream = ask("GET", f"{PATH}?watch=1&resourceVersion={since}&timeoutSeconds=1&allowWatchBookmarks=true")
    store.create(NAMESPACES, {"metadata": {"name": "other"}})
    events = [msgspec.json.decode(frame) for frame in stream.frames if frame]
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert events[0]["object"]["metadata"]["resourceVersion"] == str(store.revision)


def test_a_watch_can_be_of_tables(ask):
    """Each event is a Table of one row, as `kubectl get --watch` wants it."""
    ask("POST", PATH, {"metadata": {"name": "a"}, "data": {"x": "y"}})
    stream = ask(
        "GET", f"{PATH}?watch=1", Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    )
    table = frames(stream, 1)[0]["object"]
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][:2] == ["a", 1]


@pytest.mark.parametrize(
    ("include", "kind"),
    [("", "PartialObjectMetadata"), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")],
)
def test_rows_of_a_table_carry_what_is_asked_for(ask, include, kind):
    """`kubectl get --sort-by` asks for the whole object."""
    ask("POST", PATH, {"metadata": {"name": "a"}})
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    answer = json.loads(ask("GET", f"{PATH}?includeObject={include}", Accept=accept).body)
    assert answer["rows"][0]["object"]["kind"] == kind
    assert ask("GET", f"{PATH}?includeObject=Some", Accept=accept).code == 400


@pytest.mark.parametrize(
    "options", [{"preconditions": 5}, {"preconditions": "x"}, {"dryRun": 5}, {"dryRun": True}]
)
def test_options_of_a_deletion_that_have_the_wrong_shape_are_refused(ask, options):
    """With 400, naming the option; the object stays."""
    ask("POST", PATH, {"metadata": {"name": "a"}})
    answer = ask("DELETE", f"{PATH}/a", options)
    assert (answer.code, *options) == (400, msgspec.json.decode(answer.body)["message"].partition(":")[0])
    assert ask("GET", f"{PATH}/a").code == 200
