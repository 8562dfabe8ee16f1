"""The experiments on the shop, and what they say when they cannot tell."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import uuid

import pytest
from support import ROOT, eventually, query

from harness import Abort, BlastRadius, Experiment, Load, Nothing, PodKill, Target, Verdict
from harness.changes import Ref
from harness.cluster import Cluster
from harness.experiment import Mesh, run
from harness.injection import heal, inject, resolve
from harness.journal import Journal
from harness.ledger import Ledger
from harness.prometheus import Prometheus

pytestmark = pytest.mark.e2e
CATALOG = Target("catalog", namespace="shop")
FILTERS = ("networking.istio.io/v1alpha3", "EnvoyFilter", "shop", {})


@pytest.fixture
def mesh(shop):
    """The shop's mesh as the harness knows it."""
    prometheus = Prometheus(shop.prometheus_url)
    with Cluster.connect(shop.kubeconfig) as cluster:
        yield Mesh(cluster, shop.entry_url, prometheus)
    prometheus.close()


@pytest.fixture
def ledger(tmp_path):
    """A ledger of the test's own."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def perform(mesh, ledger, tmp_path, monkeypatch):
    """Runs an experiment, with changes to the mesh's addresses, and returns the judgement."""
    monkeypatch.chdir(ROOT)

    def once(experiment, *, weaken=(), **changes):
        name = uuid.uuid4().hex[:8]
        with Journal(tmp_path / f"{name}.jsonl") as journal:
            return run(
                experiment,
                dataclasses.replace(mesh, **changes),
                name=name,
                run_id=f"test-{name}",
                seed=7,
                journal=journal,
                ledger=ledger,
                weaken=weaken,
            )

    return once


FAULTS = {"test_retries": Abort(503, percent=30), "test_pod_kill": PodKill(1), "test_mtls": PodKill(1)}


def _first():
    """The first experiments of the catalogue, under their faults and under none."""
    for name in FAULTS:
        spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield pytest.param(module.experiment, id=name)


def _quick(experiment, **changes):
    """The experiment with so little time that a test can wait for its end."""
    return dataclasses.replace(experiment, observe=4.0, **changes)


@pytest.mark.parametrize("experiment", [*_first()])
def test_without_traffic_there_is_no_verdict(perform, request, experiment):
    """Traffic that does not reach the shop proves nothing, and nothing is injected."""

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        fault = FAULTS[request.node.callspec.id]
        judgement = perform(
            _quick(experiment(fault)), entry_url=f"http://127.0.0.1:{server.server_port}", patience=3.0
        )
        server.shutdown()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert any("nothing was injected" in reason for reason in judgement.reasons), judgement.reasons


@pytest.mark.parametrize("experiment", [*_first()])
def test_without_prometheus_there_is_no_verdict(perform, mesh, request, experiment):
    """Nobody counts, so nobody can tell; nothing is injected."""
    with contextlib.closing(Prometheus("http://127.0.0.1:9", timeout=1.0)) as nobody:
        judgement = perform(
            _quick(experiment(FAULTS[request.node.callspec.id])), prometheus=nobody, patience=3.0
        )
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert any("Prometheus" in reason for reason in judgement.reasons), judgement.reasons
    assert mesh.cluster.list(*FILTERS) == ()


def test_an_abort_bites_at_the_rate_asked_for_and_is_gone_after_revert(mesh, ledger, shop):
    """From no 418 to about 30 % and back to none; the EnvoyFilter goes without a trace."""
    scene = resolve(mesh.cluster, CATALOG, run="bites", seed=1)
    before = mesh.cluster.list(*FILTERS)

    def share():
        """The share of 418 among 300 plain calls through frontend's sidecar."""
        import httpx  # noqa: PLC0415

        frontend = mesh.cluster.pods("shop", {"app": "frontend"})[0]
        with httpx.Client(proxy=f"http://{frontend.ip}:15001", trust_env=False) as caller:
            codes = [caller.get("http://catalog:8080/items").status_code for _ in range(300)]
        return codes.count(418) / len(codes)

    assert share() == 0.0
    with inject(
        mesh.cluster, Abort(418, percent=30), scene, ledger=ledger, blast_radius=BlastRadius(max_pods=3)
    ):
        eventually(lambda: share() > 0.0)
        assert 0.18 < share() < 0.42
        seen = 'istio_requests_total{reporter="destination",response_code="418",response_flags="FI"}'
        assert eventually(lambda: query(shop, seen))
    eventually(lambda: share() == 0.0)
    assert share() == 0.0
    assert mesh.cluster.list(*FILTERS) == before


