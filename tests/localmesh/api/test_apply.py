"""Server-side apply: fields have owners, and nobody changes another's by accident."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.api import fieldsets
from harness.localmesh.api.apply import apply
from harness.localmesh.api.managers import Manager, Writing, encoded, entries
from harness.localmesh.api.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, SERVICES, VIRTUAL_SERVICES
from harness.localmesh.api.schema import Schema
from harness.localmesh.errors import Refused
from harness.localmesh.objects import with_metadata

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:00:01Z"


def writing(name, resource=DEPLOYMENTS, operation="Apply", now=NOW):
    """A write by the manager of that name."""
    return Writing(Schema(resource), Manager(name, operation, resource.api_version), now)


def deployment(**spec):
    """What an applier says of a Deployment."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def template(*containers):
    """A pod template of these containers."""
    return {"template": {"spec": {"containers": list(containers)}}}


def said(name, old, what, *, force=False, resource=DEPLOYMENTS, now=NOW):
    """The object after `name` has applied `what`."""
    return apply(writing(name, resource, now=now), old, what, force=force)


def owned(manifest, name):
    """What a manager owns, as text."""
    found = [entry for entry in entries(manifest) if entry.manager.name == name]
    return sorted(fieldsets.text(path) for entry in found for path in entry.owned)


def test_a_new_object_belongs_to_whoever_applied_it():
    """Every field that was said, elements of keyed lists by their keys; names belong to nobody."""
    made = said(
        "me",
        None,
        deployment(replicas=2, **template({"name": "a", "image": "i", "ports": [{"containerPort": 80}]})),
    )
    entry = made["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("me", "Apply", "apps/v1")
    assert entry["fieldsV1"]["f:spec"] == {
        "f:replicas": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"a"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:ports": {
                            'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                        },
                    }
                }
            }
        },
    }
    assert "f:metadata" not in entry["fieldsV1"]


