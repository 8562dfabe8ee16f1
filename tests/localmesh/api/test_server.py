"""The server itself: who gets in, what is malformed, and how it ends."""

from __future__ import annotations

import email.message
import http.client
import json
import logging
import ssl
import threading
import time

import pytest

from harness.localmesh.api.messages import request
from harness.localmesh.api.resources import NAMESPACES, PODS
from harness.localmesh.api.server import Server
from harness.localmesh.api.verbs import Api
from harness.localmesh.errors import MeshError
from harness.localmesh.kinds.admission import admit
from harness.localmesh.store import Admitted, Store

TOKEN = "correct-horse"
POD = {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "m", "image": "i"}]}}


@pytest.fixture
def connection(cluster):
    """A connection to the server that trusts its certificate."""
    made = http.client.HTTPSConnection(
        "127.0.0.1",
        cluster.server.port,
        timeout=10,
        context=ssl.create_default_context(cafile=cluster.authority),
    )
    yield made
    made.close()


@pytest.fixture
def ask(connection):
    """Sends one request on `connection`; gives code and body, decoded if it is JSON."""

    def send(method, path, body=None, token=TOKEN, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body=body, headers=named)
        answer = connection.getresponse()
        text = answer.read()
        kind = answer.getheader("Content-Type") or ""
        return answer.status, json.loads(text) if kind == "application/json" else text

    return send


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "é"])
def test_nobody_gets_in_without_the_token(ask, token):
    """Everything answers 401, discovery and writes included, and nothing is stored."""
    for method, path in (("GET", "/api"), ("GET", "/version"), ("DELETE", "/api/v1/namespaces/default")):
        code, answer = ask(method, path, token=token)
        assert (code, answer["reason"]) == (401, "Unauthorized")
    assert ask("GET", "/api/v1/namespaces/default")[0] == 200


