"""How fast a fault is there, is gone, and is healed when nobody is left to take it back.

Everything on local meshes: the first with two pods, the second that of the kill matrix, the third with 2,000 pods that
wait for a node nobody has, so that its API holds them without running them.
"""

from __future__ import annotations

import http.client
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from matrix import MANIFESTS, Matrix

from harness.changes import Edit, Patch, Ref
from harness.cluster import Cluster
from harness.faults import Abort, BlastRadius, Target
from harness.healing import heal
from harness.injection import apply_changes, inject, resolve
from harness.ledger import Ledger
from harness.localmesh.launch import launch
from tests.bench.figures import Figures
from tests.bench.machine import sidecars
from tests.bench.path import PORT, service

PODS = 2000
ROUTES = 500
_RADIUS = BlastRadius(max_pods=1, seconds=30)


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds the figures of faults."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        _bite(figures, Path(folder) / "a", times=30 if quick else 150)
        _watchdog(figures, Path(folder) / "b", runs=20 if quick else 100)
        _heal(figures, Path(folder) / "c", times=2 if quick else 5)


@dataclass
class _Client:
    """Asks all the time, from one pod through both sidecars, and notes every turn of the answers."""

    host: str
    authority: str
    turns: list[tuple[float, int]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Until `end`: (seconds by the monotonic clock, status) goes to `turns` at every turn."""
        connection = http.client.HTTPConnection(self.host, 15001, timeout=5)
        last = 0
        while not self._ended.is_set():
            connection.request("GET", f"http://{self.authority}/", headers={"Host": self.authority})
            answer = connection.getresponse()
            answer.read()
            if answer.status != last:
                last = answer.status
                self.turns.append((time.monotonic(), last))
        connection.close()

    def turned(self, status: int, since: float) -> float:
        """Milliseconds from `since` until answers had that status."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if self.turns and self.turns[-1][1] == status and self.turns[-1][0] >= since:
                return (self.turns[-1][0] - since) * 1000
            time.sleep(0.001)
        raise AssertionError(f"no {status} within 5 s: {self.turns[-5:]}")

    def end(self) -> None:
        """Ends `ask`."""
        self._ended.set()


def _bite(figures: Figures, folder: Path, *, times: int) -> None:
    """From `inject` to the first request that shows the fault, and from `revert` to the last that does."""
    folder.mkdir()
    manifests = folder / "two.yaml"
    manifests.write_text(yaml.safe_dump_all(item for name in ("caller", "callee") for item in service(name)))
    with launch([manifests], lambda text: None, folder / "m") as addresses:
        caller = next(pod for pod in sidecars(addresses) if pod.labels["app"] == "caller")
        asking = _Client(caller.ip, f"callee:{PORT}")
        thread = threading.Thread(target=asking.ask)
        thread.start()
        ledger, fault, there, gone = Ledger(folder / "ledger"), Abort(503, percent=100), [], []
        try:
            with Cluster.connect(addresses.kubeconfig) as cluster:
                scene = resolve(cluster, Target("callee", namespace="default"), run="bench", seed=1)
                for _ in range(times):
                    began = time.monotonic()
                    injection = inject(cluster, fault, scene, ledger=ledger, blast_radius=_RADIUS)
                    there.append(asking.turned(503, began))
                    began = time.monotonic()
                    injection.end()
                    gone.append(asking.turned(200, began))
        finally:
            asking.end()
            thread.join()
    figures.add("from inject() to the first request that shows the fault", there, 150.0, "ms", at="p99")
    figures.add("from revert to the last request that shows the fault", gone, 150.0, "ms", at="p99")


def _watchdog(figures: Figures, folder: Path, *, runs: int) -> None:
    """From SIGKILL at a random moment until the mesh is as before."""
    folder.mkdir()
    with launch([MANIFESTS], lambda text: None, folder / "m") as addresses:
        matrix = Matrix(addresses.kubeconfig, folder, seed=1)
        row = matrix.killed(runs, signal.SIGKILL)
        matrix.close()
    if row.left:
        raise SystemExit(f"{len(row.left)} runs left a fault: {row.left}")
    figures.add("from SIGKILL until the watchdog has cleaned up", row.seconds, 1.0, "s", at="p99")


def _heal(figures: Figures, folder: Path, *, times: int) -> None:
    """`heal` with nothing but the kubeconfig, where one route carries a fault, and where all of them do."""
    with (
        launch([], lambda text: None, folder / "m") as addresses,
        Cluster.connect(addresses.kubeconfig) as cluster,
    ):
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crowd"}})
        for number in range(PODS):
            cluster.create(_pod(number))
        routes = [cluster.create(_route(number)) for number in range(ROUTES)]
        for what, chosen in (("one", routes[:1]), ("all", routes)):
            taken = [_healed(cluster, folder, chosen) for _ in range(times)]
            name = f"heal, {PODS:,} pods and {ROUTES} VirtualServices, {what} of them with a fault"
            figures.add(name, taken, 3.0, "s")


def _healed(cluster: Cluster, folder: Path, routes: list[Any]) -> float:
    """Seconds to heal these routes, of which the ledger of this machine knows nothing."""
    changes = [Patch(_ref(route), (Edit(("spec", "http", 0, "timeout"), "1s"),)) for route in routes]
    with tempfile.TemporaryDirectory(dir=folder) as other:
        made = apply_changes(cluster, changes, run="gone", ledger=Ledger(Path(other)), expires_in=-1)
        assert len(made.changes) == len(routes)
    began = time.monotonic()
    healing = heal(cluster, Ledger(folder / "ledger"))
    taken = time.monotonic() - began
    if len(healing.done) != len(routes) or healing.failed:
        raise SystemExit(f"heal did {len(healing.done)} of {len(routes)}: {healing.failed[:3]}")
    return taken


def _ref(route: Any) -> Ref:
    return Ref("networking.istio.io/v1", "VirtualService", "crowd", route["metadata"]["name"])


def _route(number: int) -> dict[str, Any]:
    host = f"service-{number}"
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": host, "namespace": "crowd"},
        "spec": {
            "hosts": [host],
            "http": [
                {
                    "route": [{"destination": {"host": host}}],
                    "timeout": "10s",
                    "retries": {"attempts": 2, "perTryTimeout": "2s"},
                }
            ],
        },
    }


def _pod(number: int) -> dict[str, Any]:
    """One that no node takes."""
    container = {"name": "app", "image": "harness/service", "ports": [{"containerPort": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": "crowd",
            "labels": {"app": f"service-{number % ROUTES}"},
        },
        "spec": {"containers": [container], "nodeSelector": {"nobody/has": "this"}},
    }