def test_what_is_no_longer_said_goes():
    """A field, an element of a list, a whole part with what was filled in there; what others own stays."""
    probe, container = {"httpGet": {"port": 80}}, {"name": "a", "image": "i"}
    first = said(
        "me",
        None,
        deployment(
            replicas=2, **template({**container, "readinessProbe": probe}, {**container, "name": "b"})
        ),
    )
    first["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = 10  # a default
    first["spec"]["paused"] = False
    second = said("me", first, deployment(**template(container)))
    assert second["spec"] == {"paused": False, **template(container)}


def test_a_changed_value_of_another_manager_is_a_conflict():
    """Each field is named with its owner, worded as Kubernetes does; nothing changes unless it is forced."""
    first = said("first", None, deployment(replicas=2, paused=True))
    with pytest.raises(Refused) as refused:
        said("second", first, deployment(replicas=3, minReadySeconds=1))
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "first": .spec.replicas'
    assert refused.value.causes == (("FieldManagerConflict", 'conflict with "first"', ".spec.replicas"),)
    with pytest.raises(
        Refused, match=r'Apply failed with 2 conflicts: conflicts with "first":\n- .spec.paused\n- '
    ):
        said("second", first, deployment(replicas=3, paused=False))
    forced = said("second", first, deployment(replicas=3), force=True)
    assert forced["spec"] == {"replicas": 3, "paused": True}
    assert owned(forced, "second") == [".spec.replicas"]
    assert owned(forced, "first") == [".spec.paused"]


def test_the_same_value_is_shared():
    """Two who agree own a field together; it goes when the last of them no longer says it."""
    first = said("first", None, deployment(replicas=2, paused=True))
    shared = said("second", first, deployment(replicas=2))
    assert owned(shared, "first") == [".spec.paused", ".spec.replicas"]
    left = said("first", shared, deployment(paused=True))
    assert left["spec"] == {"replicas": 2, "paused": True}
    gone = said("second", left, deployment())
    assert gone["spec"] == {"paused": True}
    assert owned(gone, "second") == [".spec"]


def test_an_update_takes_what_it_changes():
    """Whoever updates a field owns it from then on; the applier gets a conflict that says how and by whom."""
    first = said("me", None, deployment(replicas=2, paused=True))
    changed = {**first, "spec": {**first["spec"], "replicas": 5}}
    scaler = writing("scaler", operation="Update", now=LATER)
    after = scaler.updated(entries(first), first, changed)
    assert {entry.manager.name: len(entry.owned) for entry in after} == {"me": 1, "scaler": 1}
    changed = with_metadata(changed, managedFields=encoded(after))
    with pytest.raises(Refused, match=r'conflict with "scaler" using apps/v1: .spec.replicas'):
        said("me", changed, deployment(replicas=2, paused=True))
    assert said("me", changed, deployment(paused=True))["spec"] == {"replicas": 5, "paused": True}


def test_elements_of_keyed_lists_are_merged_by_their_keys():
    """Two appliers bring their containers side by side, in the order in which each said them."""
    first = said(
        "first", None, deployment(**template({"name": "b", "image": "1"}, {"name": "a", "image": "1"}))
    )
    both = said(
        "second", first, deployment(**template({"name": "c", "image": "1"}, {"name": "a", "image": "1"}))
    )
    names = [item["name"] for item in both["spec"]["template"]["spec"]["containers"]]
    assert names == ["b", "c", "a"]
    alone = said("first", both, deployment(**template({"name": "b", "image": "1"})))
    assert {item["name"] for item in alone["spec"]["template"]["spec"]["containers"]} == {"a", "b", "c"}
    alone = said("second", alone, deployment(**template({"name": "c", "image": "1"})))
    assert [item["name"] for item in alone["spec"]["template"]["spec"]["containers"]] == ["b", "c"]


def test_ports_of_a_service_are_told_apart_by_port_and_protocol():
    """The protocol that is left out is TCP."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    first = said("a", None, {**service, "spec": {"ports": [{"port": 80, "name": "x"}]}}, resource=SERVICES)
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8}]
    second = said("b", first, {**service, "spec": {"ports": ports}}, resource=SERVICES)
    assert second["spec"]["ports"] == [{"port": 80, "name": "x", "protocol": "TCP", "targetPort": 8}]


def test_lists_of_istio_have_one_owner():
    """Its definitions name no keys: a list is replaced as a whole or not at all."""
    service = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "x"}}
    first = said("a", None, {**service, "spec": {"hosts": ["x"], "http": [1]}}, resource=VIRTUAL_SERVICES)
    with pytest.raises(Refused, match=r"\.spec\.http"):
        said("b", first, {**service, "spec": {"http": [1, 2]}}, resource=VIRTUAL_SERVICES)
    assert owned(first, "a") == [".spec.hosts", ".spec.http"]


def test_an_object_without_managers_was_written_before_the_first_apply():
    """Whoever changes it has to force; whoever agrees with it owns it too."""
    old = {**deployment(replicas=2), "metadata": {"name": "web", "uid": "u"}}
    with pytest.raises(Refused, match=r'conflict with "before-first-apply" using apps/v1: .spec.replicas'):
        said("me", old, deployment(replicas=3))
    assert owned(said("me", old, deployment(replicas=2)), "me") == [".spec.replicas"]


def test_kubectl_takes_over_what_it_applied_on_the_client_side():
    """What its annotation says that kubectl wrote is no conflict for kubectl, and one for everybody else."""
    last = deployment(replicas=2)
    old = {**deployment(replicas=2), "metadata": {"name": "web", "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(last)}}}  # fmt: skip
    assert said("kubectl", old, deployment(replicas=3))["spec"] == {"replicas": 3}
    with pytest.raises(Refused, match="conflict"):
        said("other", old, deployment(replicas=3))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (deployment(**template({"image": "x"})), "omits its key field 'name'"),
        (deployment(**template({"name": "a"}, {"name": "a"})), r'duplicate entries for key \[name="a"\]'),
        ({**deployment(), "metadata": {"name": "web", "managedFields": [{}]}}, "managedFields must be nil"),
    ],
)
def test_what_cannot_be_merged_is_refused(what, why):
    """400 with the place."""
    with pytest.raises(Refused, match=why) as refused:
        said("me", None, what)
    assert refused.value.code == 400


NAMES = st.sampled_from("abc")
CONTAINERS = st.dictionaries(
    NAMES, st.dictionaries(st.sampled_from(["image", "tty"]), st.integers(0, 2)), max_size=3
)


@st.composite
def pods(draw):
    """What somebody says of a pod: some containers, some labels."""
    containers = [{"name": name, **fields} for name, fields in draw(CONTAINERS).items()]
    labels = draw(st.dictionaries(NAMES, NAMES, max_size=2))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", **({"labels": labels} if labels else {})},
        **({"spec": {"containers": containers}} if containers else {}),
    }


def contains(whole, part):
    """Whether everything that `part` says is so in `whole`."""
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        there = {item["name"]: item for item in whole}
        return all(item["name"] in there and contains(there[item["name"]], item) for item in part)
    return whole == part


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), pods()), min_size=1, max_size=6))
def test_after_every_apply_the_object_says_what_the_last_word_of_each_was(applied):
    """The last applier's words hold; what is left of the others' words too; what nobody says is gone."""
    now, last = None, {}
    for name, what in applied:
        now = apply(writing(name, PODS), now, what, force=True)
        last[name] = what
        assert contains(now, what)
        again = apply(writing(name, PODS, now=LATER), now, what, force=False)
        assert again == now
    everything = set().union(*(fieldsets.paths(Schema(PODS), what) for what in last.values()))
    left = {
        path for path in fieldsets.paths(Schema(PODS), now) if path[:2] != ("f:metadata", "f:managedFields")
    }
    assert left <= everything | {("f:spec", "f:containers"), ("f:metadata", "f:labels"), ("f:spec",)}
    for entry in entries(now):
        assert entry.owned <= everything


@given(
    st.recursive(
        st.none() | st.integers(0, 2), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    )
)
def test_a_set_of_fields_survives_its_encoding(value):
    """As FieldsV1 and back."""
    found = fieldsets.paths(Schema(CONFIG_MAPS), {"data": value})
    assert fieldsets.decode(fieldsets.encode(found)) == found


@pytest.mark.parametrize("fields", [None, [], {"x": {}}, {"f:a": 1}, {"f:a": {"f:b": []}}])
def test_what_is_no_set_of_fields_is_told_apart(fields):
    """It counts as no entry at all."""
    assert fieldsets.decode(fields) is None


GOLDEN = Path(__file__).parents[2] / "golden" / "apply.json"


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text()), ids=itertools.count())
def test_owners_are_those_that_kubernetes_finds(case):
    """The same applies and updates leave the same object, the same owners and the same conflicts.

    Recorded with k8s.io/apimachinery v0.36.1 (`util/managedfields`) and the schema of k8s.io/client-go v0.36.1.
    """
    now = None
    for write in case["writes"]:
        what, why = copy.deepcopy(write["object"]), ""
        try:
            if write["how"] == "apply":
                now = said(write["manager"], now, what, force=write["force"])
            else:
                updater = writing(write["manager"], operation="Update")
                after = updater.updated(entries(now) if now else (), now, what)
                now = with_metadata(what, managedFields=encoded(after) or None)
        except Refused as refused:
            why = refused.message
        assert why == write["error"]
    metadata = dict(now["metadata"])
    found = metadata.pop("managedFields", [])
    assert {**now, "metadata": metadata} == case["object"]
    kept = [{key: entry[key] for key in ("manager", "operation", "fieldsV1")} for entry in found]
    assert sorted(kept, key=lambda it: (it["manager"], it["operation"])) == case["managers"]
