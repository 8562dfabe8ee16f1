"""A small world at the wire: an entry that answers, a Prometheus that has scraped it, and a Kubernetes API.

Requests to the entry are calls to the service payments in the namespace shop. What the objects in the API say is what
happens: an EnvoyFilter of the harness aborts its share of the attempts, the VirtualService says how often the caller
tries again, the PeerAuthentication whether plaintext is answered, and a deleted pod comes back with another UID.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

APP = {"app": "payments"}
POLICY = {"name": "payments", "namespace": "shop"}


class World:
    """What there is, and how it behaves; tests change it as they like while it is running."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.entry_url = ""
        self.prometheus_url = ""
        self.prometheus = "ok"  # or what it does instead; "deaf" answers, and scrapes no more
        self.forgets = 0.0  # share of calls that the gateway does not count
        self.silent = False  # the entry answers, but nothing is counted
        self.deaf = False  # faults are accepted and do not bite
        self.broken = 0.0  # share of answers that are 500 without any fault
        self.replaces = True  # deleted pods come back
        self.outage = 0.0  # seconds after a kill in which the callers get 503
        self.killed: float | None = None  # when the last pod was deleted, by the monotonic clock
        self.bypassed = False  # the entry answers without asking the target
        self.ejects = (
            0  # hits of a fault after which callers have others answer as long as it lasts; 0: never
        )
        self.stays_out = False  # and for good
        self.hits = 0  # of the fault that is in force
        self.spills = False  # the fault shows at another workload as well
        self.lies = 0.0  # share of answers that are 502 and counted as 200
        self.queries: list[str] = []
        self.pods = 0
        self._chance = random.Random(7)
        self._counters: Counter[tuple[tuple[str, str], ...]] = Counter()
        self._samples: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        self._lock = threading.Lock()
        for _ in range(3):
            self.add_pod()
        api.put(
            self._object("VirtualService", "networking.istio.io/v1", {"http": [{"retries": {"attempts": 9}}]})
        )
        api.put(self._object("PeerAuthentication", "security.istio.io/v1", {"mtls": {"mode": "STRICT"}}))
        api.before = self.answer_proxy
        api.after = self.replace_pod

    @staticmethod
    def _object(kind: str, version: str, spec: Any) -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": dict(POLICY), "spec": spec}

    def add_pod(self) -> None:
        """One more ready pod of the target."""
        self.pods += 1
        name = f"payments-{self.pods}"
        ready = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "podIP": "127.0.0.9",
            "phase": "Running",
        }
        containers = [{"name": "app", "ports": [{"containerPort": 8080}]}, {"name": "istio-proxy"}]
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{self.pods}", "labels": APP},
                "spec": {"containers": containers},
                "status": ready,
            }
        )

    def answer_proxy(self, request: Any) -> Any:
        """Plain HTTP through the API server, as it words a connection that was closed."""
        if not request.path.endswith("/proxy/"):
            return None
        if self._spec("PeerAuthentication")["mtls"]["mode"] == "STRICT":
            text = "error trying to reach service: EOF"
            return self.api.reply(503, {"kind": "Status", "status": "Failure", "message": text, "code": 503})
        return self.api.reply(200, "hello")

    def replace_pod(self, request: Any) -> None:
        """The controller of the pods."""
        if request.method == "DELETE" and "/pods/" in request.path:
            self.killed = time.monotonic()
            if self.replaces:
                self.add_pod()

    def call(self) -> int:
        """One call of the entry to payments, tried again as the policy says; gives the status."""
        if self._asks_others():
            return self._elsewhere()
        attempts = 1 + self._spec("VirtualService")["http"][0].get("retries", {}).get("attempts", 0)
        percent = self._fault_percent()
        with self._lock:
            code = 503
            for _ in range(attempts):
                hit = self._chance.random() * 100 < percent
                self.hits += hit
                code = 503 if hit else 200
                flags = "FI" if hit else "-"
                if hit and self.spills:
                    self._count(
                        reporter="destination",
                        response_code="503",
                        response_flags="FI",
                        destination_app="cart",
                    )
                if not self.bypassed:
                    self._count(reporter="destination", response_code=str(code), response_flags=flags)
                if code == 200:
                    break
            if self._chance.random() < self.broken:
                code = 500
            if self.killed is not None and time.monotonic() - self.killed < self.outage:
                code = 503
            if self._chance.random() >= self.forgets:
                self._count(reporter="source", response_code=str(code), response_flags="-")
            return 502 if self._chance.random() < self.lies else code

    def _asks_others(self) -> bool:
        """Whether the target is ejected."""
        out = bool(self.ejects) and self.hits >= self.ejects
        if not out or self.stays_out or self._fault_percent():
            return out
        self.hits = 0
        return False

    def _elsewhere(self) -> int:
        """An answer that the gateway counts and the target does not."""
        with self._lock:
            self._count(reporter="source", response_code="200", response_flags="-")
        return 200

    def restart(self) -> None:
        """The sidecar starts again: its counters, all of them, from 0."""
        with self._lock:
            self._counters.update({labels: -value for labels, value in self._counters.items()})

    def scrape(self) -> None:
        """Keeps what every counter shows now."""
        at = time.time()
        if self.prometheus == "deaf":
            return
        with self._lock:
            up = tuple(sorted({"__name__": "up", "job": "pods", "instance": "sidecar-1"}.items()))
            self._samples.setdefault(up, []).append((at, 1.0))
            for labels, value in self._counters.items():
                self._samples.setdefault(labels, []).append((at, float(value)))

    def query(self, query: str, at: float) -> list[Any]:
        """What Prometheus answers to a range selector."""
        self.queries.append(query)
        found = re.fullmatch(r"(\w+)\{(.*)\}\[(\d+)ms\]", query)
        assert found, query
        matchers = re.findall(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"', found[2])
        matchers = [(name, operator, value.replace("\\\\", "\\")) for name, operator, value in matchers]
        since = at - int(found[3]) / 1000
        with self._lock:
            named = [("__name__", "=", found[1]), *matchers]
            chosen = {k: list(v) for k, v in self._samples.items() if _matches(dict(k), named)}
        result = []
        for labels, samples in chosen.items():
            shown = "NaN" if self.prometheus == "nan" else None
            values = [[when, shown or str(value)] for when, value in samples if since < when <= at]
            if values:
                result.append({"metric": dict(labels), "values": values})
        return result

    def _count(self, **labels: str) -> None:
        if self.silent:
            return
        if labels["reporter"] == "source":
            labels = {**labels, "source_workload": "istio-ingressgateway"}
        full = {
            "__name__": "istio_requests_total",
            "job": "pods",
            "instance": "sidecar-1",
            "destination_service_name": "payments",
            "destination_service_namespace": "shop",
            "destination_workload_namespace": "shop",
            "destination_canonical_service": "payments",
            "destination_app": "payments",
            "connection_security_policy": "mutual_tls" if labels["reporter"] == "destination" else "unknown",
            **labels,
        }
        self._counters[tuple(sorted(full.items()))] += 1
        if labels["reporter"] == "source":  # every answer takes between 25 and 50 ms
            name = "istio_request_duration_milliseconds_bucket"
            for bound in ("25", "50", "250", "+Inf"):
                bucket = {**full, "__name__": name, "le": bound}
                self._counters[tuple(sorted(bucket.items()))] += bound != "25"

    def _spec(self, kind: str) -> Any:
        (spec,) = (thing["spec"] for thing in self.api.objects.values() if thing["kind"] == kind)
        return spec

    def _fault_percent(self) -> float:
        filters = [thing for thing in list(self.api.objects.values()) if thing["kind"] == "EnvoyFilter"]
        if not filters or self.deaf:
            return 0.0
        config = filters[0]["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]
        return float(config["abort"]["percentage"]["numerator"]) / 10_000


def _matches(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    return all(
        (
            bool(re.fullmatch(value, labels.get(name, "")))
            if "~" in operator
            else labels.get(name, "") == value
        )
        != operator.startswith("!")
        for name, operator, value in matchers
    )


class Entry(asyncio.Protocol):
    """As much HTTP as locust needs, as fast as Python can."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pending = b""

    def connection_made(self, transport: Any) -> None:
        """As of every asyncio.Protocol."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers as many requests as have come in."""
        self.pending += data
        while b"\r\n\r\n" in self.pending:
            _, self.pending = self.pending.split(b"\r\n\r\n", 1)
            code = self.world.call()
            self.transport.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % code)


class Scraped(BaseHTTPRequestHandler):
    """Prometheus, as far as it is asked here."""

    def do_GET(self) -> None:
        """Answers a query with what was scraped, or as badly as the world says."""
        world: World = self.server.world  # type: ignore[attr-defined]  # set by the fixture
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if world.prometheus == "hang":
            world.api.stopped.wait(10)
            return
        if world.prometheus == "500":
            self._send(500, b"out of memory")
            return
        if world.prometheus == "html":
            self._send(200, b"<html>Sign in</html>")
            return
        if asked["query"] == "time()":
            data: Any = {"resultType": "scalar", "result": [time.time(), str(time.time())]}
        else:
            found = [] if world.prometheus == "empty" else world.query(asked["query"], float(asked["time"]))
            data = {"resultType": "matrix", "result": found}
        self._send(200, json.dumps({"status": "success", "data": data}).encode())

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keeps the output of the tests clean."""