def test_health_is_open(ask):
    """Probes carry no token."""
    for path in ("/healthz", "/livez", "/readyz"):
        assert ask("GET", path, token="") == (200, b"ok")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("GET", "/api/v1/nothings", None, 404, "NotFound"),
        ("GET", "/apis/apps/v2/deployments", None, 404, "NotFound"),
        ("GET", "/api/v1/pods/a", None, 404, "NotFound"),
        ("GET", "/api/v1/namespaces/default/pods/a/exec", None, 403, "Forbidden"),
        ("GET", "/api/v1/namespaces/default/pods/a", None, 404, "NotFound"),
        ("GET", "/", None, 200, None),
        ("POST", "/api/v1/pods", "{}", 405, "MethodNotAllowed"),
        ("PUT", "/api/v1/namespaces/default/pods", "{}", 405, "MethodNotAllowed"),
        ("POST", "/api/v1/namespaces/default/pods", "{", 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", "[]", 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", '{"metadata": 1}', 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", '{"kind": "Service"}', 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", '{"spec": 1}', 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", '{"metadata": {"namespace": "x"}}', 400, "BadRequest"),
        ("GET", "/api/v1/pods?watch=maybe", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?colour=red", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?continue=x", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?resourceVersion=x", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?resourceVersion=0&resourceVersionMatch=Exact", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?resourceVersion=99999", None, 504, "Timeout"),
        ("DELETE", "/api/v1/namespaces/default/pods/a?gracePeriodSeconds=-1", None, 400, "BadRequest"),
        ("DELETE", "/api/v1/namespaces/default/pods/a", '{"propagationPolicy": "x"}', 400, "BadRequest"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_so(ask, method, path, body, code, reason):  # noqa: PLR0917
    """Code and reason of the Status are those of Kubernetes; unknown parameters are not ignored."""
    found, answer = ask(method, path, body=body, Content_Type="application/json")
    assert (found, answer.get("reason")) == (code, reason)


def test_bodies_of_other_types_are_refused(ask):
    """415 for what is neither JSON nor YAML, 406 when the client takes no JSON, 413 for what is too large."""
    path = "/api/v1/namespaces/default/pods"
    assert ask("POST", path, body="x", Content_Type="application/cbor")[0] == 415
    assert ask("GET", path, Accept="application/vnd.kubernetes.protobuf")[0] == 406
    assert ask("POST", path, body=b"kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: m, image: i}]}",
               Content_Type="application/yaml")[0] == 201  # fmt: skip
    assert ask("POST", path, body="x: [", Content_Type="application/yaml")[0] == 400
    assert ask("POST", path, Content_Length=str(4 * 1024 * 1024))[0] == 413


def test_a_body_may_come_in_chunks(ask):
    """As from clients that do not know its length; what is said wrongly about its length is refused."""
    text = json.dumps({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y" * 5000}}).encode()
    path = "/api/v1/namespaces/default/configmaps"
    code, answer = ask(
        "POST", path, iter([text[:7], text[7:4000], text[4000:]]), Content_Type="application/json"
    )
    assert (code, answer["data"]["x"]) == (201, "y" * 5000)
    assert ask("GET", f"{path}/a")[0] == 200
    for wrong in ({"Transfer_Encoding": "gzip"}, {"Transfer_Encoding": "chunked", "Content_Length": "5"}):
        assert ask("POST", path, b"{}", **wrong)[0] == 400


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"-1\r\n", b"\r\n", b"fffffff\r\n"])
def test_chunks_that_make_no_sense_are_told_so(connection, chunks):
    """400 for a size that is none, 413 for one that is too large; the server goes on."""
    connection.putrequest("POST", "/api/v1/namespaces")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(chunks)
    assert connection.getresponse().status in (400, 413)


def test_one_connection_serves_many_requests(ask, connection):
    """Keep-alive, also after errors."""
    ask("GET", "/version")
    first = connection.sock
    ask("GET", "/nothing")
    ask("GET", "/version", token="wrong")
    ask("GET", "/version")
    assert connection.sock is first


def test_a_bug_of_ours_is_a_500_and_is_logged(ask, cluster, monkeypatch, caplog):
    """The connection and the server live on."""
    monkeypatch.setattr(cluster.pods, "logs", None)
    ask("POST", "/api/v1/namespaces/default/pods", body=json.dumps(POD))
    with caplog.at_level(logging.ERROR):
        code, answer = ask("GET", "/api/v1/namespaces/default/pods/a/log")
    assert (code, answer["reason"]) == (500, "InternalError")
    assert "TypeError" in caplog.text
    assert ask("GET", "/version")[0] == 200


def test_a_client_that_does_not_speak_tls_harms_nobody(cluster, ask):
    """Nor does one that connects and says nothing."""
    silent = http.client.HTTPConnection("127.0.0.1", cluster.server.port, timeout=5)
    silent.connect()
    plain = http.client.HTTPConnection("127.0.0.1", cluster.server.port, timeout=5)
    plain.request("GET", "/healthz")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    assert ask("GET", "/version")[0] == 200
    silent.close()
    plain.close()


@pytest.fixture
def strangers():
    """The threads there are before the server is."""
    return set(threading.enumerate())


def test_stopping_ends_streams_and_leaves_no_thread(strangers, cluster, connection):
    """Watches, idle connections and half-open ones alike; quickly, and twice is harmless."""
    idle = http.client.HTTPSConnection(
        "127.0.0.1",
        cluster.server.port,
        timeout=10,
        context=ssl.create_default_context(cafile=cluster.authority),
    )
    idle.request("GET", "/healthz")
    idle.getresponse().read()
    silent = http.client.HTTPConnection("127.0.0.1", cluster.server.port)
    silent.connect()
    connection.request("GET", "/api/v1/pods?watch=1", headers={"Authorization": f"Bearer {TOKEN}"})
    stream = connection.getresponse()
    started = time.monotonic()
    cluster.server.stop()
    cluster.server.stop()
    assert time.monotonic() - started < 2
    assert not set(threading.enumerate()) - strangers
    with pytest.raises((http.client.IncompleteRead, OSError)):
        stream.read()
    idle.close()
    silent.close()


def test_a_watch_whose_client_left_is_given_up(strangers, cluster, connection):
    """Its thread ends within seconds although nothing happens."""
    connection.request("GET", "/api/v1/pods?watch=1", headers={"Authorization": f"Bearer {TOKEN}"})
    connection.getresponse().close()
    watchers = [thread for thread in set(threading.enumerate()) - strangers if thread.name != "api"]
    connection.close()
    for thread in watchers:
        thread.join(timeout=10)
    assert watchers
    assert not any(thread.is_alive() for thread in watchers)


def test_a_port_in_use_is_a_mesh_error(cluster, certificates):
    """With the address and what to do."""
    with pytest.raises(MeshError, match=f"cannot listen on 127.0.0.1:{cluster.server.port}"):
        Server(
            Store(),
            "127.0.0.1",
            token="x",
            certificate=certificates / "server.pem",
            key=certificates / "server.key",
            pods=cluster.pods,
            port=cluster.server.port,
        )


def test_two_thousand_pods_are_listed_quickly(cluster, ask):
    """A list is one pass over the store: even a slow machine needs no second for it."""
    for number in range(2000):
        manifest = {**POD, "apiVersion": "v1", "metadata": {"name": f"p{number}", "namespace": "default"}}
        cluster.store.create(PODS, manifest)
    started = time.monotonic()
    assert len(ask("GET", "/api/v1/pods")[1]["items"]) == 2000
    assert time.monotonic() - started < 1


class Nothing:
    """Runs no pods."""

    def logs(self, namespace, name, container):
        """Nothing was written."""
        return b""

    def certificate_expires_at(self, pod):
        """No sidecar has a certificate."""


def test_warnings_of_admission_reach_the_client():
    """As `Warning` headers, each once, in one line, with its quotes escaped; kubectl prints them."""

    def doubtful(operation, resource, new, old):
        return Admitted(new, ('spec: "this"\nis odd', 'spec: "this"\nis odd', "metadata: é and ü"))

    store = Store([admit, doubtful])
    store.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    headers = email.message.Message()
    body = b'{"metadata": {"name": "a"}}'
    api = Api(store, Nothing())
    path = "/api/v1/namespaces/default/configmaps"
    for method, place in (("POST", path), ("PUT", f"{path}/a"), ("PATCH", f"{path}/a")):
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        answer = api.dispatch(request(method, place, headers, body))
        told = [value for name, value in answer.headers if name == "Warning"]
        assert told == ['299 - "spec: \\"this\\" is odd"', '299 - "metadata: é and ü"']
