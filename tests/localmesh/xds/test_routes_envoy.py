"""What a real Envoy does with the routes: one explicit proxy, before one program that stands for all destinations."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from onlooker import port, view

from harness.localmesh import programs
from harness.localmesh.xds import model
from harness.localmesh.xds.virtualhosts import outbound_routes

pytestmark = pytest.mark.e2e

DEADLINE = 10.0
MANIFESTS = r"""
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews, www.example.com]
  http:
  - match: [{uri: {exact: /exact}, ignoreUriCase: true}]
    route: [{destination: {host: reviews, subset: exact}}]
  - match: [{uri: {prefix: /prefix}}]
    rewrite: {uri: /new, authority: other.host}
    route: [{destination: {host: reviews, subset: prefix}}]
  - match: [{uri: {regex: "/[a-z]+/[0-9]+"}}]
    rewrite: {uriRegexRewrite: {match: "^/([a-z]+)/([0-9]+)$", rewrite: '/\2/\1'}}
    route: [{destination: {host: reviews, subset: regex}}]
  - match: [{headers: {user: {exact: jason}}, withoutHeaders: {bot: {}}}]
    route: [{destination: {host: reviews, subset: headers}}]
  - match: [{queryParams: {v: {exact: "2"}}, method: {exact: PUT}}]
    route: [{destination: {host: reviews, subset: query}}]
  - match: [{scheme: {exact: http}, authority: {prefix: www}}]
    route: [{destination: {host: reviews, subset: authority}}]
  - match: [{uri: {exact: /moved}}]
    redirect: {uri: /there, authority: new.host, redirectCode: 308}
  - match: [{uri: {exact: /port}}]
    redirect: {derivePort: FROM_REQUEST_PORT, authority: new.host}
  - match: [{uri: {exact: /tea}}]
    directResponse: {status: 418, body: {bytes: dGVhcG90}}
  - match: [{uri: {exact: /fault}}]
    fault: {abort: {httpStatus: 511, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /grpc}}]
    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /slow}}]
    timeout: 50ms
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /again}}]
    retries: {attempts: 3, retryOn: "502"}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /copied}}]
    route: [{destination: {host: reviews, subset: real}}]
    mirrors: [{destination: {host: reviews, subset: copy}}, {destination: {host: reviews}, percentage: {value: 0}}]
  - match: [{uri: {exact: /headers}}]
    headers: {request: {set: {a: set}, add: {b: more}, remove: [c]}, response: {set: {served: here}}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /cors}}]
    corsPolicy: {allowOrigins: [{exact: "http://a"}], allowMethods: [GET, PUT], maxAge: 1m}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /shared}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v2}, weight: 25}
  - route: [{destination: {host: reviews}}]
