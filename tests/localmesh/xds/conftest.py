"""Makers of small meshes, and a laboratory with real Envoys."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab import Lab, free_subnet
from makers import service, with_rules, workload


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Makers of workloads, Services and meshes."""
    return SimpleNamespace(workload=workload, service=service, with_rules=with_rules)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An empty laboratory; everything it starts ends with the module."""
    directory = Path(tempfile.mkdtemp(prefix="lab"))  # a socket's path must be short
    made = Lab(directory, free_subnet())
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory)
