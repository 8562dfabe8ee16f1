"""A run whose fault Chaos Mesh makes, and its dry run, against a small world at the wire."""

from dataclasses import replace

import pytest
import yaml
from chaosmesh import install
from judging import judge
from support import ROOT

from harness.cluster import Cluster
from harness.dryrun import plan
from harness.experiment import Experiment
from harness.faults import BlastRadius, PacketLoss, Target
from harness.indicators import availability
from harness.journal import Journal
from harness.load import Load
from harness.slo import SLO
from harness.verdict import Verdict

LOSSY = Experiment(
    [SLO("availability", availability("payments", "shop"), at_least=0.95)],
    Target("payments", "shop"),
    PacketLoss(5),
    Load("browse", rate=200),
    BlastRadius(max_pods=3, seconds=20),
    recover_within=4.0,
    observe=3.0,
)
CREATED = "NetworkChaos shop/harness-run-1-loss-payments"


@pytest.fixture
def cluster(world, write_kubeconfig):
    """A connection to the world's API."""
    with Cluster.connect(write_kubeconfig(world.api.url)) as connected:
        yield connected


@pytest.fixture
def perform(world, cluster, tmp_path, monkeypatch):
    """Runs the experiment: the judgement."""
    monkeypatch.chdir(ROOT)

    def perform(chosen=LOSSY):
        with Journal(tmp_path / "run.jsonl") as journal:
            return judge(chosen, cluster, world.entry_url, world.prometheus_url, journal)

    return perform


def test_the_verdict_comes_with_what_chaos_mesh_says_of_the_pods(world, serve_kinds, perform):
    """And the cluster is as it was."""
    install(world.api, serve_kinds)
    before = world.api.state()
    judgement = perform()
    assert judgement.verdict is Verdict.HELD, judgement
    assert judgement.evidence == f"3 of 3 pods are injected by {CREATED}"
    assert world.api.state() == before


def test_a_fault_that_chaos_mesh_did_not_inject_everywhere_proves_nothing(
    world, serve_kinds, perform, monkeypatch
):
    """Two of three is not what was asked, for as long as the fault may be in force."""
    install(world.api, serve_kinds).unreached = ("payments-2",)
    before = world.api.state()
    judgement = perform(replace(LOSSY, blast_radius=BlastRadius(max_pods=3, seconds=3)))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert judgement.evidence == f"0 of 3 pods are injected by {CREATED}"
    assert world.api.state() == before


def test_without_chaos_mesh_nothing_is_begun(world, perform):
    """The reason is that of the verdict; nobody has sent a request."""
    before = world.api.state()
    judgement = perform()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "install Chaos Mesh, or use Delay or Abort" in judgement.reasons[0]
    assert world.api.state() == before


def test_a_dry_run_shows_the_object_and_its_evidence(world, serve_kinds, cluster):
    """With the rights that it takes."""
    install(world.api, serve_kinds)
    shown = plan(LOSSY, cluster, run="run-1", seed=3)
    content = yaml.safe_load(shown.text)
    assert content["changes"][0]["create"]["spec"]["loss"] == {"loss": "5", "correlation": "0"}
    names = ["payments-1", "payments-2", "payments-3"]
    assert content["evidence"] == {"pods that": f"are injected by {CREATED}", "all of": names}
    assert any(need.resource == "networkchaos" and need.verb == "create" for need in shown.needs)
