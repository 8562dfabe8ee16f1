"""Bad input to a whole mesh: what the API takes, the translation understands and Envoy accepts; the rest is refused.

`make fuzz RUNS=10000 SEED=1` runs it for longer.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoycheck import Pieces, rejected
from mutation import Mutations
from papermesh import VILLAGE, PaperMesh, manifests
from support import SAMPLES

from harness.localmesh import addresses
from harness.localmesh.admission import guarded_store
from harness.localmesh.api.resources import PODS, RESOURCES, Resource, by_kind
from harness.localmesh.api.server import Server
from harness.localmesh.ca import Authority
from harness.localmesh.kinds.parse import Manifest

RUNS = int(os.environ.get("FUZZ_RUNS", "200"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BATCH = 1500
TOKEN = "fuzz"
KINDS = frozenset(
    {"Service", "Pod", "Secret", "ConfigMap", "Node", "Deployment"}
    | {item.kind for item in RESOURCES if not item.builtin}
)
SCHEMAS = json.loads((Path(__file__).parent / "kinds" / "crds.json").read_text())
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
WAYS = (
    ("create",) * 6
    + ("replace",) * 2
    + ("apply",) * 2
    + ("merge", "merge", "strategic", "json", "delete", "delete")
)
SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogEncoding: JSON
    connectTimeout: 3s
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    defaultConfig: {proxyStatsMatcher: {inclusionRegexps: [".*x.*"]}}
"""


class Nothing:
    """Runs no pods."""

    def logs(self, namespace: str, name: str, container: str) -> bytes:
        """Nothing was written."""
        return b""

    def certificate_expires_at(self, pod: dict[str, Any]) -> float | None:
        """No sidecar has a certificate."""
        return None


@dataclass(frozen=True)
class Answer:
    """What the API server has said."""

    code: int
    body: Any


