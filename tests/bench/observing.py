"""What the harness itself costs while it observes: its own process, without the load generator and the mesh."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path

from harness.cluster import Cluster
from harness.experiment import Experiment, Mesh, Quiet, run
from harness.faults import Abort, BlastRadius, Target
from harness.indicators import availability, latency
from harness.journal import Journal
from harness.ledger import Ledger
from harness.load import Load
from harness.localmesh.launch import launch
from harness.prometheus import Prometheus
from harness.slo import SLO
from tests.bench.figures import Figures

ROOT = Path(__file__).parents[2]
_SEED = 1
_NEVER = 10**6  # events, so that the phase is as long as it may be


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds the CPU of the harness while it observes a fault on the shop, in percent of a core."""
    seconds = 10.0 if quick else 30.0
    served = SLO("served", availability("frontend", namespace="shop"), at_least=0.5, enough=_NEVER)
    quickly = SLO("quickly", latency("frontend", namespace="shop", quantile=0.5), at_most=1.0, enough=_NEVER)
    experiment = Experiment(
        hypothesis=[served, quickly],
        target=Target("catalog", namespace="shop"),
        fault=Abort(503, percent=10),
        load=Load(str(ROOT / "loadprofiles" / "browse.py"), rate=200, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=3, seconds=seconds + 30),
        observe=seconds,
    )
    watch = _Stopwatch()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        _perform(experiment, watch, Path(folder))
    percent = 100.0 * watch.cpu / watch.seconds
    figures.add("CPU of the harness while it observes", [percent], 10.0, "%")


class _Stopwatch(Quiet):
    """Seconds, and seconds of CPU of this process, in the phase observe."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0
        self._begun: tuple[float, float] | None = None

    def phase(self, name: str) -> None:
        """Begins with the phase, and ends with the next one."""
        now = time.monotonic(), time.process_time()
        if self._begun is not None:
            self.seconds, self.cpu = now[0] - self._begun[0], now[1] - self._begun[1]
        self._begun = now if name == "observe" else None


def _perform(experiment: Experiment, watch: _Stopwatch, folder: Path) -> None:
    """Runs the experiment on the shop."""
    with (
        launch([ROOT / "experiments" / "shop.yaml"], lambda _: None) as addresses,
        Cluster.connect(addresses.kubeconfig) as cluster,
        closing(Prometheus(addresses.prometheus_url)) as prometheus,
        Journal(folder / "run.jsonl") as journal,
    ):
        run(
            experiment,
            Mesh(cluster, addresses.entry_url, prometheus),
            name="bench",
            run_id="bench",
            seed=_SEED,
            journal=journal,
            ledger=Ledger(folder / "ledger"),
            watch=watch,
        )
    if not watch.seconds:
        raise SystemExit(
            "The experiment of the bench was not observed; look at its journal by a run of its own."
        )
