"""Meshes for the tests that go through real Envoys, a real Prometheus and real traffic."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client, config
from support import HARNESS, ROOT, SAMPLES

from harness.localmesh.launch import Addresses, launch


@pytest.fixture(scope="session")
def samples() -> Path:
    """Istio's own sample manifests."""
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} with Istio's sample manifests is not there")
    return SAMPLES


@pytest.fixture(scope="session")
def short() -> Iterator[Path]:
    """A folder with a short name: sockets live in it."""
    folder = Path(tempfile.mkdtemp(prefix="mesh"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def bookinfo(short: Path, samples: Path) -> Iterator[Addresses]:
    """A mesh with Istio's Bookinfo as it is published."""
    manifests = [samples / "bookinfo.yaml", samples / "bookinfo-gateway.yaml"]
    with launch(manifests, print, short / "bookinfo") as addresses:
        yield addresses


@pytest.fixture(scope="session")
def shop(short: Path) -> Iterator[Addresses]:
    """A mesh with the project's own shop."""
    with launch([ROOT / "experiments" / "shop.yaml"], print, short / "shop") as addresses:
        yield addresses


@pytest.fixture
def kubectl(bookinfo: Addresses, tmp_path: Path) -> Callable[..., str]:
    """Runs kubectl against Bookinfo's mesh and returns what it prints."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on PATH")

    def run(*arguments: str) -> str:
        argv = [program, "--kubeconfig", str(bookinfo.kubeconfig), "--cache-dir", str(tmp_path), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def core(bookinfo: Addresses) -> Iterator[client.CoreV1Api]:
    """The official client on Bookinfo's mesh."""
    with config.new_client_from_config(str(bookinfo.kubeconfig)) as api:
        yield client.CoreV1Api(api)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the command `harness` as people do, with a runtime folder of its own."""
    runtime = Path(tempfile.mkdtemp(prefix="run"))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "XDG_STATE_HOME": str(tmp_path), "COLUMNS": "160"}

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(HARNESS), *arguments],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            env={**env, **changes},
            cwd=ROOT,
        )

    yield run
    run("down")
    shutil.rmtree(runtime, ignore_errors=True)