class Client:
    """Speaks HTTP to the API server, on one connection."""

    def __init__(self, port: int, address: str, authority: str) -> None:
        context = ssl.create_default_context(cadata=authority)
        self._connection = http.client.HTTPSConnection(address, port, timeout=30, context=context)

    def send(self, method: str, path: str, body: Any = None, media_type: str = "application/json") -> Answer:
        """The answer; every failure must be a Status, and none the server's own."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": media_type}
        sent = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, sent, headers)
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        if answer.status >= 400:
            assert (said["kind"], said["code"]) == ("Status", answer.status), said
            assert said["message"], said
            assert answer.status < 500, (method, path, body, said)
        return Answer(answer.status, said)

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


def seeds() -> list[Manifest]:
    """Valid manifests of every kind."""
    given = yaml.safe_load((Path(__file__).parent / "every_field.yaml").read_text())
    heads = {item.kind: item.api_version for item in RESOURCES}
    found = manifests(VILLAGE) + manifests(given["ROUND"]) + manifests(SETTINGS) + [_secret()]
    for kind, specs in given.items():
        if kind in heads:
            found += [_object(heads[kind], kind, spec) for spec in specs]
    for policy in given["POLICIES"]:
        spec = {
            "host": "a",
            "trafficPolicy": policy,
            "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
        }
        found.append(_object(heads["DestinationRule"], "DestinationRule", spec))
    for path in sorted(SAMPLES.glob("*.yaml")) if SAMPLES.is_dir() else ():
        found += manifests(path.read_text())
    settings = [item for item in found if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "istio"]
    return settings + [item for item in found if item["kind"] in KINDS - {"ConfigMap"}]


def _object(api_version: str, kind: str, spec: Any) -> Manifest:
    metadata = {"name": "it", "namespace": "default"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def _secret() -> Manifest:
    certificate, key = Authority().issue(address="127.0.0.1")
    data = {"tls.crt": certificate, "tls.key": key, "ca.crt": Authority().root_pem}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "one", "namespace": "default"},
        "data": encoded,
    }


class Fuzz:
    """A mesh on paper behind a real API server, and what is known of its objects from the answers alone."""

    def __init__(self, mesh: PaperMesh, client: Client, chance: random.Random) -> None:
        self.mesh = mesh
        self.client = client
        self._chance = chance
        self._mutations = Mutations(seeds(), SCHEMAS, chance)
        self.known = self.stored()
        self.accepted = 0

    def stored(self) -> set[tuple[str, str, str]]:
        """The objects there are, by kind, namespace and name."""
        return {
            (resource.kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])
            for resource in RESOURCES
            if resource.kind in KINDS
            for item in self.mesh.store.list(resource)
        }

    def run(self) -> str:
        """One request; says what it was, if it was accepted."""
        manifest = self._mutations.manifest()
        resource = by_kind(manifest["apiVersion"], manifest["kind"])
        assert resource is not None
        metadata = manifest["metadata"]
        there = self._ask("get", resource, manifest)
        way = self._chance.choice(WAYS) if there.code == 200 else "create"
        if way == "replace":
            metadata = {**metadata, "resourceVersion": there.body["metadata"]["resourceVersion"]}
        answer = self._ask(way, resource, {**manifest, "metadata": metadata})
        done = answer.code < 300
        if done and way == "delete":
            self.known.discard(_key(manifest))
        elif done:
            self.known.add(_key(manifest))
            if resource is PODS:
                self.mesh.serve(metadata["namespace"], metadata["name"])
        self.accepted += done
        assert self.stored() == self.known, (way, manifest, answer)
        return f"{way} {json.dumps(manifest)}" if done else ""

    def _ask(self, way: str, resource: Resource, manifest: Manifest) -> Answer:
        metadata = manifest["metadata"]
        root = f"/apis/{manifest['apiVersion']}" if resource.group else "/api/v1"
        home = f"{root}/namespaces/{metadata['namespace']}" if resource.namespaced else root
        collection, path = f"{home}/{resource.plural}", f"{home}/{resource.plural}/{metadata['name']}"
        if way == "get":
            return self.client.send("GET", path)
        if way == "create":
            return self.client.send("POST", collection, manifest)
        if way == "replace":
            return self.client.send("PUT", path, manifest)
        if way == "delete":
            return self.client.send("DELETE", path, {"gracePeriodSeconds": 0})
        query = "?fieldManager=fuzz&force=true" if way == "apply" else ""
        body: Any = manifest
        if way == "json":
            part = "spec" if "spec" in manifest else "data"
            body = [{"op": "add", "path": f"/{part}", "value": manifest.get(part)}]
        elif way != "apply":
            body = {key: value for key, value in manifest.items() if key in ("spec", "data")}
        return self.client.send("PATCH", path + query, body, PATCHES[way])


def _key(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


@pytest.fixture
def fuzz(tmp_path: Path) -> Iterator[Fuzz]:
    """The village with an API server of its own."""
    block = addresses.claim()
    store = guarded_store(block)
    authority = Authority()
    certificate, key = authority.issue(address=block.api)
    (tmp_path / "certificate.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    server = Server(
        store,
        block.api,
        token=TOKEN,
        certificate=tmp_path / "certificate.pem",
        key=tmp_path / "key.pem",
        pods=Nothing(),
    )
    server.start()
    client = Client(server.port, block.api, authority.root_pem)
    yield Fuzz(PaperMesh(VILLAGE, store), client, random.Random(SEED))
    client.close()
    server.stop()
    block.release()


@pytest.mark.e2e
@pytest.mark.timeout(7200)
def test_what_is_accepted_is_accepted_by_envoy(fuzz: Fuzz, tmp_path: Path) -> None:
    """No request gets a 5xx, no object is lost, and each state can be translated for every proxy and validates."""
    pieces = Pieces()
    for number in range(RUNS):
        done = fuzz.run()
        if done:
            for made in fuzz.mesh.snapshots().values():
                pieces.add(made, f"run {number}: {done}")
        if len(pieces.collected) >= BATCH or number == RUNS - 1:
            complaints = [
                f"{said.strip()[-500:]}\n{json.dumps(piece.resource)[:2000]}\n{piece.origin[:2000]}"
                for piece, said in rejected(pieces.collected, tmp_path)
            ]
            assert not complaints, "\n\n".join(complaints[:5])
            pieces.collected.clear()
    assert fuzz.accepted > RUNS * 0.2
