"""Bad input: whatever is sent is accepted or refused with a Status, and nothing that was stored is lost."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from email.message import Message

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import SAMPLES

from harness.localmesh.api.messages import Response, request
from harness.localmesh.api.resources import NAMESPACES, RESOURCES, by_kind
from harness.localmesh.api.verbs import Api
from harness.localmesh.kinds.admission import admit
from harness.localmesh.store import Store

MORE = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec: {minAvailable: 50%, selector: {matchLabels: {app: reviews}}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {app: bare}, finalizers: [example.com/hold]}
spec:
  nodeSelector: {disk: ssd}
  containers:
  - name: main
    image: web
    ports: [{name: http, containerPort: 80}]
    env: [{name: A, value: b}]
    readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
    lifecycle: {preStop: {sleep: {seconds: 1}}}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
data: {key: dmFsdWU=}
---
apiVersion: v1
kind: Node
metadata: {name: node, labels: {topology.kubernetes.io/zone: a}}
spec: {unschedulable: true}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: lease}
spec: {holderIdentity: me, leaseDurationSeconds: 10, renewTime: "2026-01-01T00:00:00.000000Z"}
"""
ODD = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            2**31,
            2**63,
            1e308,
            0.5,
            "",
            "x",
            "0",
            "-1%",
            "\x00",
            "\ud800",
            "é" * 300,
            "..",
            "a/b",
        ),
        *(
            [],
            [None],
            [[]],
            [{}] * 3,
            {},
            {"": ""},
            {"name": 1},
            {"$patch": "delete"},
            "127.0.0.1",
            "A" * 70_000,
        ),
    ]
)
PATCHES = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


def seeds():
    """Valid manifests of many kinds."""
    texts = [path.read_text() for path in sorted(SAMPLES.glob("*.yaml"))] if SAMPLES.is_dir() else []
    return [item for text in (*texts, MORE) for item in yaml.safe_load_all(text) if item]


SEEDS = seeds()


