"""TCP: echo servers, and the addresses at which a workload reaches services."""

import json
import signal
import socket
import time

import pytest

from harness.localmesh.standins import tcp
from harness.localmesh.standins.client import CallError


@pytest.fixture
def talk():
    """Sends bytes to an address and returns what comes back until it has that many bytes, or the end."""

    def talk(address, data, enough):
        with socket.create_connection(address, timeout=15) as connection:
            connection.sendall(data)
            got = b""
            while len(got) < enough and (piece := connection.recv(65536)):
                got += piece
            return got

    return talk


def test_tcp_echo_answers_every_line_behind_its_prefix(start, talk, free):
    """On all ports of its arguments, declared or not, as Istio's sample."""
    host, port = free()
    program = start("tcpecho", f"{port},{port + 1}", "one", ready=False, LISTEN_HOST=host, PORTS=str(port))
    for each in (port, port + 1):
        _until_accepts((host, each))
        assert talk((host, each), b"hello\nworld\n", 20) == b"one hello\none world\n"
    assert program.end() == 0


def test_tcp_echo_refuses_arguments_that_do_not_fit(start):
    """Ports and a prefix, and every containerPort among the ports."""
    assert start("tcpecho", "9000", ready=False).process.wait(15) == 2
    other = start("tcpecho", "1,2", "one", ready=False, PORTS="3")
    assert other.process.wait(15) == 2
    assert "containerPort 3 is not among the ports in args" in other.log.read_text()


def test_a_service_answers_tcp_on_the_ports_that_say_so(start, talk, free):
    """`protocol` by port; the answer says which pod gave it."""
    host, port = free()
    ports = f"{port},{port + 1}"
    start("service", ready=False, LISTEN_HOST=host, PORTS=ports, STANDIN_PROTOCOL=f"{port}=tcp")
    _until_accepts((host, port + 1))
    assert talk((host, port), b"hello\n", 15) == b"v1 pod-1 hello\n"
    assert talk((host, port + 1), b"GET / HTTP/1.0\r\n\r\n", 12).startswith(b"HTTP/1.1 200")


def test_an_error_over_tcp_is_a_connection_closed(start, talk):
    """There is no status to say it with."""
    program = start("service", STANDIN_PROTOCOL="tcp", STANDIN_ERROR_PERCENT="100")
    assert talk(program.address, b"hello\n", 1) == b""


def test_sigterm_lets_a_line_be_answered(start):
    """What was asked before the signal is answered, and the connection ends after it."""
    program = start("service", STANDIN_PROTOCOL="tcp", STANDIN_LATENCY="600ms")
    with program.connect() as connection:
        connection.sendall(b"one\ntwo\n")
        assert connection.recv(100) == b"v1 pod-1 one\n"
        program.process.send_signal(signal.SIGTERM)
        assert connection.recv(100) == b"v1 pod-1 two\n"
        assert connection.recv(100) == b""
    assert program.process.wait(15) == 0


def test_a_service_calls_another_over_tcp_by_its_name(start, tmp_path):
    """The file says where, is read for each call, and short names are completed."""
    leaf = start("service", STANDIN_PROTOCOL="tcp", SERVICE_VERSION="v2")
    file = tmp_path / "addresses.json"
    file.write_text("{}")
    program = start(
        "service",
        STANDIN_CALLS="tcp://tcp-echo:9000",
        HARNESS_TCP_ADDRESSES=str(file),
        POD_NAME="caller",
    )
    missing = program.ask("/")
    assert missing.status == 503
    assert missing.json["calls"][0]["error"].startswith("tcp-echo:9000 is no TCP service of the mesh; give")
    where = f"{leaf.address[0]}:{leaf.address[1]}"
    file.write_text(json.dumps({"tcp-echo.default.svc.cluster.local:9000": where}))
    found = program.ask("/")
    assert (found.status, found.json["calls"][0]["answer"]) == (200, "v2 pod-1 caller")


_FILE = {
    "a.ns.svc.cluster.local:1": "127.1.1.1:11",
    "a.other.svc.cluster.local:1": "127.1.1.2:12",
    "ext.io:1": "127.1.1.3:13",
}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a", "127.1.1.1"),
        ("a.ns", "127.1.1.1"),
        ("a.other", "127.1.1.2"),
        ("a.other.svc", "127.1.1.2"),
        ("a.other.svc.cluster.local", "127.1.1.2"),
        ("a.other.svc.cluster.local.", "127.1.1.2"),
        ("ext.io", "127.1.1.3"),
        ("a.", None),
        ("svc", None),
        ("b", None),
    ],
)
def test_names_are_completed_as_in_a_pod(tmp_path, name, place):
    """The search path of Kubernetes, and nothing for names it does not find."""
    file = tmp_path / "addresses.json"
    file.write_text(json.dumps(_FILE))
    if place is None:
        with pytest.raises(CallError, match="is no TCP service of the mesh"):
            tcp.resolve(name, 1, namespace="ns", file=str(file))
    else:
        assert tcp.resolve(name, 1, namespace="ns", file=str(file))[0] == place


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """One sentence, not a traceback."""
    with pytest.raises(CallError, match="HARNESS_TCP_ADDRESSES names"):
        tcp.resolve("a", 1, namespace="ns", file=str(tmp_path / "gone.json"))


def test_without_a_file_an_address_is_itself():
    """A pod without a sidecar connects as any program does."""
    assert tcp.resolve("127.0.0.1", 9, namespace="ns", file="") == ("127.0.0.1", 9)


def test_a_database_answers_the_one_question(start, talk):
    """It holds the two ratings of the sample, and ends at anything else."""
    program = start("database", "27017")
    assert talk(program.address, b"SELECT Rating FROM ratings\n", 4) == b"5 4\n"
    assert talk(program.address, b"DROP TABLE ratings\n", 1) == b""


def _until_accepts(address):
    end = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            assert time.monotonic() < end, f"{address} does not accept"
            time.sleep(0.005)
        else:
            return
