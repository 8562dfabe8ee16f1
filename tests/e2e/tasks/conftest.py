"""One mesh for all tasks: each has a namespace of its own in it, and leaves the mesh as it found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import LiveMesh

from harness.localmesh.launch import launch


@pytest.fixture(scope="session")
def mesh(short: Path, samples: Path) -> Iterator[LiveMesh]:
    """A mesh with Istio's Bookinfo in the namespace default."""
    manifests = [
        samples / "bookinfo.yaml",
        samples / "bookinfo-gateway.yaml",
        samples / "destination-rule-all.yaml",
    ]
    with launch(manifests, print, short / "tasks") as addresses:
        yield LiveMesh(addresses, short / "kubectl")
