"""The mesh's Prometheus: a real one, that scrapes every sidecar and names the series as Istio's are named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import bcrypt
import yaml

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
    write_targets(directory, ())
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
            }
        ],
    }


def write_targets(directory: Path, proxies: Iterable[Proxy]) -> None:
    """Tells Prometheus which sidecars there are; it takes a new list up within five seconds (its own interval)."""
    targets = [
        {
            "targets": [f"{proxy.listen}:{STATS_PORT}"],
            "labels": {
                "namespace": proxy.workload.namespace,
                "pod": proxy.workload.name,
                "app": proxy.workload.labels.get("app", ""),
            },
        }
        for proxy in proxies
    ]
    new = directory / ".targets.json"
    _write(new, json.dumps(targets))
    new.replace(directory / "targets.json")


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