def test_a_killed_pod_is_replaced_by_another_and_no_other_pod_is_touched(mesh, ledger):
    """One UID changes, the others stay."""
    scene = resolve(mesh.cluster, CATALOG, run="kill", seed=1)
    with inject(mesh.cluster, PodKill(1, grace_seconds=0), scene, ledger=ledger, blast_radius=BlastRadius()):
        pass

    def uids():
        return {pod.uid for pod in mesh.cluster.pods("shop", {"app": "catalog"}) if pod.ready}

    before = {pod.uid for pod in scene.pods}
    eventually(lambda: len(uids()) == 3 and uids() != before)
    assert len(uids() & before) == 2


def test_an_empty_target_is_refused_before_anything_is_written(perform, mesh):
    """The reason names the target."""
    revision = mesh.cluster.list(*FILTERS)
    judgement = perform(
        Experiment(
            hypothesis=[next(iter(_first())).values[0](Nothing()).hypothesis[0]],
            target=Target("nobody", namespace="shop"),
            fault=Abort(503, percent=10),
            load=Load("browse", rate=10),
        )
    )
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "nobody" in " ".join(judgement.reasons)
    assert mesh.cluster.list(*FILTERS) == revision


INJECTOR = """
import sys, time
from pathlib import Path
from harness import Abort, BlastRadius, Target
from harness.cluster import Cluster
from harness.injection import inject, resolve
from harness.ledger import Ledger
cluster = Cluster.connect(Path(sys.argv[1]))
scene = resolve(cluster, Target("catalog", namespace="shop"), run="killed", seed=1)
ledger, radius = Ledger(Path(sys.argv[2])), BlastRadius(max_pods=3)
with inject(cluster, Abort(503, percent=30), scene, ledger=ledger, blast_radius=radius):
    print("in force", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_what_a_killed_run_left_is_healed(shop, mesh, ledger, tmp_path, number):
    """The fault of a run that had no moment to revert is found in the ledger and taken back."""
    argv = [sys.executable, "-c", INJECTOR, str(shop.kubeconfig), str(tmp_path / "ledger")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as injector:
        assert injector.stdout.readline() == "in force\n"
        assert len(mesh.cluster.list(*FILTERS)) == 1
        injector.send_signal(number)
    healing = heal(mesh.cluster, ledger)
    assert healing.failed == ()
    assert len(healing.done) == 1
    assert mesh.cluster.list(*FILTERS) == ()
    assert heal(mesh.cluster, ledger).done == ()


def test_ctrl_c_in_the_middle_of_an_experiment_reverts_and_ends_the_mesh(harness, tmp_path, short):
    """Nothing is left of fault, mesh and load."""
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(short)}
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "experiments/test_retries.py",
        "-k",
        "abort",
        "-p",
        "no:cacheprovider",
    ]
    argv += ["--harness-reports", str(tmp_path / "reports"), "-o", "addopts="]
    with subprocess.Popen(argv, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as experiments:
        said = []
        for line in experiments.stdout:
            said.append(line)
            if "inject" in line and " s " in line:
                experiments.send_signal(signal.SIGINT)
                break
        rest, _ = experiments.communicate(timeout=60)
    assert experiments.returncode == 2, "".join(said) + rest
    assert "Traceback" not in rest
    assert list((tmp_path / "harness" / "ledger").glob("*.jsonl")) == []
    assert not any(folder.name.startswith("run-") for folder in (short / "harness").iterdir())


def test_the_shop_is_as_it_was(mesh):
    """All of the tests above have left its policies alone."""
    catalog = mesh.cluster.get(Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"))
    assert catalog["spec"]["http"][0]["retries"]["attempts"] == 8
    assert mesh.cluster.list(*FILTERS) == ()
