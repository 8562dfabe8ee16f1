"""Istio's metrics of gRPC calls and TCP connections, and what Telemetry changes of metrics, through real Envoys."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from harness.localmesh.xds import model, names
from harness.localmesh.xds.given import given_ports

pytestmark = pytest.mark.e2e

FRAME = b"\0\0\0\0\2ab"
GRPC, TCP = 9000, 9100
MTLS_OFF = """
kind: PeerAuthentication
metadata: {name: tcp}
spec: {selector: {matchLabels: {app: tcp}}, mtls: {mode: DISABLE}}
"""
CLIENT_PRINCIPAL = "spiffe://cluster.local/ns/default/sa/client"
TELEMETRY = """
kind: Telemetry
metadata: {{name: one}}
spec: {{metrics: [{{overrides: {overrides}}}]}}
"""


_HEAD = [(":status", "200"), ("content-type", "application/grpc")]


class _Calls(socketserver.BaseRequestHandler):
    """A gRPC server: `x-messages` messages, then `x-status` in trailers, or in the headers when there are none.

    With `x-early` it sends one message as soon as it is called, and nothing but trailers after the request.
    """

    def handle(self) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        connection.initiate_connection()
        headers: dict[int, dict[str, str]] = {}
        while True:
            self.request.sendall(connection.data_to_send())
            data = self.request.recv(65536)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers[event.stream_id] = {str(key): str(value) for key, value in event.headers}
                    if "x-early" in headers[event.stream_id]:
                        connection.send_headers(event.stream_id, _HEAD)
                        connection.send_data(event.stream_id, FRAME)
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(connection, event.stream_id, headers.pop(event.stream_id))

    def _answer(self, connection: h2.connection.H2Connection, stream: int, asked: dict[str, str]) -> None:
        count, status = int(asked.get("x-messages", "1")), asked.get("x-status", "0")
        if not count:
            connection.send_headers(stream, [*_HEAD, ("grpc-status", status)], end_stream=True)
            return
        if "x-early" not in asked:
            connection.send_headers(stream, _HEAD)
            for _ in range(count):
                connection.send_data(stream, FRAME)
        connection.send_headers(stream, [("grpc-status", status)], end_stream=True)


class _Echo(socketserver.BaseRequestHandler):
    """Sends back twice what it gets, until the client closes its side."""

    def handle(self) -> None:
        while data := self.request.recv(1000):
            self.request.sendall(data * 2)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@dataclass
class _Call:
    """A gRPC call through a sidecar: sends `messages` messages and collects the headers and trailers of the answer.

    With `x_early` all but the first are sent once there is a message of the answer; or else it is cancelled then.
    """

    ip: str
    messages: int = 1
    cancelled: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def run(self, authority: str = "grpc:9000", **extra: str) -> dict[str, str]:
        """The headers and trailers of the answer."""
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        fields = {
            ":method": "POST", ":scheme": "http", ":path": "/shop.Cart/Add", ":authority": authority,
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        given = {key.replace("_", "-"): value for key, value in extra.items()}
        connection.send_headers(1, [*(fields | given).items()])
        left = self._send(connection, 1 if "x_early" in extra else self.messages, self.messages)
        with socket.create_connection((self.ip, names.OUTBOUND_PORT), timeout=10) as stream:
            while True:
                stream.sendall(connection.data_to_send())
                events = connection.receive_data(stream.recv(65536))
                if self._ended(events):
                    return self.headers
                if left and any(isinstance(event, h2.events.DataReceived) for event in events):
                    if self.cancelled:
                        return self.headers
                    left = self._send(connection, left, left)

    def _send(self, connection: h2.connection.H2Connection, count: int, left: int) -> int:
        for number in range(count):
            connection.send_data(1, FRAME, end_stream=number + 1 == left)
        return left - count

    def _ended(self, events: list[Any]) -> bool:
        for event in events:
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                self.headers.update((str(key), str(value)) for key, value in event.headers)
        return any(isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) for event in events)


@pytest.fixture(scope="module")
def shop(lab, build) -> Iterator[Any]:
    """A client, a gRPC server and a TCP server with sidecars; behind `gone` nobody listens."""
    lab.client = lab.pod("client", program=False)
    lab.grpc = lab.pod("grpc", program=False, ports=(("grpc", GRPC),))
    lab.tcp = lab.pod("tcp", program=False, ports=(("tcp", TCP),))
    lab.gone = build.workload("gone", lab.address(), ports=(("tcp", TCP),))
    servers = [_Server((lab.grpc.app_ip, GRPC), _Calls), _Server((lab.tcp.app_ip, TCP), _Echo)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    tcp = (model.ServicePort("tcp", TCP, TCP, "tcp"),)
    lab.start(
        build.service("grpc", "10.0.0.2", ports=(model.ServicePort("grpc", GRPC, GRPC, "grpc"),)),
        build.service("tcp", "10.0.0.3", ports=tcp),
        build.service("gone", "10.0.0.4", ports=tcp),
    )
    lab.base = type(lab.base)(services=lab.base.services, workloads=(*lab.base.workloads, lab.gone))
    yield lab
    for server in servers:
        server.shutdown()
        server.server_close()
    for proxy in lab.proxies.values():
        assert (lab.folder(proxy) / "envoy.log").read_text() == "", "Envoy complained"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({}, "0"),
        ({"x_status": "5"}, "5"),
        ({"x_messages": "0", "x_status": "7"}, "7"),
    ],
    ids=["trailers", "failure in trailers", "trailers only"],
)
def test_a_grpc_call_is_counted_with_its_status(shop, answer, status):
    """Both reporters know the protocol and the status, wherever in the answer it stands."""
    shop.apply()
    for workload in (shop.client, shop.grpc):
        ((labels, count),) = shop.rises(
            workload, "requests_total", lambda: _Call(shop.client.ip).run(**answer)
        )
        assert count == 1
        assert (labels["request_protocol"], labels["response_code"]) == ("grpc", "200")
        assert (labels["grpc_response_status"], labels["response_flags"]) == (status, "-")


def test_a_grpc_call_that_the_sidecar_answers_has_the_status_a_client_sees(shop):
    """Without endpoints the caller's sidecar answers 200 with UNAVAILABLE, as to every call of gRPC."""
    shop.apply(workloads=(shop.client,))
    seen: dict[str, str] = {}
    ((labels, _),) = shop.rises(
        shop.client, "requests_total", lambda: seen.update(_Call(shop.client.ip).run())
    )
    assert (
        (labels["grpc_response_status"], labels["response_flags"])
        == (seen["grpc-status"], "UH")
        == ("14", "UH")
    )


