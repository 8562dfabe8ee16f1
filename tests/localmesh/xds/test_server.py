"""The xDS server at the wire: an Envoy's stream."""

import queue
import tempfile
import threading
import time
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.proto import typed
from harness.localmesh.xds.server import ConfigurationServer

NODE = "sidecar~127.1.1.1~web.default~default.svc.cluster.local"
CLUSTER = "envoy.config.cluster.v3.Cluster"
URL = f"type.googleapis.com/{CLUSTER}"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


@pytest.fixture
def server():
    """A server on a socket of its own; sockets need short names."""
    with tempfile.TemporaryDirectory(prefix="xds") as folder:
        made = ConfigurationServer(Path(folder) / "s")
        made.path = Path(folder) / "s"
        made.start()
        yield made
        made.stop()


class Envoy:
    """One that asks for its clusters."""

    def __init__(self, path):
        self._said = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(f"unix:{path}")
        call = self._channel.stream_stream(
            METHOD, DiscoveryRequest.SerializeToString, DiscoveryResponse.FromString
        )
        self._answers = call(iter(self._said.get, None))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._said.put(None)
        self._channel.close()

    def ask(self, nonce="", refusal=""):
        """Sends a request."""
        request = DiscoveryRequest(type_url=URL, response_nonce=nonce)
        request.node.id = NODE
        if refusal:
            request.error_detail.message = refusal
        self._said.put(request)

    def hears(self):
        """The next response; waits for it."""
        return next(self._answers)


def snapshot(timeout):
    """A snapshot with one cluster, which says which it is."""
    return Snapshot({"c": typed(CLUSTER, name="c", connect_timeout=timeout)}, {}, {}, {}, {})


def until(condition):
    """Waits for it."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_request_that_came_before_its_configuration_is_answered_when_that_is_there(server):
    """An Envoy may be faster than the control loop."""
    with Envoy(server.path) as envoy:
        envoy.ask()
        server.publish({NODE: snapshot("1s")})
        assert [item.type_url for item in envoy.hears().resources] == [URL]


def test_news_reach_an_envoy_at_once(server):
    """It has confirmed what it had, and gets what is new."""
    server.publish({NODE: snapshot("1s")})
    with Envoy(server.path) as envoy:
        envoy.ask()
        first = envoy.hears()
        envoy.ask(first.nonce)
        until(lambda: not server.behind())
        told = time.monotonic()
        server.publish({NODE: snapshot("2s")})
        assert envoy.hears().version_info != first.version_info
        assert time.monotonic() - told < 0.5


def test_an_envoy_is_behind_until_it_has_confirmed(server):
    """Before it asks, and after each change."""
    server.publish({NODE: snapshot("1s")})
    assert server.behind() == (NODE,)
    with Envoy(server.path) as envoy:
        envoy.ask()
        nonce = envoy.hears().nonce
        assert server.behind() == (NODE,)
        envoy.ask(nonce)
        until(lambda: not server.behind())
        server.publish({NODE: snapshot("2s")})
        assert server.behind() == (NODE,)
        server.publish({}, [NODE])
        assert server.behind() == ()


def test_a_refusal_is_told_once(server):
    """The Envoy, the kind of resource and why; then nothing until the next one."""
    server.publish({NODE: snapshot("1s")})
    with Envoy(server.path) as envoy:
        envoy.ask()
        envoy.ask(envoy.hears().nonce, refusal="no such thing")
        refused = set()
        until(lambda: refused.update(server.refusals()) or refused)
        assert refused == {(NODE, "clusters", "no such thing")}
        assert server.refusals() == set()


def test_what_cannot_be_encoded_is_a_refusal_and_changes_nothing(server):
    """It would be a mistake of ours; the Envoy keeps what it has, and all others get theirs."""
    wrong = Snapshot({"c": typed(CLUSTER, name="c", nonsense=1)}, {}, {}, {}, {})
    server.publish({"other": wrong, NODE: snapshot("1s")})
    with Envoy(server.path) as envoy:
        envoy.ask()
        assert envoy.hears().resources
    [(node, kind, words)] = server.refusals()
    assert (node, kind) == ("other", "resources")
    assert "nonsense" in words


def test_stopping_lets_nobody_wait_for_ever():
    """Envoys that wait for news are let go."""
    with tempfile.TemporaryDirectory(prefix="xds") as folder:
        made = ConfigurationServer(Path(folder) / "s")
        made.start()
        made.publish({NODE: snapshot("1s")})
        with Envoy(Path(folder) / "s") as envoy:
            envoy.ask()
            envoy.hears()
            made.stop()
            with pytest.raises(grpc.RpcError):
                envoy.hears()
        made.stop()


def test_an_envoy_that_is_gone_leaves_nothing_behind(server):
    """A killed pod leaves no open stream, and its successor under the same name is served."""
    server.publish({NODE: snapshot("1s")})
    threads = threading.active_count()
    for _ in range(20):
        with Envoy(server.path) as envoy:
            envoy.ask()
            assert envoy.hears().resources
    until(lambda: server.behind() == (NODE,))
    until(lambda: threading.active_count() <= threads)
