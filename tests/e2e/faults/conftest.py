"""A mesh that faults may be put in force in; it is the module's own, as its pods come and go."""

from __future__ import annotations

import pytest
from judging import judge
from support import ROOT

from harness import SLO, Experiment, Load, availability
from harness.cluster import Cluster
from harness.journal import Journal
from harness.ledger import Ledger
from harness.localmesh.launch import launch


@pytest.fixture(scope="module")
def victim(short):
    """A mesh of these tests' own: its pods come and go."""
    with launch([ROOT / "experiments" / "shop.yaml"], print, short / "victim") as addresses:
        yield addresses


@pytest.fixture(scope="module")
def cluster(victim):
    """Its API."""
    with Cluster.connect(victim.kubeconfig) as connected:
        yield connected


@pytest.fixture
def ledger(tmp_path):
    """A ledger of the test's own."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def judged(cluster, victim, tmp_path, monkeypatch):
    """Runs an experiment on the shop's front page: the judgement; what happened is in run.jsonl in `tmp_path`."""
    monkeypatch.chdir(ROOT)

    def judged(target, fault, radius, recover_within):
        chosen = Experiment(
            [SLO("front page", availability("frontend", "shop"), at_least=0.9)],
            target,
            fault,
            Load("browse", rate=100),
            radius,
            recover_within=recover_within,
            observe=6,
        )
        urls = (victim.entry_url, victim.prometheus_url)
        with Journal(tmp_path / "run.jsonl") as journal:
            return judge(chosen, cluster, *urls, journal, run_id="test", seed=7)

    return judged
