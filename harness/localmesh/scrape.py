"""The mesh's Prometheus: a real one, that scrapes every sidecar and names the series as Istio's are named.

It also scrapes programs that ask for it by the annotations `prometheus.io/scrape`, `port` and `path` of their pod, as
Istio's own Prometheus does. Where a pod has a sidecar, Istio's agent would fetch that page and hand it on; here
Prometheus asks the program itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bcrypt
import yaml

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.process import Process, start
from harness.localmesh.xds.bootstrap import STATS_PORT
from harness.localmesh.xds.model import Proxy

USER = "mesh"
SCRAPE_INTERVAL = 0.25


def prepare(
    program: str, *, address: str, port: int, password: str, stats_token: str, directory: Path
) -> Callable[[], Process]:
    """Writes what Prometheus needs, and gives the function that starts it.

    Its web API takes the user "mesh" and `password`.

    Args:
        program: the path of the program.
        address: the loopback address to listen on.
        port: the port, which must be free.
        password: of the web API; only its bcrypt hash is written down.
        stats_token: the bearer token that the sidecars' stats listeners ask for.
        directory: holds its configuration, its data and its log.
    """
    directory.mkdir(mode=0o700)
    # Cost 4, the lowest: the password is 256 random bits, and every query pays for the hash.
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
    _write(directory / "token", stats_token)
    _write(directory / "web.yml", yaml.safe_dump({"basic_auth_users": {USER: hashed}}))
    _write(directory / "prometheus.yml", yaml.safe_dump(configuration(directory)))
    write_targets(directory, (), ())
    argv = [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--web.config.file={directory / 'web.yml'}",
        f"--web.listen-address={address}:{port}",
        f"--storage.tsdb.path={directory / 'data'}",
        "--log.level=warn",
    ]
    env = {"PATH": os.environ.get("PATH", "")}
    return partial(start, "prometheus", argv, env=env, log=directory / "log")


def configuration(directory: Path) -> dict[str, object]:
    """What Prometheus is told to scrape, and how it mends what it gets.

    Envoy's stats access logger puts `envoy_` before Istio's names. Of a TCP connection the callee's sidecar knows no
    more of the caller than its certificate, which names the namespace: Istio has it in a label of its own, that no
    operator of an access log can fill.
    """
    interval = f"{round(SCRAPE_INTERVAL * 1000)}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [
            {
                "job_name": "kubernetes-pods",
                "honor_labels": True,
                "file_sd_configs": [{"files": [str(directory / "pages.json")]}],
            },
            {
                "job_name": "envoy-stats",
                "metrics_path": "/stats/prometheus",
                "authorization": {"credentials_file": str(directory / "token")},
                "file_sd_configs": [{"files": [str(directory / "targets.json")]}],
                "metric_relabel_configs": [
                    {
                        "source_labels": ["__name__"],
                        "regex": "envoy_(istio_.+)",
                        "target_label": "__name__",
                        "replacement": "$1",
                    },
                    {
                        "source_labels": ["__name__", "source_workload_namespace", "source_principal"],
                        "regex": "istio_tcp_.+;unknown;spiffe://[^/]+/ns/([^/]+)/.+",
                        "target_label": "source_workload_namespace",
                        "replacement": "$1",
                    },
                ],
            },
        ],
    }


@dataclass(frozen=True)
class Page:
    """Where a program shows its metrics, and whose it is."""

    address: str
    port: int
    path: str
    namespace: str
    pod: str
    app: str


def page(pod: Manifest, address: str) -> Page | None:
    """The page that the annotations of `pod` name, whose programs listen at `address`; None if they name none."""
    metadata = pod["metadata"]
    annotations, app = metadata.get("annotations", {}), metadata.get("labels", {}).get("app", "")
    scrape, port, path = (annotations.get(f"prometheus.io/{name}", "") for name in ("scrape", "port", "path"))
    if scrape != "true" or not port.isdecimal():
        return None
    return Page(address, int(port), path or "/metrics", metadata["namespace"], metadata["name"], app)


def write_targets(directory: Path, proxies: Iterable[Proxy], pages: Iterable[Page]) -> None:
    """Tells Prometheus which sidecars and which pages there are.

    It takes a new list up within five seconds (its own interval).
    """
    sidecars = [
        _target(f"{proxy.listen}:{STATS_PORT}", own.namespace, own.name, own.labels.get("app", ""))
        for proxy in proxies
        for own in (proxy.workload,)
    ]
    programs = [
        _target(f"{one.address}:{one.port}", one.namespace, one.pod, one.app, __metrics_path__=one.path)
        for one in pages
    ]
    _replace(directory / "targets.json", json.dumps(sidecars))
    _replace(directory / "pages.json", json.dumps(programs))


def _target(place: str, namespace: str, pod: str, app: str, **labels: str) -> dict[str, object]:
    return {"targets": [place], "labels": {"namespace": namespace, "pod": pod, "app": app, **labels}}


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    _write(draft, text)
    draft.replace(path)


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
