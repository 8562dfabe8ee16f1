"""The figures of the mesh with Bookinfo in it."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes import client, config

from harness.localmesh.launch import Addresses, launch
from tests.bench.figures import Figures
from tests.bench.machine import Sidecar, named, pss, sidecars
from tests.bench.served import Mark, served

SAMPLES = Path(__file__).parents[3] / "shared" / "istio-samples"
BOOKINFO = [SAMPLES / "bookinfo.yaml", SAMPLES / "bookinfo-gateway.yaml"]


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds them."""
    ups, downs = zip(*(_up_and_down() for _ in range(3 if quick else 7)), strict=True)
    figures.add("Bookinfo: harness up to the first 200", ups, 3.0, "s", at="median")
    figures.add("Bookinfo: harness down", downs, 1.0, "s")
    changes = 25 if quick else 50
    with _bookinfo() as addresses:
        pods, mark = sidecars(addresses), Mark(addresses, "default", "ratings")
        mark.kubectl(0)
        with config.new_client_from_config(str(addresses.kubeconfig)) as api:
            change = partial(mark.patch, client.CustomObjectsApi(api))
            patched = served(pods, "ratings:9080", change, changes)
        figures.add("VirtualService: patched to served by all sidecars", patched, 100.0, "ms", at="p99")
        applied = served(pods, "ratings:9080", mark.kubectl, changes)
        figures.add("VirtualService: kubectl apply to served by all", applied, 100.0, "ms", at="p99")
        memory = [_memory(addresses, pod) for pod in pods]
        figures.add("PSS of a pod", memory, 60.0, "MB")


@contextmanager
def _bookinfo() -> Iterator[Addresses]:
    with (
        tempfile.TemporaryDirectory(prefix="bench") as folder,
        launch(BOOKINFO, lambda text: None, Path(folder) / "m") as mesh,
    ):
        yield mesh


def _up_and_down() -> tuple[float, float]:
    folder = tempfile.mkdtemp(prefix="bench")
    env = {**os.environ, "XDG_RUNTIME_DIR": folder}
    command = str(Path(sys.executable).with_name("harness"))
    begun = time.monotonic()
    files = [word for path in BOOKINFO for word in ("-f", str(path))]
    with subprocess.Popen(
        [command, "up", *files], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as up:
        entry = next(line for line in _lines(up) if "ENTRY_URL" in line).split("=", 1)[1]
        url = urlsplit(entry)
        while _get(url.hostname or "", url.port or 80, "/productpage")[0] != 200:
            pass
        upped = time.monotonic() - begun
        begun = time.monotonic()
        subprocess.run([command, "down"], env=env, check=True, stderr=subprocess.DEVNULL)
        downed = time.monotonic() - begun
    left = list(Path(folder, "harness").iterdir())
    if left or named(folder):
        raise SystemExit(f"harness down left {left} and the processes {named(folder)}")
    shutil.rmtree(folder)
    return upped, downed


def _memory(addresses: Addresses, sidecar: Sidecar) -> float:
    """Megabytes of its program and its Envoy."""
    pods = f"{addresses.kubeconfig.parent}/pods/"
    pids = [*named(sidecar.pod, variables=True), *named(pods, mention=sidecar.ip)]
    return sum(map(pss, pids)) / 1024


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    if process.stdout is None:
        raise AssertionError("its output is a pipe")
    for line in process.stdout:
        yield line.decode().rstrip().replace("'", "")
