"""On a mesh of its own, a Prometheus that is killed while it is needed: no run is HELD."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from judging import judge
from support import ROOT, eventually, query

from harness import SLO, Experiment, Load, Nothing, Target, Verdict, mtls_share
from harness.cluster import Cluster
from harness.journal import Counted, Journal, select
from harness.localmesh.launch import launch

pytestmark = pytest.mark.e2e
RATE = 100
EXPERIMENT = Experiment(
    hypothesis=[SLO("every request is mutual TLS", mtls_share("catalog", "shop"), at_least=0.985)],
    target=Target("catalog", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=RATE, paths=("/items",)),
    observe=8.0,
)


@pytest.fixture(scope="module")
def mesh(short):
    """The shop, in a mesh that no other test uses."""
    with launch([ROOT / "experiments" / "shop.yaml"], print, short / "restarts") as addresses:
        yield addresses


def _pid(url):
    """The process of the Prometheus at `url`, by where it listens; None while there is none."""
    place = f"--web.listen-address={urlsplit(url).netloc.rpartition('@')[2]}"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if place in (folder / "cmdline").read_text().split("\0"):
                return int(folder.name)
        except OSError:  # it has ended meanwhile
            continue
    return None


def _path(pid, option):
    """What the Prometheus of that process was given for an option."""
    argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    (path,) = (one.partition("=")[2] for one in argv if one.startswith(f"--{option}="))
    return Path(path)


@pytest.fixture
def perform(mesh, tmp_path, monkeypatch):
    """Runs the experiment and returns the judgement and the last count; acts when its phase is well under way."""
    monkeypatch.chdir(ROOT)

    def perform(act):
        eventually(lambda: query(mesh, "vector(1)"))
        acting = threading.Timer(1.5, act)

        class Watch:
            def phase(self, name):
                if name == "observe":
                    acting.start()

            def progress(self, done, text):
                """Nothing."""

        urls = (mesh.entry_url, mesh.prometheus_url)
        with Cluster.connect(mesh.kubeconfig) as cluster, Journal(tmp_path / "run.jsonl") as journal:
            judgement = judge(EXPERIMENT, cluster, *urls, journal, run_id="test", seed=7, watch=Watch())
            acting.join()
            return judgement, [one for one in select(journal.events, Counted) if one.phase == "observe"][-1]

    return perform


def _kill(url, *, data=True):
    """Ends the Prometheus at `url` with SIGKILL, without its data if they are not to stay."""
    pid = eventually(lambda: _pid(url))
    if not data:
        shutil.rmtree(_path(pid, "storage.tsdb.path"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: _pid(url) != pid)


def test_a_prometheus_that_is_killed_and_stays_away_is_never_held(mesh, perform):
    """Whenever the mesh starts it again it ends at once, for its configuration is not there."""
    configuration = _path(_pid(mesh.prometheus_url), "config.file")
    hidden = configuration.with_suffix(".hidden")

    def end():
        configuration.rename(hidden)
        _kill(mesh.prometheus_url)

    try:
        judgement, _ = perform(end)
    finally:
        hidden.rename(configuration)
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "does not answer" in " ".join(judgement.reasons)


def test_a_prometheus_that_comes_back_without_its_data_is_never_held(mesh, perform):
    """As on an emptyDir: what passed before is not made up for."""
    judgement, counted = perform(lambda: _kill(mesh.prometheus_url, data=False))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "are needed to tell" in " ".join(judgement.reasons)
    assert counted.total < 0.7 * RATE * EXPERIMENT.observe


def test_a_prometheus_that_comes_back_at_once_with_its_data_has_missed_nothing(mesh, perform):
    """Counters go on counting while nobody looks; had it been away for longer, there would be no verdict."""
    judgement, counted = perform(lambda: _kill(mesh.prometheus_url))
    if judgement.verdict is Verdict.HELD:
        assert counted.total > 0.85 * RATE * (counted.end - counted.start)
    else:
        assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
        assert "does not answer" in " ".join(judgement.reasons)
