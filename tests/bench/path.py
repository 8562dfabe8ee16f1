"""What two sidecars add to a request: a client through both, and the same client straight to the program."""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from harness.localmesh.launch import launch
from tests.bench.figures import Figures, p99
from tests.bench.machine import Sidecar, sidecars

RATE = 500.0
PORT = 8000
_BLOCK = 250


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds what two sidecars add to a request at 500 requests/s, in a mesh of two pods.

    In a larger one its other sidecars and Prometheus would be measured too, which need their share of two cores.
    """
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        manifests = Path(folder) / "two.yaml"
        manifests.write_text(
            yaml.safe_dump_all(item for name in ("caller", "callee") for item in service(name))
        )
        with launch([manifests], lambda text: None, Path(folder) / "m") as addresses:
            pods = {pod.labels["app"]: pod for pod in sidecars(addresses)}
            _measure(figures, pods["caller"], pods["callee"], f"callee:{PORT}", blocks=8 if quick else 40)


def service(name: str, namespace: str = "default", replicas: int = 1) -> tuple[object, object]:
    """A Service of that name at `PORT`, and the Deployment behind it."""
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    container = {"name": "app", "image": "harness/service", "ports": [{"containerPort": 8080}]}
    template = {
        "metadata": {"labels": {"app": name, "version": "v1"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    ports = [{"name": "http", "port": PORT, "targetPort": 8080}]
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return (
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": name}, "ports": ports},
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
    )


def _measure(figures: Figures, caller: Sidecar, callee: Sidecar, authority: str, *, blocks: int) -> None:
    """Blocks of half a second of the one and of the other take turns, so that both meet the same machine."""
    sidecar = _requests(caller.ip, 15001, f"http://{authority}/", authority)
    straight = _requests(callee.program, 8080, "/", authority)
    through: list[float] = []
    direct: list[float] = []
    _block(sidecar)  # connections and routes are made
    _block(straight)
    for _ in range(blocks):
        through += _block(sidecar)
        direct += _block(straight)
    figures.add("a request straight to the program, 500/s", direct, None, "ms", at="p99")
    figures.add("a request through two sidecars, 500/s", through, None, "ms", at="p99")
    figures.add("two sidecars add at p99, 500/s", [p99(through) - p99(direct)], 1.0, "ms")


def _block(request: Callable[[], None]) -> list[float]:
    """Milliseconds that each of the requests of one block took."""
    taken = []
    due = time.perf_counter()
    for _ in range(_BLOCK):
        due += 1 / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        begun = time.perf_counter()
        request()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _requests(host: str, port: int, target: str, authority: str) -> Callable[[], None]:
    connection = http.client.HTTPConnection(host, port, timeout=5)

    def request() -> None:
        connection.request("GET", target, headers={"Host": authority})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise AssertionError(f"{host}:{port} answered {answer.status}")

    return request
