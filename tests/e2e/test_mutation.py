"""Experiments are shown to notice what they guard, and no mutant outlives its run."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from support import HARNESS, ROOT, eventually

from harness.changes import Ref
from harness.cluster import Cluster

pytestmark = pytest.mark.e2e
POLICY = Ref("security.istio.io/v1", "PeerAuthentication", "shop", "default")
RULE = "DestinationRule shop/catalog spec.trafficPolicy.connectionPool.tcp.connectTimeout"
EXPERIMENT = f"""
from harness import *

CATALOG = Target("catalog", namespace="shop")
REFUSED = SLO("plaintext is refused", plaintext_refused(CATALOG, port=8080), at_least=1.0)
UP = SLO("there are answers", availability("frontend", namespace="shop"), at_least=0.9)
PERMISSIVE = Patch(Ref("security.istio.io/v1", "PeerAuthentication", "shop", "default"),
                   (Edit(("spec", "mtls", "mode"), "PERMISSIVE"),))

def experiment(**more):
    load = Load({str(ROOT / "loadprofiles" / "browse.py")!r}, rate=50, paths=("/items",))
    return Experiment(hypothesis=[REFUSED, UP], target=CATALOG, fault=Nothing(), load=load, observe=20.0, **more)

def test_plaintext_is_refused(run):
    run(experiment(%s))

def test_permissive_is_noticed(run):
    run(experiment(), weaken=[PERMISSIVE], expect=Verdict.VIOLATED)
"""
INI = f"""[pytest]
equivalent_mutants =
    PeerAuthentication shop/default spec.mtls.mode: STRICT to DISABLE because one is enough here
    {RULE}: connectTimeout tenfold because it is too much for a test
"""


@pytest.fixture
def experiments(tmp_path):
    """Writes an experiment, and gives the arguments that run it on the shop."""

    def write(addresses, guards="", ini=""):
        (tmp_path / "test_plaintext.py").write_text(EXPERIMENT % guards)
        (tmp_path / "pytest.ini").write_text(ini or "[pytest]\n")
        return (
            str(tmp_path),
            f"--rootdir={tmp_path}",
            f"--kubeconfig={addresses.kubeconfig}",
            f"--entry-url={addresses.entry_url}",
            f"--prometheus-url={addresses.prometheus_url}",
            "--harness-patience=20",
        )

    return write


@pytest.fixture
def mode(shop):
    """Gives the mode that the shop's policy has now."""
    with Cluster.connect(shop.kubeconfig) as cluster:
        yield lambda: (cluster.get(POLICY) or {})["spec"]["mtls"]["mode"]


def test_the_score_says_what_was_noticed_and_names_what_was_not(harness, shop, experiments, mode, tmp_path):
    """Plaintext let in is noticed; a longer way to a connection is not, and the session fails for it."""
    guards = f'guards=["PeerAuthentication default", "{RULE}"]'
    done = harness("mutate", *experiments(shop, guards, INI))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == (
        "Mutation score 50 %: 1 of 2 mutants killed, 1 survived, 2 equivalent"
    )
    assert "killed by test_plaintext_is_refused" in done.stdout
    assert f"survived: {RULE}: connectTimeout removed" in done.stdout
    assert "STRICT to DISABLE: one is enough here" in done.stdout
    assert mode() == "STRICT"
    (page,) = tmp_path.glob("reports/2*/mutants.html")
    assert "STRICT to PERMISSIVE" in page.read_text()


def test_a_mutant_is_gone_although_its_run_was_killed(shop, experiments, mode, tmp_path):
    """The watchdog undoes it, as it undoes a fault. What the control takes away is what is guarded."""
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    argv = [str(HARNESS), "mutate", *experiments(shop)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            eventually(lambda: mode() == "PERMISSIVE", within=60.0)
        finally:
            run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    eventually(lambda: mode() == "STRICT", within=10.0)


def test_without_experiments_there_is_no_score(harness, tmp_path):
    """Nothing could notice a mutant; no mesh is brought up for that."""
    (tmp_path / "test_none.py").write_text("def test_none():\n    pass\n")
    done = harness("mutate", str(tmp_path / "test_none.py"))
    assert done.returncode == 2
    assert "No experiment was run" in done.stdout + done.stderr
    assert "Mutation score" not in done.stdout
