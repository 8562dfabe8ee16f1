"""A small laboratory: real Envoys configured by the translation, with tiny programs behind them."""

from __future__ import annotations

import http.client
import http.server
import json
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from harness.localmesh import programs
from harness.localmesh.ca import Authority
from harness.localmesh.kinds import istio
from harness.localmesh.xds import model, names
from harness.localmesh.xds.bootstrap import STATS_PORT, bootstrap
from harness.localmesh.xds.server import ConfigurationServer
from harness.localmesh.xds.snapshot import snapshot

TOKEN = "let-me-in"
DEADLINE = 10.0

_FIELDS = {
    "VirtualService": ("virtual_services", model.VirtualService, istio.VirtualService),
    "DestinationRule": ("destination_rules", model.DestinationRule, istio.DestinationRule),
    "PeerAuthentication": ("peer_authentications", model.PeerAuthentication, istio.PeerAuthentication),
    "Gateway": ("gateways", model.Gateway, istio.Gateway),
    "AuthorizationPolicy": (
        "authorization_policies",
        model.AuthorizationPolicy,
        istio.AuthorizationPolicy,
    ),
    "ServiceEntry": ("service_entries", model.ServiceEntry, istio.ServiceEntry),
    "WorkloadEntry": ("workload_entries", model.WorkloadEntry, istio.WorkloadEntry),
    "Sidecar": ("sidecars", model.Sidecar, istio.Sidecar),
    "Telemetry": ("telemetries", model.Telemetry, istio.Telemetry),
    "EnvoyFilter": ("envoy_filters", model.EnvoyFilter, istio.EnvoyFilter),
}


def _with_rules(mesh: model.Mesh, *texts: str) -> model.Mesh:
    """`mesh` with the admitted objects of YAML `texts`; a later object is younger."""
    for text in texts:
        for manifest in filter(None, yaml.safe_load_all(text)):
            istio.admit(manifest)
            name, wrap, kind = _FIELDS[manifest["kind"]]
            metadata = manifest["metadata"]
            there = getattr(mesh, name)
            created = metadata.get("creationTimestamp", f"2026-01-01T00:00:{len(there):02}Z")
            uid = f"{metadata.get('namespace', 'default')}/{metadata['name']}"
            made = wrap(
                metadata["name"],
                metadata.get("namespace", "default"),
                created,
                uid,
                istio.spec_of(manifest, kind),
            )
            mesh = replace(mesh, **{name: (*there, made)})
    return mesh


def _workload(name: str, ip: str, app_ip: str | None = None, **settings: Any) -> model.Workload:
    """A ready pod of Deployment `name` with the label `app` and one HTTP port 8080, unless `settings` differ."""
    version = settings.pop("version", "v1")
    app = settings.pop("app", name)
    defaults: dict[str, Any] = {
        "name": f"{name}-{version}-1",
        "namespace": "default",
        "owner": f"{name}-{version}",
        "ip": ip,
        "app_ip": app_ip or ip,
        "labels": {"app": app, "version": version},
        "service_account": app,
        "ports": (("http", 8080),),
        "ready": True,
        "sidecar": app_ip is not None,
    }
    return model.Workload(**{**defaults, **settings})


def _service(name: str, ip: str = "10.0.0.1", **settings: Any) -> model.Service:
    """A Service `name` with port 8080 for the pods labelled `app: <name>`, unless `settings` differ."""
    namespace = settings.get("namespace", "default")
    defaults: dict[str, Any] = {
        "host": f"{name}.{namespace}.svc.cluster.local",
        "name": name,
        "namespace": namespace,
        "created": "2026-01-01T00:00:00Z",
        "addresses": (ip,),
        "ports": (model.ServicePort("http", 8080, 8080, "http"),),
        "selector": {"app": name},
    }
    return model.Service(**{**defaults, **settings})


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Makers of workloads, Services and meshes."""
    return SimpleNamespace(workload=_workload, service=_service, with_rules=_with_rules)


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers `?status=503&delay=0.2` as asked, with what it saw as JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Program

    def do_GET(self) -> None:
        asked = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
        self.server.seen.append(self)
        if "delay" in asked:
            self.server.stopped.wait(float(asked["delay"]))
        body = json.dumps(
            {"path": self.path, "headers": dict(self.headers), "name": self.server.name}
        ).encode()
        self.send_response(int(asked.get("status", "200")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class Program(http.server.ThreadingHTTPServer):
    """The program of a pod, listening at the pod's own address."""

    daemon_threads = True

    def __init__(self, name: str, ip: str, port: int) -> None:
        super().__init__((ip, port), _Answers)
        self.name = name
        self.seen: list[_Answers] = []
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is no error of the program."""

    def stop(self) -> None:
        """Stop listening, and wake whoever sleeps for a `delay`."""
        self.stopped.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


@dataclass(frozen=True)
class Answer:
    """Status and parsed body (None when it is no JSON) of an HTTP answer."""

    status: int
    headers: dict[str, str]
    body: Any


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
        workload = _workload(name, self.address(), self.address(), **settings)
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
        mesh = _with_rules(replace(self.base, **changes), *texts)
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


def get(ip: str, port: int, url: str, **headers: str) -> Answer:
    """GET `url`, written as it is into the request line, from `ip:port`."""
    connection = http.client.HTTPConnection(ip, port, timeout=DEADLINE)
    try:
        host = urlsplit(url).netloc or f"{ip}:{port}"
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request("GET", url, headers={"Host": host} | given)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, body)


def _sample(line: str) -> Sample:
    series, _, value = line.rpartition(" ")
    name, _, inner = series.partition("{")
    parts = [part.partition("=") for part in inner.rstrip("}").split('",') if part]
    return Sample(name, {key: text.strip('"') for key, _, text in parts}, float(value))


def _free_subnet() -> str:
    """Three octets of a loopback network in which the sidecar's ports are free."""
    while True:
        subnet = f"127.{random.randint(32, 250)}.{random.randint(1, 250)}"
        with socket.socket() as probe:
            try:
                probe.bind((f"{subnet}.1", names.OUTBOUND_PORT))
            except OSError:
                continue
        return subnet


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An empty laboratory; everything it starts ends with the module."""
    directory = Path(tempfile.mkdtemp(prefix="lab"))  # a socket's path must be short
    made = Lab(directory, _free_subnet())
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory)