def places(value, path=()) -> Iterator[tuple]:
    """Every place in a manifest."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def odd(draw):
    """An odd value of its own."""
    return copy.deepcopy(draw(ODD))


@st.composite
def mutated(draw):
    """A valid manifest with up to three things wrong."""
    manifest = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from([place for place in places(manifest) if place]))
        holder = manifest
        for step in path[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["set", "remove", "add", "wrap"])):
            case "set":
                holder[path[-1]] = odd(draw)
            case "remove":
                del holder[path[-1]]
            case "add" if isinstance(holder, dict):
                field = draw(st.sampled_from(["status", "foo", "metadata", "spec", "name", "$patch"]))
                holder[field] = odd(draw)
            case _:
                holder[path[-1]] = [holder[path[-1]]]
    return manifest


class Client:
    """Sends requests straight to the API."""

    def __init__(self) -> None:
        self.store = Store([admit])
        self.store.create(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        )
        self.api = Api(self.store, self)

    def logs(self, namespace, name, container):
        """No pod runs here."""
        return b""

    def certificate_expires_at(self, pod):
        """No sidecar has a certificate."""

    def send(self, method, path, body=b"", media_type="application/json", accept="application/json"):
        """Code and body of the answer, which is a Status when it is no success."""
        headers = Message()
        headers["Content-Type"], headers["Accept"] = media_type, accept
        answer = self.api.dispatch(request(method, path, headers, body))
        if not isinstance(answer, Response):
            return 200, b"".join(answer.frames)
        if answer.code >= 400:
            status = json.loads(answer.body)
            assert (status["kind"], status["code"]) == ("Status", answer.code), status
            assert status["message"], status
            # 504 is what Kubernetes answers about a revision that has not been reached yet.
            assert answer.code < 500 or answer.code == 504, status
        return answer.code, answer.body


def home(manifest):
    """The path of the collection and of the object."""
    kind, api = manifest.get("kind"), manifest.get("apiVersion")
    resource = by_kind(api, kind) if isinstance(kind, str) and isinstance(api, str) else None
    if resource is None:
        return "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/pods/bare"
    root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
    collection = f"{root}{'/namespaces/default' if resource.namespaced else ''}/{resource.plural}"
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    safe = name if isinstance(name, str) and name.isascii() and name.isalnum() else "bare"
    return collection, f"{collection}/{safe}"


def encoded(manifest):
    """As JSON, with what JSON in UTF-8 cannot hold left to the escapes."""
    return json.dumps(manifest).encode()


TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SETTINGS
@given(st.lists(st.tuples(mutated(), st.sampled_from(["POST", "PUT", *PATCHES, "status"])), max_size=6))
def test_mutated_manifests_are_accepted_or_refused(sent):
    """Created, replaced and patched in every way; what is stored can be listed as objects and as tables."""
    client = Client()
    for manifest in SEEDS:
        client.send("POST", home(manifest)[0], encoded(manifest))
    for manifest, how in sent:
        collection, path = home(manifest)
        kept = {(item.plural): len(client.store.list(item)) for item in RESOURCES}
        if how in ("POST", "PUT"):
            client.send(how, collection if how == "POST" else path, encoded(manifest))
        elif how == "status":
            client.send("PUT", f"{path}/status", encoded(manifest))
            client.send("PATCH", f"{path}/status", encoded(manifest), PATCHES[0])
        else:
            client.send("PATCH", f"{path}?fieldManager=fuzz&force=true", encoded(patch(manifest, how)), how)
        for resource in RESOURCES:
            assert len(client.store.list(resource)) >= kept[resource.plural]
    for resource in RESOURCES:
        root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        assert client.send("GET", f"{root}/{resource.plural}")[0] == 200
        assert client.send("GET", f"{root}/{resource.plural}", accept=TABLE)[0] == 200


def patch(manifest, media_type):
    """The manifest as a patch of that type."""
    if media_type != "application/json-patch+json":
        return manifest
    inner = list(places(manifest))[1:20]
    return [
        {"op": "add", "path": "/" + "/".join(map(str, path)), "value": at(manifest, path)} for path in inner
    ]


def at(value, path):
    """What is at that place."""
    for step in path:
        value = value[step]
    return value


@SETTINGS
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", *PATCHES]
    ),
)
def test_bodies_that_mean_nothing_are_refused(body, media_type):
    """Bytes that are no object are a 4xx for every way of writing."""
    client = Client()
    pods = "/api/v1/namespaces/default/pods"
    if media_type == "application/vnd.kubernetes.protobuf":
        body = b"k8s\x00" + body
    for method, path in (("POST", pods), ("PATCH", f"{pods}/x?fieldManager=a"), ("DELETE", f"{pods}/x")):
        assert client.send(method, path, body, media_type)[0] >= 400


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "application/json"),
        (b"[" * 5_000, "application/yaml"),
        (b"a: &a [*a]", "application/yaml"),
        (
            b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 10)) for n in range(98, 110)
            ),
            "application/yaml",
        ),
        (b"{metadata: {name: x, labels: {[1, 2]: 3}}}", "application/yaml"),
        (b"a: .nan", "application/yaml"),
        (b"a: !!python/object:os.system x", "application/yaml"),
        (b'{"metadata": {"name": ["x"]}}', "application/json"),
        (b'{"metadata": {"generateName": 5}}', "application/json"),
        (b'{"a": 99999999999999999999999999}', "application/json"),
    ],
)
def test_hostile_bodies_are_refused_at_once(body, media_type):
    """Depth, aliases that multiply or go in circles, and what JSON does not have."""
    assert Client().send("POST", "/api/v1/namespaces/default/pods", body, media_type)[0] == 400


STEPS = (
    *(
        "api",
        "apis",
        "v1",
        "namespaces",
        "default",
        "pods",
        "bare",
        "log",
        "status",
        "scale",
        "apps",
        "deployments",
    ),
    *("eviction", "batch", "jobs", "exec", "%00", "%2F", "", "..", "é", "healthz", "openapi", "v3"),
)
NAMES = (
    *(
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "resourceVersion",
        "dryRun",
        "tailLines",
        "force",
    ),
    *("resourceVersionMatch", "gracePeriodSeconds", "propagationPolicy", "fieldManager"),
)
VALUES = (
    "",
    "1",
    "-1",
    "All",
    "x",
    "a=b",
    "a in (b)",
    "9" * 5000,
    "Exact",
    "true",
    "metadata.name=x",
    "e30=",
)


@SETTINGS
@given(
    st.sampled_from(["GET", "DELETE", "POST", "PUT", "PATCH", "OPTIONS", "BREW"]),
    st.lists(st.sampled_from(STEPS), max_size=8),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3),
)
def test_paths_and_queries_never_fail(method, steps, query):
    """Whatever path is asked, however: an answer below 500, but for a revision that is not there yet."""
    client = Client()
    for manifest in SEEDS[-5:]:
        client.send("POST", home(manifest)[0], encoded(manifest))
    target = "/" + "/".join(steps) + "?" + "&".join(f"{key}={value}" for key, value in query.items())
    client.send(method, target, b"{}")
