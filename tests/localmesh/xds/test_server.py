"""The xDS server at the wire: requests that wait, and news that arrives at once."""

import json
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.server import ConfigurationServer

NODE = "sidecar~127.1.1.1~web.default~default.svc.cluster.local"


@pytest.fixture
def server():
    """A server on a socket of its own; sockets need short names."""
    with tempfile.TemporaryDirectory(prefix="xds") as folder:
        made = ConfigurationServer(Path(folder) / "s")
        made.path = Path(folder) / "s"
        made.start()
        yield made
        made.stop()


def snapshot(mark):
    """A snapshot with one cluster that says which it is."""
    return Snapshot({"c": {"name": "c", "mark": mark}}, {}, {}, {}, {})


def ask(server, version="", path="/v3/discovery:clusters", body=None):
    """Status and body of the answer to one discovery request; waits as long as the server does."""
    content = json.dumps({"node": {"id": NODE}, "version_info": version}) if body is None else body
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(server.path))
        head = f"POST {path} HTTP/1.1\r\nHost: xds\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content.encode())
        data = b""
        while part := connection.recv(65536):
            data += part
    head, _, text = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), text


def clusters(server, version=""):
    """Version and marks of the clusters that are offered."""
    status, text = ask(server, version)
    assert status == 200
    answer = json.loads(text)
    return answer["version_info"], [item["mark"] for item in answer["resources"]]


def test_a_request_that_came_before_its_configuration_is_answered_when_that_is_there(server):
    """An Envoy may be faster than the control loop."""
    found = []
    waiting = threading.Thread(target=lambda: found.append(clusters(server)))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    server.publish({NODE: snapshot("1")})
    waiting.join(5)
    assert found[0][1] == ["1"]


def test_news_reach_a_waiting_envoy_at_once(server):
    """Not after a poll interval: the answer was only kept back."""
    server.publish({NODE: snapshot("1")})
    version, _ = clusters(server)
    found = []

    def wait():
        found.append((clusters(server, version)[1], time.monotonic()))

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.1)
    told = time.monotonic()
    server.publish({NODE: snapshot("2")})
    waiting.join(5)
    assert found[0][0] == ["2"]
    assert found[0][1] - told < 0.5


def test_an_envoy_is_behind_until_it_asks_with_the_new_version(server):
    """Asking with a version confirms it."""
    server.publish({NODE: snapshot("1")})
    assert server.behind() == (NODE,)
    version, _ = clusters(server)
    confirming = threading.Thread(target=lambda: ask(server, version))
    confirming.start()
    deadline = time.monotonic() + 5
    while server.behind():
        assert time.monotonic() < deadline
    server.publish({NODE: snapshot("2")})
    confirming.join(5)
    assert server.behind() == (NODE,)


@pytest.mark.parametrize(("path", "body", "status"), [("/", "{}", 404), ("/v3/discovery:clusters", "{", 400)])
def test_what_is_no_discovery_request_is_refused(server, path, body, status):
    """Nothing else is served, and nothing breaks."""
    assert ask(server, path=path, body=body)[0] == status


def test_stopping_lets_nobody_wait_for_ever():
    """Envoys that wait for news are let go."""
    with tempfile.TemporaryDirectory(prefix="xds") as folder:
        made = ConfigurationServer(Path(folder) / "s")
        made.path = Path(folder) / "s"
        made.start()
        found = []
        waiting = threading.Thread(target=lambda: found.append(ask(made)[0]))
        waiting.start()
        waiting.join(0.1)
        made.stop()
        waiting.join(5)
        assert found == [503]
        made.stop()


def test_a_refusal_is_told_once(server):
    """The Envoy and the kind of resource; then nothing until the next one."""
    server.publish({NODE: snapshot("1")})
    version, _ = clusters(server)
    server.publish({NODE: snapshot("2")})
    clusters(server, version)
    again = threading.Thread(target=lambda: clusters(server, version))
    again.start()
    deadline = time.monotonic() + 5
    while not (refused := server.refusals()):
        assert time.monotonic() < deadline
    assert refused == {(NODE, "clusters")}
    again.join(5)


def test_an_envoy_that_is_gone_is_waited_for_no_longer(server):
    """A killed pod leaves no waiting request and no open connection."""
    server.publish({NODE: snapshot("1")})
    version, _ = clusters(server)
    content = json.dumps({"node": {"id": NODE}, "version_info": version})
    before = threading.active_count()
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server.path))
            head = (
                f"POST /v3/discovery:clusters HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content.encode())
    deadline = time.monotonic() + 5
    while len(list(Path("/proc/self/fd").iterdir())) > open_files:
        assert time.monotonic() < deadline
    assert threading.active_count() == before
