"""The kill matrix: runs that are killed at random moments against a local mesh, and what is left of their faults.

`make kill-matrix RUNS=200` does it RUNS times by SIGKILL, and a quarter as often by SIGTERM and with an API server
that misbehaves, and prints the seconds until the mesh was clean again.
"""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flaky import Flaky, proxy

from harness.changes import as_written
from harness.cluster import Cluster
from harness.injection import heal
from harness.ledger import Ledger
from harness.localmesh.launch import launch
from harness.watchdog import LOG

MANIFESTS = Path(__file__).with_name("matrix.yaml")
KINDS = (
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    ("security.istio.io/v1", "PeerAuthentication"),
    ("v1", "ConfigMap"),
    ("apps/v1", "Deployment"),
    ("coordination.k8s.io/v1", "Lease"),
)
CLEAN_WITHIN = 60.0
RUN = Path(__file__).with_name("victim.py")


@dataclass
class Row:
    """One way of ending runs: how many, the seconds to clean of those with changes in force, and what was left."""

    name: str
    runs: int = 0
    seconds: list[float] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.seconds) or [math.nan]
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
        return (
            f"{self.name:24} {self.runs:4} runs, {len(self.seconds)} of them with changes in force at the end; "
            f"{len(self.left)} left a fault; "
            f"clean after {at[0]:.2f} s (p50), {at[1]:.2f} s (p99)"
        )


class Matrix:
    """Runs against one mesh; `seed` decides when each is killed."""

    def __init__(self, kubeconfig: Path, folder: Path, seed: int) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._chance = random.Random(seed)
        self._cluster = Cluster.connect(kubeconfig)
        self._before = self.state()
        self._length = self._measure()

    def close(self) -> None:
        """Ends the connection."""
        self._cluster.close()

    def state(self) -> dict[str, Any]:
        """What people wrote, object by object."""
        state: dict[str, Any] = {}
        for version, kind in KINDS:
            for manifest in self._cluster.list(version, kind):
                written = as_written(manifest)
                meta = written["metadata"]
                meta.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
                if kind != "Lease" or meta["name"] == "harness-run":
                    state[f"{kind}/{meta['namespace']}/{meta['name']}"] = written
        return state

    def killed(self, runs: int, number: signal.Signals) -> Row:
        """Ends runs by a signal, at moments from the first write to the last."""
        row = Row(number.name)
        for _ in range(runs):
            with self._victim(self._kubeconfig) as victim:
                time.sleep(self._chance.uniform(0, self._length))  # the moment is the matter of the test
                victim.send_signal(number)
                self._await_clean(row, victim)
        return row

    def misserved(self, runs: int) -> Row:
        """Kills runs while the API server misbehaves, which it does until some time after; then `heal` ends it."""
        row = Row("API server misbehaves")
        path = self._folder / "flaky"
        for _ in range(runs):
            with (
                proxy(self._kubeconfig, path, self._chance.randrange(2**32)) as flaky,
                self._victim(path) as victim,
            ):
                flaky.share = 0.3
                time.sleep(self._chance.uniform(0, 10 * self._length))  # as above; mishaps take time
                victim.send_signal(self._chance.choice((signal.SIGKILL, signal.SIGTERM)))
                self._await_clean(row, victim, flaky)
        return row

    def _await_clean(self, row: Row, victim: subprocess.Popen[str], flaky: Flaky | None = None) -> None:
        """From the signal on, waits until the mesh is as before.

        A harness that comes later heals what an earlier one, whose API server misbehaved, said it left. As long as
        requests of a run that is gone are on their way, it cannot be said to be clean.
        """
        ended = time.monotonic()
        row.runs += 1
        now = self.state()
        hit = now != self._before
        if not hit or flaky is not None:  # else it is to be seen at once when it is clean
            victim.wait(CLEAN_WITHIN)
            now = self.state()
        while (now != self._before or (flaky and flaky.busy)) and time.monotonic() < ended + CLEAN_WITHIN:
            if flaky is not None and time.monotonic() > ended + 3.0:
                flaky.share = 0.0
                heal(self._cluster, Ledger(self._folder / "ledger"), elsewhere=False)
            time.sleep(0.01)
            now = self.state()
            hit = True
        if hit:
            row.seconds.append(time.monotonic() - ended)
        victim.wait(CLEAN_WITHIN)
        if (now := self.state()) != self._before:
            row.left.append(
                ", ".join(name for name in now | self._before if now.get(name) != self._before.get(name))
            )
            heal(self._cluster, Ledger(self._folder / "ledger"))

    def _measure(self) -> float:
        """How many seconds a run takes from its first write to its last."""
        with self._victim(self._kubeconfig) as victim:
            began = time.monotonic()
            assert victim.stdout is not None
            assert victim.stdout.readline() == "over\n"
            return time.monotonic() - began

    @contextmanager
    def _victim(self, kubeconfig: Path) -> Iterator[subprocess.Popen[str]]:
        """A run that is about to make its first write."""
        arguments = [sys.executable, str(RUN), str(kubeconfig), str(self._folder / "ledger")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as victim:
            try:
                assert victim.stdout is not None
                assert victim.stderr is not None
                said = victim.stdout.readline()
                assert said == "ready\n", victim.stderr.read()
                yield victim
            finally:
                victim.kill()


def main() -> int:
    """Prints the table; 1 when a fault was left."""
    runs, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    _say(f"Seed {seed}: repeat with it as the second argument.")
    with (
        tempfile.TemporaryDirectory(prefix="matrix") as folder,
        launch([MANIFESTS], _say, Path(folder) / "mesh") as addresses,
    ):
        matrix = Matrix(addresses.kubeconfig, Path(folder), seed)
        quarter = math.ceil(runs / 4)
        rows = []
        ways: tuple[Callable[[], Row], ...] = (
            lambda: matrix.killed(runs, signal.SIGKILL),
            lambda: matrix.killed(quarter, signal.SIGTERM),
            lambda: matrix.misserved(quarter),
        )
        for way in ways:
            rows.append(way())
            _say("\n".join([str(rows[-1]), *(f"    left: {left}" for left in rows[-1].left)]))
        matrix.close()
        log = Path(folder) / "ledger" / LOG
        said = log.read_text().splitlines() if log.exists() else []
        _say(f"The watchdogs undid {len(said)} changes.")
    return 1 if any(row.left for row in rows) else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
