"""The figures of the local mesh: `make bench` prints them; nothing here is a test with a time limit.

Each figure stands beside the one it has to reach. Machines are shared and noisy: compare within one run.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes import client, config
from rich.console import Console
from rich.table import Table

from harness.localmesh.launch import Addresses, launch

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT.parent / "shared" / "istio-samples"
BOOKINFO = [SAMPLES / "bookinfo.yaml", SAMPLES / "bookinfo-gateway.yaml"]
CHANGES = 50
STARTS = 7


def main() -> None:
    """Measures everything and prints a table."""
    table = Table("figure", "measured", "to reach", "", title="Figures")
    console = Console(width=120)

    def row(name: str, values: list[float], limit: float, unit: str, *, at: str = "max") -> None:
        value = {"max": max, "p99": _p99, "median": statistics.median}[at](values)
        spread = f"{at} of {len(values)}, median {statistics.median(values):.4g}" if len(values) > 1 else ""
        table.add_row(f"{name} ({unit})", f"{value:.4g}", f"<= {limit:g}", spread)
        console.print(f"{name}: {value:.4g} {unit} (to reach: {limit:g}) {spread}")

    ups, downs = zip(*(_up_and_down() for _ in range(STARTS)), strict=True)
    row("Bookinfo: harness up to the first 200", list(ups), 3.0, "s", at="max")
    row("Bookinfo: harness down", list(downs), 1.0, "s", at="max")
    with _bookinfo() as addresses:
        with config.new_client_from_config(str(addresses.kubeconfig)) as api:
            patched = _served(addresses, partial(_patch, client.CustomObjectsApi(api)))
        row("VirtualService: patched to served by all sidecars", patched, 100.0, "ms", at="p99")
        applied = _served(addresses, partial(_kubectl, addresses))
        row("VirtualService: kubectl apply to served by all", applied, 100.0, "ms", at="p99")
        row("PSS of a pod", _pss(addresses), 60.0, "MB", at="max")
    if "--quick" not in sys.argv:
        row("make run", [_seconds("run")], 90.0, "s")
        row("make test", [_seconds("test")], 360.0, "s")
    console.print(table)


@contextmanager
def _bookinfo() -> Iterator[Addresses]:
    with (
        tempfile.TemporaryDirectory(prefix="bench") as folder,
        launch(BOOKINFO, _quiet, Path(folder) / "m") as mesh,
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
    if left or _named(folder):
        raise SystemExit(f"harness down left {left} and the processes {_named(folder)}")
    shutil.rmtree(folder)
    return upped, downed


def _served(addresses: Addresses, change: Callable[[int], None]) -> list[float]:
    """Milliseconds from the start of each of the changes until the last sidecar serves it."""
    with config.new_client_from_config(str(addresses.kubeconfig)) as api:
        pods = client.CoreV1Api(api).list_namespaced_pod("default").items
    sidecars = [pod.status.pod_ip for pod in pods]
    _kubectl(addresses, 0)
    change(0)
    taken = []
    for number in range(1, CHANGES + 1):
        ends: list[float] = []
        watching = threading.Thread(target=_await, args=(sidecars, f"{number}", ends))
        watching.start()
        begun = time.monotonic()
        change(number)
        watching.join()
        taken.append((ends[0] - begun) * 1000)
    return taken


def _await(sidecars: Sequence[str], wanted: str, ends: list[float]) -> None:
    """Notes when the last sidecar serves `wanted`: one after the other, so that asking takes little of the machine."""
    for ip in sidecars:
        connection = http.client.HTTPConnection(ip, 15001, timeout=5)
        while True:
            connection.request("GET", "http://ratings:9080/mark", headers={"Host": "ratings:9080"})
            if connection.getresponse().read().decode() == wanted:
                break
            time.sleep(0.002)
        connection.close()
    ends.append(time.monotonic())


def _rule(number: int) -> dict[str, object]:
    answer = {"status": 200, "body": {"string": f"{number}"}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "mark", "namespace": "default"},
        "spec": {"hosts": ["ratings"], "http": [{"directResponse": answer}]},
    }


def _patch(api: client.CustomObjectsApi, number: int) -> None:
    api.patch_namespaced_custom_object(
        "networking.istio.io",
        "v1",
        "default",
        "virtualservices",
        "mark",
        {"spec": _rule(number)["spec"]},
        _content_type="application/merge-patch+json",
    )


def _kubectl(addresses: Addresses, number: int) -> None:
    argv = ["kubectl", "--kubeconfig", str(addresses.kubeconfig), "apply", "-f", "-"]
    subprocess.run(argv, input=json.dumps(_rule(number)), text=True, check=True, stdout=subprocess.DEVNULL)


def _pss(addresses: Addresses) -> list[float]:
    """Megabytes of each pod with a sidecar: its program and its Envoy."""
    folder = addresses.kubeconfig.parent
    with config.new_client_from_config(str(addresses.kubeconfig)) as api:
        pods = client.CoreV1Api(api).list_namespaced_pod("default").items
    totals = []
    for pod in pods:
        pids = [
            *_named(pod.metadata.name, variables=True),
            *_named(f"{folder}/pods/", mention=pod.status.pod_ip),
        ]
        totals.append(sum(_pss_of(pid) for pid in pids) / 1024)
    return totals


def _pss_of(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


def _named(text: str, *, variables: bool = False, mention: str = "") -> list[int]:
    """Processes with `text` in their arguments (or variables), whose bootstrap mentions `mention`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            content = (entry / ("environ" if variables else "cmdline")).read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in content and (not mention or mention in _bootstrap(content)):
            found.append(int(entry.name))
    return found


def _bootstrap(arguments: str) -> str:
    path = next((word for word in arguments.split("\0") if word.endswith("bootstrap.json")), None)
    return Path(path).read_text() if path else ""


def _seconds(target: str) -> float:
    begun = time.monotonic()
    done = subprocess.run(["make", target], cwd=ROOT, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(
            f"make {target} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )
    return time.monotonic() - begun


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


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def _quiet(text: str) -> None:
    """Takes what the mesh says of its coming up."""


if __name__ == "__main__":
    main()
