"""Runs of experiments as tests make them: against one mesh, with a journal, and with the ledger beside it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from harness.cluster import Cluster
from harness.experiment import Experiment, Mesh, run
from harness.journal import Journal
from harness.ledger import Ledger
from harness.prometheus import Prometheus
from harness.verdict import Judgement


def judge(
    chosen: Experiment,
    cluster: Cluster,
    entry_url: str,
    prometheus_url: str,
    journal: Journal,
    *,
    run_id: str = "run-1",
    seed: int = 3,
    patience: float = 10.0,
    timeout: float = 5.0,
    **options: Any,
) -> Judgement:
    """The judgement about an experiment.

    Args:
        chosen: the experiment.
        cluster: the mesh's API.
        entry_url: where the load goes.
        prometheus_url: who counts it.
        journal: what happens is written there, and what has to be undone into `ledger` in the same folder.
        run_id: names what the run creates.
        seed: chooses among the pods.
        patience: for how many seconds the mesh may take to show what was done to it.
        timeout: how many seconds Prometheus may take for an answer.
        options: `watch` and `weaken` of the run.
    """
    with closing(Prometheus(prometheus_url, timeout=timeout)) as prometheus:
        return run(
            chosen,
            Mesh(cluster, entry_url, prometheus, patience),
            name="test",
            run_id=run_id,
            seed=seed,
            journal=journal,
            ledger=Ledger(journal.path.parent / "ledger"),
            **options,
        )
