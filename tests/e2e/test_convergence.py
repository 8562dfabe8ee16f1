"""Whatever changes in whatever order: real Envoys end with what a mesh started from the end would give them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from everything import OBJECTS
from google.protobuf import json_format
from live import LiveMesh, service
from papermesh import Objects, PaperMesh
from support import eventually

from harness.localmesh.api.resources import RESOURCES
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.launch import launch
from harness.localmesh.store import Store
from harness.localmesh.xds.encoding import Encoder
from harness.localmesh.xds.model import Snapshot

pytestmark = pytest.mark.e2e

CHANGES = 30
PATHS = {
    "clusters": ("dynamic_active_clusters", ("cluster",)),
    "listeners": ("dynamic_listeners", ("active_state", "listener")),
    "routes": ("dynamic_route_configs", ("route_config",)),
    "endpoints": ("dynamic_endpoint_configs", ("endpoint_config",)),
}
_MORE = ("endpoints", "routes")
"""Of these an Envoy may have more: endpoints of clusters without EDS, and routes of listeners that drain."""

NETWORKED = [
    item
    for item in OBJECTS
    if item["apiVersion"].partition("/")[0].endswith("istio.io")
    and item["kind"] != "Telemetry"
    # Where there is no such Secret, Envoy rightly waits for it, and goes on with what it had.
    and "credentialName" not in str(item)
]


@pytest.fixture(scope="module")
def mesh(short: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """Three Services, of two versions one, and an ingress gateway."""
    manifest = tmp_path_factory.mktemp("village") / "village.yaml"
    ports = {"http": (8080, 8080), "tcp": (9000, 9000)}
    manifest.write_text("---".join((service("a", "v1", "v2"), service("b", ports=ports), service("c"))))
    with launch([manifest], print, short / "convergence") as addresses:
        yield LiveMesh(addresses, short / "kubectl")


@pytest.mark.parametrize("seed", range(2))
def test_envoys_end_with_what_a_fresh_start_would_give_them(mesh: LiveMesh, seed: int) -> None:
    """All clusters, endpoints, listeners and routes, after objects came, changed and went and pods were killed."""
    dice = random.Random(seed)
    for _ in range(CHANGES):
        _change(mesh, dice)
    eventually(lambda: _is_as_wanted(mesh), 30.0)
    for kind in sorted({item["kind"].lower() for item in NETWORKED}):
        mesh.kubectl("delete", kind, "--all")
    eventually(lambda: _is_as_wanted(mesh), 30.0)


def _change(mesh: LiveMesh, dice: random.Random) -> None:
    """An object is written or erased, or pods are killed or become more or fewer; what is refused changes nothing."""
    how = dice.choice(["write"] * 6 + ["erase", "kill", "scale"])
    if how == "kill":
        mesh.kubectl("delete", "pod", "-l", f"app={dice.choice('abc')}", "--wait=false")
    elif how == "scale":
        mesh.kubectl("scale", "deployment", "a-v2", f"--replicas={dice.choice('0123')}")
    else:
        made = dice.choice(NETWORKED)
        name = dice.choice(["it", "other"])
        made = {**made, "metadata": {**made["metadata"], "name": name, "namespace": "default"}}
        verb = ["apply"] if how == "write" else ["delete", "--ignore-not-found"]
        argv = ["kubectl", "--kubeconfig", str(mesh.addresses.kubeconfig), *verb, "-f", "-"]
        subprocess.run(argv, input=yaml.safe_dump(made), text=True, capture_output=True, check=False)


def _is_as_wanted(mesh: LiveMesh) -> bool:
    differences = _differences(mesh)
    assert not differences, "\n".join([*differences, mesh.kubectl("get", "events", "-A"), _log(mesh)])
    return True


def _log(mesh: LiveMesh) -> str:
    """The end of what the mesh itself has written down."""
    return mesh.addresses.kubeconfig.with_name("mesh.log").read_text()[-4000:]


def _differences(mesh: LiveMesh) -> list[str]:
    """Where an Envoy has other resources than a translation of the present objects, from nothing, gives."""
    objects = [item for resource in RESOURCES for item in _objects(mesh, resource.plural)]
    pods = {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod
        for pod in objects
        if pod["kind"] == "Pod"
    }
    wanted = PaperMesh(store=cast(Store, Objects(objects))).fresh_snapshots()
    return [
        f"{name}: {kind} {resource}"
        for name, snapshot in wanted.items()
        for kind in PATHS
        for resource in _other(_wanted(snapshot, kind), _had(mesh, pods[name], kind), part=kind in _MORE)
    ]


def _objects(mesh: LiveMesh, plural: str) -> list[Manifest]:
    found = yaml.safe_load(mesh.kubectl("get", plural, "-A", "-o", "json"))
    return cast(list[Manifest], found["items"])


def _other(one: Mapping[str, Any], other: Mapping[str, Any], *, part: bool) -> list[str]:
    """The names of what is not the same; with `part` the other may have more."""
    names = one.keys() if part else one.keys() | other.keys()
    return sorted(name for name in names if one.get(name) != other.get(name))


def _wanted(snapshot: Snapshot, kind: str) -> dict[str, Any]:
    return {name: _form(item, kind) for name, item in getattr(snapshot, kind).items()}


def _had(mesh: LiveMesh, pod: Manifest, kind: str) -> dict[str, Any]:
    """What Envoy itself says that it has."""
    resource, path = PATHS[kind]
    dump = mesh.admin(pod, f"/config_dump?resource={resource}&include_eds")
    found = (reduce(lambda item, key: item.get(key, {}), path, one) for one in dump.get("configs", ()))
    return {item.get("name") or item["cluster_name"]: _form(item, kind) for item in found if item}


def _form(resource: Any, kind: str) -> Any:
    return _places(resource) if kind == "endpoints" else _message(resource)


def _places(assignment: Any) -> list[tuple[int, str]]:
    """Priority and address of each endpoint; what else there is of it Envoy tells in its own way."""
    return sorted(
        (group.get("priority", 0), yaml.safe_dump(one["endpoint"]["address"]))
        for group in assignment.get("endpoints", ())
        for one in group.get("lb_endpoints", ())
    )


def _message(resource: Any) -> Any:
    """In one form: a default that is written and one that is not are the same, and so are "1s" and "1.000s"."""
    packed = Encoder().encoded(resource).message
    return json_format.MessageToDict(packed, descriptor_pool=packed.DESCRIPTOR.file.pool)
