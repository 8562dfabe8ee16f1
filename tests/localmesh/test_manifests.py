"""Reading manifest files."""

import json
from pathlib import Path

import pytest

from harness.localmesh.addresses import claim
from harness.localmesh.admission import guarded_store
from harness.localmesh.api.resources import CONFIG_MAPS, NAMESPACES, SERVICES, by_kind
from harness.localmesh.errors import MeshError
from harness.localmesh.genesis import objects
from harness.localmesh.manifests import load, read

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""


VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec: {hosts: [a], tunnel: []}
"""


@pytest.fixture
def store():
    """What a mesh holds at its beginning."""
    block = claim()
    store = guarded_store(block)
    for manifest in objects():
        store.create(by_kind(manifest["apiVersion"], manifest["kind"]), manifest)
    yield store
    block.release()


def _file(tmp_path, text):
    path = tmp_path / "objects.yaml"
    path.write_text(text)
    return path


def test_every_document_of_a_file_is_an_object(tmp_path):
    """Documents are counted from 1, empty ones are passed over."""
    documents = read([_file(tmp_path, f"---\n# nothing\n---\n{SERVICE}---\n{SERVICE}")])
    assert [document.manifest["kind"] for document in documents] == ["Service", "Service"]


def test_a_list_stands_for_its_items(tmp_path):
    """What `kubectl get -o yaml` prints can be given back."""
    listed = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"
    assert [document.manifest["kind"] for document in read([_file(tmp_path, listed)])] == ["Namespace"]


def test_a_folder_stands_for_its_manifests(tmp_path):
    """Files are taken in the order of their names."""
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: b}")
    (tmp_path / "a.yml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}")
    (tmp_path / "c.txt").write_text("no manifest")
    assert [document.manifest["metadata"]["name"] for document in read([tmp_path])] == ["a", "b"]


def test_a_namespace_may_follow_what_lives_in_it(tmp_path, store):
    """Namespaces are made first, wherever they stand."""
    text = SERVICE.replace("name: web}", "name: web, namespace: late}", 1)
    load(
        store,
        read([_file(tmp_path, f"{text}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: late}}")]),
    )
    assert store.get(SERVICES, "late", "web")
    assert store.get(NAMESPACES, "", "late")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("- 1\n- 2\n", "is not an object of Kubernetes, but list"),
        ("kind: Service\n", "apiVersion is missing"),
        ("apiVersion: v1\n", "kind is missing"),
        ("apiVersion: v1\nkind: Teapot\nmetadata: {name: x}\n", "no kind Teapot of v1"),
        (SERVICE.replace("spec: {", "spec: {color: red, "), 'unknown field "spec.color"'),
        (VIRTUAL_SERVICE, "spec.tunnel"),
    ],
)
def test_bad_input_is_refused_with_its_place_and_reason(tmp_path, store, text, said):
    """File, document and field are named in one sentence."""
    path = _file(tmp_path, text)
    with pytest.raises(MeshError) as error:
        load(store, read([path]))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named():
    """The path given is in the message."""
    with pytest.raises(MeshError, match=r"/no/such\.yaml: cannot be read"):
        read([Path("/no/such.yaml")])


def test_an_image_without_a_program_is_refused_with_those_there_are(tmp_path, store):
    """Nothing is made up for an unknown image."""
    text = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: db}
spec:
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "postgres:16"}]}
"""
    with pytest.raises(MeshError, match=r"postgres:16.*harness/service"):
        load(store, read([_file(tmp_path, text)]))


def test_what_the_mesh_begins_with_is_replaced_when_it_is_given(tmp_path, store):
    """The object keeps its uid; one that the files give twice is refused all the same."""
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {a: VALUE}\n"
    )
    load(store, read([_file(tmp_path, text)]))
    before = store.get(CONFIG_MAPS, "default", "settings")
    load(store, read([_file(tmp_path, text.replace("VALUE", "other"))]))
    after = store.get(CONFIG_MAPS, "default", "settings")
    assert after["data"] == {"a": "other"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    with pytest.raises(MeshError, match="already exists"):
        load(store, read([_file(tmp_path, f"{text}---\n{text}")]))


def test_a_file_that_is_applied_again_takes_away_what_it_has_lost(tmp_path, store):
    """What the mesh begins with remembers its file, as after `kubectl apply`: that is what kubectl compares with."""
    text = SERVICE.replace("name: web}", "name: web, labels: {}, annotations: {a: 'ü<'}}")
    load(store, read([_file(tmp_path, text)]))
    annotations = store.get(SERVICES, "default", "web")["metadata"]["annotations"]
    last = json.loads(annotations["kubectl.kubernetes.io/last-applied-configuration"])
    metadata = {"annotations": {"a": "ü<"}, "labels": {}, "name": "web", "namespace": "default"}
    assert last["metadata"] == metadata
    assert '"annotations":{"a":"ü\\u003c"},"labels":{},"name":"web"' in "".join(annotations.values())
    assert last["spec"] == {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}
