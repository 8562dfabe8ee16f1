"""What sidecars write down of requests and connections, and which of Envoy's own series they keep."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.given import given_ports

pytestmark = pytest.mark.e2e

URL = "http://callee:8080/x"
CLUSTER = "outbound|8080||callee.default.svc.cluster.local"
KEYS = {
    "start_time", "route_name", "method", "path", "protocol", "response_code", "response_flags",
    "response_code_details", "connection_termination_details", "bytes_received", "bytes_sent", "duration",
    "upstream_service_time", "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host",
    "upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address",
    "requested_server_name", "upstream_transport_failure_reason",
}  # fmt: skip
JSON = model.MeshConfig(access_log=True, access_log_json=True)
ERRORS_ONLY = """
kind: Telemetry
metadata: {name: errors}
spec: {accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code >= 400}}]}
"""
STRICT = """
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
"""
RULE = """
kind: VirtualService
metadata: {{name: callee}}
spec:
  hosts: [callee]
  http:
  - route: [{{destination: {{host: callee}}}}]
    {policy}
"""
OUTLIERS = """
kind: DestinationRule
metadata: {name: callee}
spec: {host: callee, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 100}}}
"""


class _Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets, once."""

    def handle(self) -> None:
        self.request.sendall(self.request.recv(1000))


@pytest.fixture(scope="module")
def shop(lab, build) -> Iterator[Any]:
    """A client and a callee, with HTTP at 8080 and TCP at 9100."""
    lab.client = lab.pod("client", program=False)
    lab.callee = lab.pod("callee")
    lab.tcp = lab.pod("tcp", program=False, ports=(("tcp", 9100),))
    server = socketserver.ThreadingTCPServer((lab.tcp.app_ip, 9100), _Echo)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    ports = (model.ServicePort("tcp", 9100, 9100, "tcp"),)
    lab.start(build.service("callee", "10.0.0.2"), build.service("tcp", "10.0.0.3", ports=ports))
    yield lab
    server.shutdown()
    server.server_close()


def _lines(shop, workload: model.Workload) -> list[str]:
    text = (shop.folder(shop.proxies[workload.name]) / "envoy.log").read_text()
    return [line for line in text.split("\n")[:-1] if not line.startswith("[2") or '"' in line]


def _written(shop, workload: model.Workload, action) -> str:
    """The first line that `workload`'s sidecar writes because of `action`."""
    before = len(_lines(shop, workload))
    action()
    return str(shop.wait(lambda: _lines(shop, workload)[before:], "nothing is written")[0])


def test_a_request_is_a_line_of_json_at_both_ends(shop):
    """Each end writes an object with Istio's keys; what is not there is null."""
    shop.apply(config=JSON)
    lines = [
        json.loads(_written(shop, workload, lambda: shop.call(shop.client, URL)))
        for workload in (shop.client, shop.callee)
    ]
    assert [set(line) for line in lines] == [KEYS, KEYS]
    assert [line["upstream_cluster"] for line in lines] == [CLUSTER, "inbound|8080||"]
    for line in lines:
        assert (line["method"], line["path"], line["response_code"]) == ("GET", "/x", 200)
        assert (line["response_flags"], line["authority"]) == ("-", "callee:8080")
    assert lines[0]["request_id"]
    assert lines[0]["requested_server_name"] is None
    assert lines[1]["requested_server_name"] == "outbound_.8080_._.callee.default.svc.cluster.local"


def test_a_request_is_a_line_of_text(shop):
    """The default format is Istio's."""
    shop.apply(config=model.MeshConfig(access_log=True))
    line = _written(shop, shop.client, lambda: shop.call(shop.client, URL))
    pattern = (
        r'\[\d{4}-\d\d-\d\dT[\d:.]+Z\] "GET /x HTTP/1\.1" 200 - via_upstream - "-" 0 \d+ \d+ \d+ '
        r'"-" "-" "[-0-9a-f]{36}" "callee:8080" "[\d.]+:8080" '
        rf"{re.escape(CLUSTER)} [\d.]+:\d+ [\d.]+:15001 [\d.]+:\d+ - default"
    )
    assert re.fullmatch(pattern, line), line