@pytest.mark.parametrize(("sent", "received"), [(1, 1), (12, 3), (2, 101)])
def test_the_messages_of_grpc_calls_are_counted(shop, sent, received):
    """Each message of a stream counts, at both ends, with the labels of the two workloads and nothing of the answer."""
    shop.apply()
    for workload, reporter in ((shop.client, "source"), (shop.grpc, "destination")):
        for name, wanted in (("request_messages_total", sent), ("response_messages_total", received)):
            ((labels, count),) = shop.rises(
                workload, name, lambda: _Call(shop.client.ip, sent).run(x_messages=str(received))
            )
            assert (labels["reporter"], labels["destination_workload"], count) == (
                reporter,
                "grpc-v1",
                wanted,
            )
            assert not {"request_protocol", "response_code", "response_flags"} & set(labels)


@pytest.mark.parametrize(("cancelled", "sent"), [(False, 3), (True, 1)])
def test_messages_of_both_sides_may_come_in_any_order(shop, cancelled, sent):
    """Messages sent after the last of the answer count, and of a call that is cancelled those until then."""
    shop.apply()
    for name, wanted in (("request_messages_total", sent), ("response_messages_total", 1)):
        ((labels, count),) = shop.rises(
            shop.client, name, lambda: _Call(shop.client.ip, 3, cancelled).run(x_early="1")
        )
        assert (labels["destination_workload"], count) == ("grpc-v1", wanted)


def test_what_is_no_grpc_has_no_messages(shop):
    """A plain request through the same sidecar changes no message counter."""
    shop.apply()
    before = shop.series(shop.client, "request_messages_total")
    shop.counted(shop.client, lambda: shop.call(shop.client, "http://gone.test/"))
    assert shop.series(shop.client, "request_messages_total") == before


@pytest.mark.parametrize("name", ["request_bytes", "response_bytes"])
def test_sizes_are_those_on_the_wire(shop, name):
    """The histograms of a request's and an answer's bytes have its labels; headers count."""
    shop.apply(TELEMETRY.format(overrides="[{tagOverrides: {call: {value: \"request.headers['x-call']\"}}}]"))

    def measured() -> list[tuple[dict[str, str], float]]:
        _Call(shop.client.ip).run(x_messages="3", x_call=name)
        counts = shop.series(shop.client, f"{name}_count")
        sums = shop.series(shop.client, f"{name}_sum")
        labels = {key: dict(key) for key, count in counts.items() if count}
        return [(labels[key], sums[key] / counts[key]) for key in labels if labels[key].get("call") == name]

    ((labels, size),) = shop.wait(measured, "nothing is measured with the label")
    assert (labels["destination_service_name"], labels["request_protocol"]) == ("grpc", "grpc")
    assert len(FRAME) < size < 2000


def _port(shop, name: str) -> int:
    return given_ports(shop.base.services)[f"{name}.default.svc.cluster.local", TCP]


def _exchange(shop, name: str = "tcp", text: bytes = b"hello") -> bytes:
    """What comes back over one connection of the client to the TCP Service `name`."""
    with socket.create_connection((shop.client.ip, _port(shop, name)), timeout=10) as stream:
        stream.sendall(text)
        stream.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: stream.recv(1000), b""))


