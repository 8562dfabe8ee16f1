"""Small manifests and the configuration they must become, side by side under tests/golden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.snapshot import snapshot

GOLDEN = Path(__file__).parents[2] / "golden"


def _mesh(build) -> model.Mesh:
    workloads = [
        build.workload(name, f"127.9.0.{number}", f"127.9.1.{number}", version=version)
        for number, (name, version) in enumerate(
            [("client", "v1"), ("callee", "v1"), ("callee", "v2"), ("gateway", "v1")], 1
        )
    ]
    return model.Mesh(services=(build.service("callee", "10.0.0.2"),), workloads=tuple(workloads))


def _part(made: model.Snapshot, place: str) -> Any:
    """The part of a snapshot at `place`: keys joined by " > ", items of lists by name or index."""
    value: Any = made
    for key in place.split(" > "):
        if isinstance(value, model.Snapshot):
            value = getattr(value, key)
        elif isinstance(value, list):
            value = (
                value[int(key)] if key.isdecimal() else next(item for item in value if item["name"] == key)
            )
        else:
            value = value[key]
    return value


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_manifests_become_the_golden_configuration(path, build):
    """Each part that the JSON file names, for the workload it names, is exactly as it stands there."""
    mesh = build.with_rules(_mesh(build), path.read_text())
    expected = json.loads(path.with_suffix(".json").read_text())
    for name, parts in expected.items():
        workload = next(workload for workload in mesh.workloads if workload.name == name)
        proxy = model.Proxy(workload, {}, workload.ip, gateway=name.startswith("gateway"))
        made = snapshot(mesh, proxy)
        assert json.loads(json.dumps({place: _part(made, place) for place in parts})) == parts
