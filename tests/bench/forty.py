"""The figures of a mesh with 40 pods: coming up, changes, rest."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import yaml
from kubernetes import client, config

from harness.localmesh.launch import Addresses, launch
from tests.bench import path
from tests.bench.figures import Figures
from tests.bench.machine import cpu_seconds, mesh_process, sidecars
from tests.bench.served import Mark, served

NAMESPACES = ("default", "other")
SERVICES = 10  # in each namespace
REPLICAS = 2


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds them."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        manifests = Path(folder) / "forty.yaml"
        manifests.write_text(yaml.safe_dump_all(_manifests()))
        begun = time.monotonic()
        with launch([manifests], lambda text: None, Path(folder) / "m") as addresses:
            figures.add("40 pods: from nothing to all ready", [time.monotonic() - begun], 12.0, "s")
            _changes(figures, addresses, 20 if quick else 60)
            _rest(figures, addresses, 5.0 if quick else 10.0)


def _changes(figures: Figures, addresses: Addresses, times: int) -> None:
    """A rule for all, and one for a namespace: how soon sidecars serve it, and whether the other 20 get anything."""
    own, others = (sidecars(addresses, namespace) for namespace in NAMESPACES)
    narrow = Mark(addresses, NAMESPACES[0], "s1")
    wide = Mark(addresses, NAMESPACES[0], f"s2.{NAMESPACES[0]}.svc.cluster.local", export_to="*")
    for mark in (narrow, wide):
        mark.kubectl(0)
    with config.new_client_from_config(str(addresses.kubeconfig)) as api:
        custom = client.CustomObjectsApi(api)
        everywhere = served([*own, *others], f"{wide.host}:{path.PORT}", partial(wide.patch, custom), times)
        before = [sidecar.updates() for sidecar in others]
        some = served(own, f"{narrow.host}:{path.PORT}", partial(narrow.patch, custom), times)
    touched = sum(was != sidecar.updates() for was, sidecar in zip(before, others, strict=True))
    figures.add("40 pods: a change served by all 40", everywhere, 150.0, "ms", at="p99")
    figures.add("40 pods: a change served by the 20 it concerns", some, 150.0, "ms", at="p99")
    figures.add("40 pods: sidecars touched that it does not concern", [touched], 0.0, "of 20")


def _rest(figures: Figures, addresses: Addresses, seconds: float) -> None:
    """What the mesh's own process computes while nothing happens."""
    pid = mesh_process(addresses)
    before = cpu_seconds(pid)
    time.sleep(seconds)  # it is the time that is measured
    share = 100 * (cpu_seconds(pid) - before) / seconds
    figures.add("40 pods: the mesh's process at rest", [share], 2.0, "% of a core")


def _manifests() -> list[object]:
    names = [(namespace, f"s{number}") for namespace in NAMESPACES for number in range(SERVICES)]
    injected = {"kubernetes.io/metadata.name": NAMESPACES[1], "istio-injection": "enabled"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACES[1], "labels": injected},
    }
    return [namespace, *(item for space, name in names for item in path.service(name, space, REPLICAS))]
