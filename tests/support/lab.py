"""A small laboratory: real Envoys configured by the translation, with tiny programs behind them."""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import makers
from echo import DEADLINE, Answer, Program, get

from harness.localmesh import programs
from harness.localmesh.ca import Authority
from harness.localmesh.xds import model, names
from harness.localmesh.xds.bootstrap import STATS_PORT, bootstrap
from harness.localmesh.xds.server import ConfigurationServer
from harness.localmesh.xds.snapshot import snapshot

TOKEN = "let-me-in"


@dataclass(frozen=True)
class Sample:
    """One series of a scrape."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass
class Lab:
    """Pods with real Envoys; `apply` changes the mesh and returns once every Envoy has the new configuration."""

    directory: Path
    subnet: str
    proxies: dict[str, model.Proxy] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    authority: Authority = field(default_factory=Authority)
    base: model.Mesh = field(default_factory=model.Mesh)
    http_get: Callable[..., Answer] = field(default_factory=lambda: get)

    def __post_init__(self) -> None:
        self.server = ConfigurationServer(self.directory / "xds.sock")

    def address(self) -> str:
        """A loopback address of this laboratory that nobody has yet."""
        self._last = getattr(self, "_last", 0) + 1
        return f"{self.subnet}.{self._last}"

    def pod(
        self, name: str, *, program: bool = True, gateway: bool = False, **settings: Any
    ) -> model.Workload:
        """Add a pod with a sidecar (and a program, unless it is only a client or a gateway)."""
        workload = makers.workload(name, self.address(), self.address(), **settings)
        secrets = self.authority.secrets(workload.identity)
        self.proxies[workload.name] = model.Proxy(workload, secrets, workload.ip, gateway)
        self.base = replace(self.base, workloads=(*self.base.workloads, workload))
        if program and not gateway:
            for _, port in workload.ports:
                self.programs[workload.name] = Program(workload.name, workload.app_ip, port)
        return workload

    def start(self, *services: model.Service) -> None:
        """Start the Envoys of all pods and wait until they serve."""
        self.base = replace(self.base, services=services)
        self.server.start()
        self._serve(self.base)
        for proxy in self.proxies.values():
            folder = self.folder(proxy)
            folder.mkdir()
            path = folder / "bootstrap.json"
            path.write_text(
                json.dumps(
                    bootstrap(
                        proxy,
                        admin_socket=self.admin(proxy),
                        xds_socket=self.directory / "xds.sock",
                        stats_token=TOKEN,
                    )
                )
            )
            log = (folder / "envoy.log").open("wb")
            flags = "--concurrency 1 --use-dynamic-base-id --drain-strategy immediate --drain-time-s 45 -l warning"
            flags += " --file-flush-interval-msec 20"
            with log:
                self.processes.append(
                    subprocess.Popen(
                        [programs.envoy(), "-c", str(path), *flags.split()], stdout=log, stderr=log
                    )
                )
        for proxy in self.proxies.values():
            self.wait(lambda proxy=proxy: self._serves(proxy), f"{proxy.workload.name} does not serve")
        self._confirmed()

    def apply(self, *texts: str, **changes: Any) -> model.Mesh:
        """Serve the base mesh with the objects of `texts`, and wait until all Envoys have it."""
        mesh = makers.with_rules(replace(self.base, **changes), *texts)
        self._serve(mesh)
        self._confirmed()
        return mesh

    def _serve(self, mesh: model.Mesh) -> None:
        self.server.publish({proxy.node: snapshot(mesh, proxy) for proxy in self.proxies.values()})

    def _serves(self, proxy: model.Proxy) -> bool:
        """Whether Envoy has begun to accept connections."""
        try:
            return self.ask(proxy, "/ready") == "LIVE\n"
        except OSError:
            return False

    def _confirmed(self) -> None:
        self.wait(lambda: not self.server.behind(), "the Envoys did not take the configuration")

    def folder(self, proxy: model.Proxy) -> Path:
        """Where an Envoy's log and its admin socket are."""
        return self.directory / proxy.workload.name

    def admin(self, proxy: model.Proxy) -> Path:
        """The socket of Envoy's admin interface."""
        return self.folder(proxy) / "admin.sock"

    def ask(self, proxy: model.Proxy, path: str) -> str:
        """What Envoy's admin interface answers; raises OSError while it is not there."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(self.admin(proxy)))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n".encode())
            with http.client.HTTPResponse(connection) as answer:
                answer.begin()
                return answer.read().decode()

    def wait(self, condition: Callable[[], Any], complaint: str) -> Any:
        """The first truthy value of `condition`."""
        deadline = time.monotonic() + DEADLINE
        while not (value := condition()):
            dead = [process.args for process in self.processes if process.poll() is not None]
            logs = "".join(path.read_text() for path in self.directory.glob("*/envoy.log"))
            assert not dead, logs
            assert time.monotonic() < deadline, f"{complaint}\n{logs}"
            time.sleep(0.01)
        return value

    def call(self, source: model.Workload, url: str, **headers: str) -> Answer:
        """What the program of `source` gets for `url` through its sidecar."""
        return get(source.ip, names.OUTBOUND_PORT, url, **headers)

    def scrape(self, workload: model.Workload) -> list[Sample]:
        """The series of a sidecar, as Prometheus would see them."""
        url = f"http://{workload.ip}:{STATS_PORT}/stats/prometheus"
        with httpx.Client(trust_env=False) as client:
            answer = client.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text
        return [_sample(line) for line in answer.text.splitlines() if line and not line.startswith("#")]

    def requests(self, workload: model.Workload) -> dict[tuple[tuple[str, str], ...], float]:
        """Istio's request counter of a sidecar, by labels."""
        return self.series(workload, "requests_total")

    def series(self, workload: model.Workload, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """One of Istio's metrics (without "istio_") of a sidecar, by labels."""
        return {
            tuple(sample.labels.items()): sample.value
            for sample in self.scrape(workload)
            if sample.name == f"envoy_istio_{name}"
        }

    def rises(
        self, workload: model.Workload, name: str, action: Callable[[], Any]
    ) -> list[tuple[dict[str, str], float]]:
        """By how much one of Istio's metrics of `workload`'s sidecar rises because of `action`, by labels."""
        before = self.series(workload, name)
        action()

        def risen() -> list[tuple[dict[str, str], float]]:
            after = self.series(workload, name)
            return [
                (dict(key), after[key] - before.get(key, 0.0))
                for key in after
                if key not in before or after[key] > before[key]
            ]

        return list(self.wait(risen, f"istio_{name} does not rise"))

    def counted(
        self, workload: model.Workload, action: Callable[[], Any], times: int = 1
    ) -> list[dict[str, str]]:
        """The labels of the `times` requests (or more) that `workload`'s sidecar counts because of `action`."""
        before = self.requests(workload)
        action()

        def risen() -> list[dict[str, str]]:
            after = self.requests(workload)
            rises = {key: int(value - before.get(key, 0)) for key, value in after.items()}
            found = [dict(key) for key, rise in rises.items() for _ in range(rise)]
            return found if len(found) >= times else []

        return list(self.wait(risen, f"fewer than {times} requests were counted"))

    def stop(self) -> None:
        """End every process and thread of the laboratory."""
        self.server.stop()
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for program in self.programs.values():
            program.stop()


def _sample(line: str) -> Sample:
    series, _, value = line.rpartition(" ")
    name, _, inner = series.partition("{")
    parts = [part.partition("=") for part in inner.rstrip("}").split('",') if part]
    return Sample(name, {key: text.strip('"') for key, _, text in parts}, float(value))


def free_subnet() -> str:
    """Three octets of a loopback network in which the sidecar's ports are free."""
    while True:
        subnet = f"127.{random.randint(32, 250)}.{random.randint(1, 250)}"
        with socket.socket() as probe:
            try:
                probe.bind((f"{subnet}.1", names.OUTBOUND_PORT))
            except OSError:
                continue
        return subnet