"""


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it saw."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Program

    def do_GET(self) -> None:
        headers = {key.lower(): ",".join(self.headers.get_all(key, ())) for key in self.headers}
        seen = {"path": self.path, "headers": headers}
        with self.server.news:
            self.server.seen.append(seen)
            self.server.news.notify_all()
        if self.path == "/slow":
            self.server.stopped.wait(DEADLINE)
        body = json.dumps(seen).encode()
        self.send_response(502 if self.path == "/again" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.do_GET()

    def do_OPTIONS(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class Program(http.server.ThreadingHTTPServer):
    """The program behind all clusters."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.seen: list[dict[str, Any]] = []
        self.news = threading.Condition()
        self.stopped = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A proxy that gives up early is no error of the program."""


@dataclass(frozen=True)
class Answer:
    """What came back: `cluster` is where the proxy sent the request, "" for an answer of its own."""

    status: int
    cluster: str
    headers: dict[str, str]
    seen: dict[str, Any] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Proxy:
    """The proxy's port, and the program behind it."""

    port: int
    program: Program

    def ask(self, url: str, method: str = "GET", **headers: str) -> Answer:
        """The answer to a request with the absolute `url`; "_" in names of headers stands for "-"."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            connection.request(method, url, headers=given)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        back = {key.lower(): value for key, value in answer.getheaders()}
        cluster = back.get("x-cluster", "-").replace("-", "")
        return Answer(answer.status, cluster, back, json.loads(text) if text[:1] == "{" else {}, text)


def _bootstrap(table: dict[str, Any], program: int, listen: int) -> dict[str, Any]:
    clusters = set(re.findall(r'"(outbound\|[^"]*)"', json.dumps(table))) | {"PassthroughCluster"}
    shown = {
        "header": {"key": "x-cluster", "value": "%UPSTREAM_CLUSTER%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    filters = [
        {
            "name": f"envoy.filters.http.{name}",
            "typed_config": {"@type": f"{_TYPES}.filters.http.{name}.v3.{kind}"},
        }
        for name, kind in (("fault", "HTTPFault"), ("cors", "Cors"), ("router", "Router"))
    ]
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "proxy",
        "http_filters": filters,
        "http_protocol_options": {"allow_absolute_url": True},
        "route_config": {
            **{key: value for key, value in table.items() if key != "@type"},
            "response_headers_to_add": [shown],
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "proxy", "address": _address(listen), "filter_chains": [chain]}
    made = [_cluster(name, program) for name in sorted(clusters)]
    return {"static_resources": {"listeners": [listener], "clusters": made}}


_TYPES = "type.googleapis.com/envoy.extensions"


def _address(number: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": number}}


def _cluster(name: str, program: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(program)}}
    return {
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.fixture(scope="module")
def proxy(build, tmp_path_factory) -> Iterator[Proxy]:
    """A proxy with the routes of MANIFESTS, which refuses unknown hosts."""
    services = (build.service("reviews", ports=(port(80), port(9080))), build.service("ratings", "10.0.0.2"))
    config = model.MeshConfig(outbound_mode="REGISTRY_ONLY")
    table = outbound_routes(view(build, services, MANIFESTS, config=config))["http_proxy"]
    program, listen = Program(), _free_port()
    folder = tmp_path_factory.mktemp("routes")
    path = folder / "envoy.json"
    path.write_text(json.dumps(_bootstrap(table, program.server_address[1], listen)))
    thread = threading.Thread(target=program.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    flags = ["--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([programs.envoy(), "-c", str(path), *flags], stdout=log, stderr=log)
    try:
        _await(listen, process, folder / "log")
        assert "deprecated" not in (folder / "log").read_text()
        yield Proxy(listen, program)
    finally:
        process.kill()
        process.wait()
        program.stopped.set()
        program.shutdown()
        thread.join()
        program.server_close()


def _await(number: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", number)) == 0:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("url", "headers", "subset"),
    [
        ("http://reviews:9080/EXACT", {}, "exact"),
        ("http://reviews.default:9080/prefixed", {}, "prefix"),
        ("http://reviews:9080/abc/12", {}, "regex"),
        ("http://reviews:9080/", {"user": "jason"}, "headers"),
        ("http://reviews:9080/", {"user": "jason", "bot": "x"}, ""),
        ("http://reviews:9080/?v=2", {"method": "PUT"}, "query"),
        ("http://reviews:9080/?v=2", {}, ""),
        ("http://www.example.com:9080/", {}, "authority"),
        ("http://10.0.0.1:9080/", {}, ""),
    ],
)
def test_a_request_goes_where_its_match_says(proxy, url, headers, subset):
    """By path, headers, method, query, scheme and authority, from an absolute URL."""
    answer = proxy.ask(url, **headers)
    assert (answer.status, answer.cluster) == (
        200,
        f"outbound|9080|{subset}|reviews.default.svc.cluster.local",
    )


@pytest.mark.parametrize(
    ("url", "cluster"),
    [
        ("http://reviews/", "outbound|80||reviews.default.svc.cluster.local"),
        ("http://reviews:80/", "outbound|80||reviews.default.svc.cluster.local"),
        ("http://ratings.default.svc:8080/", "outbound|8080||ratings.default.svc.cluster.local"),
        (
            "http://ratings.default.svc.cluster.local.:8080/",
            "outbound|8080||ratings.default.svc.cluster.local",
        ),
    ],
)
def test_the_port_called_tells_services_ports_apart(proxy, url, cluster):
    """Port 80 may be left out; other ports may not."""
    assert proxy.ask(url).cluster == cluster


@pytest.mark.parametrize("url", ["http://ratings/", "http://unknown:9080/", "http://reviews:1/"])
def test_unknown_hosts_are_refused(proxy, url):
    """REGISTRY_ONLY answers 502, at ports that the Service has not too."""
    assert (proxy.ask(url).status, proxy.ask(url).cluster) == (502, "")


def test_a_rewrite_changes_path_and_host(proxy):
    """The matched prefix is replaced, the rest stays."""
    seen = proxy.ask("http://reviews:9080/prefixed?q").seen
    assert (seen["path"], seen["headers"]["host"]) == ("/newed?q", "other.host")
    assert proxy.ask("http://reviews:9080/abc/12").seen["path"] == "/12/abc"


def test_a_redirect_names_the_new_place(proxy):
    """With the port called where that is asked for."""
    moved = proxy.ask("http://reviews:9080/moved")
    assert (moved.status, moved.headers["location"]) == (308, "http://new.host/there")
    assert proxy.ask("http://reviews:9080/port").headers["location"] == "http://new.host:9080/port"
    assert proxy.ask("http://reviews/port").headers["location"] == "http://new.host/port"


def test_a_direct_response_needs_no_service(proxy):
    """Its bytes are decoded."""
    answer = proxy.ask("http://reviews:9080/tea")
    assert (answer.status, answer.text) == (418, "teapot")


def test_faults_answer_in_the_callers_proxy(proxy):
    """By HTTP status or gRPC status."""
    assert proxy.ask("http://reviews:9080/fault").status == 511
    broken = proxy.ask("http://reviews:9080/grpc", content_type="application/grpc")
    assert (broken.status, broken.headers["grpc-status"]) == (200, "14")


def test_a_timeout_ends_the_wait(proxy):
    """With 504."""
    assert proxy.ask("http://reviews:9080/slow").status == 504


def test_retries_are_made_and_counted_for_the_callee(proxy):
    """Three retries are four requests; the last one's answer is the caller's."""
    before = len(proxy.program.seen)
    assert proxy.ask("http://reviews:9080/again").status == 502
    made = [item for item in proxy.program.seen[before:] if item["path"] == "/again"]
    assert [item["headers"]["x-envoy-attempt-count"] for item in made] == ["1", "2", "3", "4"]


def test_a_mirror_gets_a_copy_whose_answer_nobody_waits_for(proxy):
    """A share of zero gets none; the copy keeps the host."""
    program = proxy.program
    answer = proxy.ask("http://reviews:9080/copied")
    assert answer.cluster == "outbound|9080|real|reviews.default.svc.cluster.local"

    def copies() -> list[str]:
        return [item["headers"]["host"] for item in program.seen if item["path"] == "/copied"]

    with program.news:
        assert program.news.wait_for(lambda: len(copies()) >= 2, DEADLINE)
    assert copies() == ["reviews:9080"] * 2


def test_headers_are_set_added_and_removed(proxy):
    """On the way there and back."""
    answer = proxy.ask("http://reviews:9080/headers", a="own", b="own", c="own")
    assert answer.seen["headers"]["a"] == "set"
    assert answer.seen["headers"]["b"] == "own,more"
    assert "c" not in answer.seen["headers"]
    assert answer.headers["served"] == "here"


def test_preflights_are_answered_for_allowed_origins_and_forwarded_for_others(proxy):
    """As CORS asks, with Istio's default for those that fit no origin."""
    asked = {"method": "OPTIONS", "access_control_request_method": "PUT"}
    allowed = proxy.ask("http://reviews:9080/cors", origin="http://a", **asked)
    assert allowed.headers["access-control-allow-methods"] == "GET,PUT"
    assert allowed.headers["access-control-max-age"] == "60"
    assert allowed.cluster == ""
    assert proxy.ask("http://reviews:9080/cors", origin="http://b", **asked).seen["path"] == "/cors"


def test_requests_are_shared_by_weight(proxy):
    """A quarter of 200 goes to the one that has a quarter, within five standard deviations."""
    subsets = [proxy.ask("http://reviews:9080/shared").cluster.split("|")[2] for _ in range(200)]
    assert set(subsets) == {"v1", "v2"}
    assert 20 <= subsets.count("v2") <= 80