METRICS = {
    "tcp_connections_opened_total": 1, "tcp_connections_closed_total": 1,
    "tcp_sent_bytes_total": 10, "tcp_received_bytes_total": 5,
}  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_a_connection_is_counted_at_the_caller(shop, metric):
    """The caller's sidecar knows the callee by the endpoint; bytes are those sent to and received from the program."""
    shop.apply()
    ((labels, count),) = shop.rises(shop.client, metric, lambda: _exchange(shop))
    assert count == METRICS[metric]
    assert (labels["reporter"], labels["request_protocol"], labels["response_flags"]) == (
        "source",
        "tcp",
        "-",
    )
    assert (labels["source_workload"], labels["destination_workload"]) == ("client-v1", "tcp-v1")
    assert labels["destination_service"] == "tcp.default.svc.cluster.local"
    assert labels["connection_security_policy"] == "unknown"
    assert labels["source_principal"] == CLIENT_PRINCIPAL
    assert "response_code" not in labels


@pytest.mark.parametrize(
    ("texts", "policy", "principal"), [((), "mutual_tls", CLIENT_PRINCIPAL), ((MTLS_OFF,), "none", "unknown")]
)
def test_a_connection_is_counted_at_the_callee(shop, texts, policy, principal):
    """The callee's sidecar knows the caller by its certificate only."""
    shop.apply(*texts)

    def counted() -> list[dict[str, str]]:
        try:
            rises = shop.rises(shop.tcp, "tcp_connections_closed_total", lambda: _exchange(shop))
        except OSError:
            return []  # a connection of before the change
        return [labels for labels, _ in rises if labels["connection_security_policy"] == policy]

    labels = shop.wait(counted, f"no connection is counted as {policy}")[0]
    assert (labels["reporter"], labels["source_principal"]) == ("destination", principal)
    assert (labels["source_workload"], labels["destination_workload"]) == ("unknown", "tcp-v1")
    assert labels["destination_service_name"] == "tcp"


def test_a_connection_is_open_before_it_is_closed(shop):
    """It counts as opened while it lasts; its end counts when it comes."""
    shop.apply()
    closed = shop.series(shop.client, "tcp_connections_closed_total")
    opened: list[socket.socket] = []
    place = (shop.client.ip, _port(shop, "tcp"))
    shop.rises(
        shop.client,
        "tcp_connections_opened_total",
        lambda: opened.append(socket.create_connection(place, timeout=10)),
    )
    assert shop.series(shop.client, "tcp_connections_closed_total") == closed
    shop.rises(shop.client, "tcp_connections_closed_total", opened[0].close)


def test_a_connection_that_reaches_nobody_is_opened_and_closed(shop):
    """Both count once, with the flags of what went wrong, and with what is known of the callee."""
    shop.apply()
    for metric in ("tcp_connections_opened_total", "tcp_connections_closed_total"):
        ((labels, count),) = shop.rises(shop.client, metric, lambda: _failing(shop))
        assert (count, labels["response_flags"]) == (1, "UF,URX")
        assert labels["destination_service_name"] == "gone"


def _failing(shop) -> None:
    try:
        assert _exchange(shop, "gone") == b""
    except OSError:
        return


def test_telemetry_sets_and_removes_labels(shop):
    """UPSERT replaces a label or adds one by a CEL expression, REMOVE takes one away; other metrics stay."""
    change = (
        "[{match: {metric: REQUEST_COUNT}, tagOverrides: {"
        "response_code: {value: 'response.code / 100 * 100'},"
        "path: {value: \"request.method == 'no)%' ? '' : request.url_path\"},"
        "odd: {value: \"request.headers['none']\"}, port: {value: string(destination.port)},"
        "source_app: {operation: REMOVE}}}]"
    )
    shop.apply(TELEMETRY.format(overrides=change))
    ((labels, _),) = shop.rises(shop.client, "requests_total", lambda: _Call(shop.client.ip).run())
    assert (labels["path"], labels["odd"], labels["port"]) == ("/shop.Cart/Add", "unknown", "15001")
    assert (labels["response_code"], "source_app" in labels) == ("200", False)
    (labels, _), *_ = shop.rises(shop.client, "request_bytes_count", lambda: _Call(shop.client.ip).run())
    assert labels["source_app"] == "client"


def test_a_metric_can_be_switched_off_at_one_side(shop):
    """A metric that is disabled for SERVER is not counted there, and still at the caller."""
    shop.apply()
    shop.rises(shop.grpc, "requests_total", lambda: _Call(shop.client.ip).run())
    shop.apply(TELEMETRY.format(overrides="[{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: true}]"))

    def silent() -> bool:
        before = shop.series(shop.grpc, "requests_total")
        shop.rises(shop.grpc, "request_duration_milliseconds_count", lambda: _Call(shop.client.ip).run())
        return bool(shop.series(shop.grpc, "requests_total") == before)

    shop.wait(silent, "requests are still counted")  # connections of before the change drain
    shop.rises(shop.client, "requests_total", lambda: _Call(shop.client.ip).run())