def test_only_what_the_filter_is_true_for_is_written(shop):
    """Of a good request and a bad one the bad one stands first."""
    shop.apply(ERRORS_ONLY, config=model.MeshConfig(access_log_json=True))

    def both():
        shop.call(shop.client, URL)
        shop.call(shop.client, f"{URL}?status=404")

    assert json.loads(_written(shop, shop.client, both))["response_code"] == 404


def test_a_connection_is_one_line_at_its_end(shop):
    """Bytes are those of the whole connection; nothing is written when it begins."""
    shop.apply(config=JSON)
    port = given_ports(shop.base.services)["tcp.default.svc.cluster.local", 9100]
    before = len(_lines(shop, shop.client))

    def exchange():
        with socket.create_connection((shop.client.ip, port), timeout=10) as stream:
            stream.sendall(b"hello")
            assert stream.recv(1000) == b"hello"
            assert len(_lines(shop, shop.client)) == before

    line = json.loads(_written(shop, shop.client, exchange))
    assert (line["bytes_received"], line["bytes_sent"], line["response_code"]) == (5, 5, 0)
    assert line["upstream_cluster"] == "outbound|9100||tcp.default.svc.cluster.local"


def test_a_connection_that_no_filter_chain_takes_is_written_down(shop):
    """Plaintext at a callee that is STRICT has the flag NR there."""
    shop.apply(STRICT, config=JSON)

    def refused():
        try:
            shop.http_get(shop.callee.ip, 8080, "/x")
        except ConnectionError:
            return

    def flags():
        return json.loads(_written(shop, shop.callee, refused))["response_flags"]

    shop.wait(lambda: flags() == "NR", "the refusal is not written down")


def _native(shop, name: str, **labels: str) -> float:
    found = [
        sample.value
        for sample in shop.scrape(shop.client)
        if sample.name == f"envoy_{name}" and sample.labels == labels
    ]
    assert len(found) == 1, f"{name} {labels} is there {len(found)} times"
    return float(found[0])


SERIES = [
    *(f"outlier_detection_ejections_{name}" for name in ("active", "enforced_total", "overflow")),
    "outlier_detection_ejections_enforced_consecutive_5xx",
    "outlier_detection_ejections_enforced_consecutive_gateway_failure",
    *(f"upstream_rq_{name}" for name in ("retry", "retry_success", "retry_limit_exceeded", "retry_overflow")),
    *(
        f"upstream_rq_{name}"
        for name in ("pending_overflow", "active_overflow", "timeout", "per_try_timeout")
    ),
    "upstream_cx_overflow",
    *(f"circuit_breakers_default_{name}_open" for name in ("cx", "rq", "rq_pending", "rq_retry")),
    "membership_healthy",
]


def test_envoys_own_series_have_the_names_of_a_real_cluster(shop):
    """Outliers, retries, breakers and timeouts of a Service's cluster are there, labelled with its name alone."""
    shop.apply(OUTLIERS)
    for name in SERIES:
        _native(shop, f"cluster_{name}", cluster_name=CLUSTER)


@pytest.mark.parametrize(
    ("policy", "series", "labels", "rise"),
    [
        ("retries: {attempts: 2, retryOn: 5xx}", "cluster_upstream_rq_retry", {"cluster_name": CLUSTER}, 2),
        ("timeout: 0.05s", "cluster_upstream_rq_timeout", {"cluster_name": CLUSTER}, 1),
        (
            "retries: {attempts: 1, perTryTimeout: 0.05s, retryOn: gateway-error}",
            "cluster_upstream_rq_per_try_timeout",
            {"cluster_name": CLUSTER},
            2,
        ),
        (
            "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}",
            "http_fault_aborts_injected",
            {"http_conn_manager_prefix": "outbound_0.0.0.0_15001"},
            1,
        ),
        ("", "cluster_upstream_rq", {"response_code": "503", "cluster_name": CLUSTER}, 1),
    ],
)
def test_envoys_own_series_rise_with_what_they_are_called_after(shop, policy, series, labels, rise):
    """A request that fails late with 503 raises the series of the policy that acts on it."""
    shop.apply(RULE.format(policy=""))
    shop.call(shop.client, f"{URL}?status=503")  # Envoy makes series of codes when they come
    shop.apply(RULE.format(policy=policy))
    try:
        before = _native(shop, series, **labels)
    except AssertionError:
        before = 0.0  # and others with the first event
    shop.call(shop.client, f"{URL}?status=503&delay=0.2")
    assert _native(shop, series, **labels) == before + rise
