"""An API server of its own for each test, and the two clients people use with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from harness.localmesh.api.resources import NAMESPACES, NODES
from harness.localmesh.api.server import Server
from harness.localmesh.ca import Authority
from harness.localmesh.kinds.admission import admit
from harness.localmesh.store import Store

TOKEN = "correct-horse"


@dataclass
class Logs:
    """The logs of the pods, by namespace, name and container, and when their certificates expire, by name."""

    written: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    expiries: dict[str, float] = field(default_factory=dict)

    def logs(self, namespace: str, name: str, container: str) -> bytes:
        """What has been written under that name."""
        return self.written.get((namespace, name, container), b"")

    def certificate_expires_at(self, pod: dict[str, Any]) -> float | None:
        """What has been put down for the pod's name."""
        return self.expiries.get(pod["metadata"]["name"])


@dataclass(frozen=True)
class Cluster:
    """A running API server, its store, and the kubeconfig that leads to it."""

    store: Store
    server: Server
    pods: Logs
    kubeconfig: Path
    authority: Path

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"https://127.0.0.1:{self.server.port}"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.pem`, and `server.pem` and `server.key` for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority()
    certificate, key = authority.issue(address="127.0.0.1")
    (directory / "ca.pem").write_text(authority.root_pem)
    (directory / "server.pem").write_text(certificate)
    (directory / "server.key").write_text(key)
    return directory


@pytest.fixture
def cluster(certificates: Path, tmp_path: Path) -> Iterator[Cluster]:
    """A running API server with the namespaces `default` and `istio-system` and one node."""
    store = Store([admit])
    for name in ("default", "istio-system"):
        store.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    store.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}})
    pods = Logs()
    server = Server(
        store,
        "127.0.0.1",
        token=TOKEN,
        certificate=certificates / "server.pem",
        key=certificates / "server.key",
        pods=pods,
    )
    server.start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(server.port, certificates / "ca.pem")))
    yield Cluster(store, server, pods, kubeconfig, certificates / "ca.pem")
    server.stop()


@pytest.fixture
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    """The official client."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as made:
        yield made


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    """The core API."""
    return client.CoreV1Api(api)


@pytest.fixture
def apps(api: client.ApiClient) -> client.AppsV1Api:
    """The apps API."""
    return client.AppsV1Api(api)


@pytest.fixture
def custom(api: client.ApiClient) -> client.CustomObjectsApi:
    """The API of custom objects."""
    return client.CustomObjectsApi(api)


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs kubectl against the server; fails the test when kubectl fails, unless told `check=False`."""
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("kubectl is not installed")

    def run(*arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [
                program,
                "--kubeconfig",
                str(cluster.kubeconfig),
                "--cache-dir",
                str(tmp_path / "cache"),
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done

    return run


def _kubeconfig(port: int, authority: Path) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [
            {
                "name": "local",
                "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority)},
            }
        ],
        "users": [{"name": "local", "user": {"token": TOKEN}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
    }
