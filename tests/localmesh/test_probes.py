"""Probes: what is asked, what the answers add up to, and how programs and proxies are asked."""

import contextlib
import http.server
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import eventually

from harness.localmesh.asking import Asking
from harness.localmesh.errors import MeshError
from harness.localmesh.probes import Probe, Streak, judge, probes_of, request

CONTAINER = {"name": "web", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}


def container(**probes):
    """A container with these probes."""
    return {**CONTAINER, **probes}


def test_a_probe_has_the_defaults_of_kubernetes():
    """Every ten seconds, one second for an answer, three failures in a row, one success."""
    probe = Probe.of(container(readinessProbe={"tcpSocket": {"port": 9}}), "readiness")
    assert probe == Probe(9)
    assert (probe.period, probe.timeout, probe.failure_threshold, probe.success_threshold) == (10, 1, 3, 1)


def test_a_probe_asks_the_port_of_that_name():
    """As it stands in containers[*].ports."""
    get = {"port": "http", "path": "/ok", "httpHeaders": [{"name": "Host", "value": "me"}]}
    probe = probes_of(container(livenessProbe={"httpGet": get, "periodSeconds": 2}))["liveness"]
    assert (probe.port, probe.path, probe.period) == (8080, "/ok", 2.0)
    text = request(probe, "127.0.0.1").decode()
    assert text.startswith("GET /ok HTTP/1.1\r\n")
    assert text.count("Host: ") == 1
    assert "Host: me\r\n" in text


@pytest.mark.parametrize(
    "probe",
    [
        {"exec": {"command": ["true"]}},
        {"grpc": {"port": 9}},
        {"httpGet": {"port": 9, "scheme": "HTTPS"}},
        {"httpGet": {"port": 9, "host": "example.com"}},
        {"tcpSocket": {"port": "nobody"}},
    ],
    ids=lambda probe: next(iter(probe)),
)
def test_a_probe_that_cannot_be_done_is_refused(probe):
    """By its name, rather than being held to have succeeded."""
    with pytest.raises(MeshError, match="startupProbe"):
        probes_of(container(startupProbe=probe))


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_a_state_changes_after_as_many_equal_answers_as_asked_for(answers, successes, failures):
    """Neither earlier nor later, and it is told once."""
    streak = Streak(Probe(1, success_threshold=successes, failure_threshold=failures))
    state = None
    for index, answer in enumerate(answers):
        before = state
        needed = successes if answer else failures
        row = answers[max(0, index + 1 - needed) : index + 1]
        if len(row) == needed and len(set(row)) == 1:
            state = answer
        assert streak.note(answer) == (state if state != before else None)
        assert streak.state == state


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\n", ""),
        (b"HTTP/1.0 399 x\r\n", ""),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP probe failed with statuscode: 400"),
        (b"HTTP/1.1 503\r\n", "HTTP probe failed with statuscode: 503"),
        (b"SSH-2.0-x\r\n", "malformed HTTP response 'SSH-2.0-x'"),
    ],
)
def test_codes_from_200_to_399_are_a_success(line, fault):
    """The others are told in kubelet's words."""
    assert judge(line) == fault


class Program(http.server.BaseHTTPRequestHandler):
    """Answers with the code its server says."""

    def do_GET(self):
        """Answers a probe."""
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def program():
    """A program on a free port that answers 200 until told otherwise."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Program) as server:
        server.code = 200
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def asking():
    """The thread that asks; `asking.woken` is set when it has news."""
    woken = threading.Event()
    made = Asking(woken.set)
    made.woken = woken
    made.start()
    yield made
    made.stop()


def news(asking, count):
    """The next `count` pieces of news."""
    found = []
    eventually(lambda: found.extend(asking.news()) or len(found) >= count)
    return found


def test_only_changes_and_failures_are_told(asking, program):
    """A program that is well again and again is no news."""
    probe = Probe(program.server_port, "/", period=0.02, failure_threshold=2)
    asking.probe("a", "readiness", probe, "127.0.0.1")
    (first,) = news(asking, 1)
    assert (first.key, first.kind, first.state, first.failure) == ("a", "readiness", True, "")
    asking.woken.clear()
    assert not asking.woken.wait(0.1)  # five more successes
    program.code = 503
    failures = news(asking, 2)[:2]
    assert [item.state for item in failures] == [None, False]
    assert failures[0].failure == "HTTP probe failed with statuscode: 503"
    program.code = 204
    eventually(lambda: any(item.state for item in asking.news()))
    asking.forget("a")


def test_a_program_that_listens_and_says_nothing_fails_in_time(asking):
    """The timeout is that of the probe, and others are asked meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        asking.probe(
            "mute", "liveness", Probe(port, "/", timeout=0.05, period=9, failure_threshold=1), "127.0.0.1"
        )
        asking.probe("tcp", "readiness", Probe(port, period=9), "127.0.0.1")
        found = {item.key: item for item in news(asking, 2)}
    assert found["mute"].state is False
    assert "context deadline exceeded" in found["mute"].failure
    assert found["tcp"].state is True


def test_a_port_nobody_listens_on_is_refused_in_the_words_of_kubelet(asking):
    """So that `kubectl describe` reads as people know it."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    asking.probe("a", "startup", Probe(port, "/x", period=0.02, failure_threshold=2), "127.0.0.1")
    first, second = news(asking, 2)
    assert first.failure == (
        f'Get "http://127.0.0.1:{port}/x": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )
    assert (first.state, second.state) == (None, False)


def test_listening_is_told_once_every_place_accepts(asking):
    """Not before the last of them does."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with socket.create_server(("127.0.0.1", 0)) as late:
            port = late.getsockname()[1]
        asking.await_listening("a", [first.getsockname(), ("127.0.0.1", port)])
        assert not asking.woken.wait(0.1)
        stack.enter_context(socket.create_server(("127.0.0.1", port)))
        (found,) = news(asking, 1)
    assert (found.key, found.kind, found.state) == ("a", "listening", True)


def test_who_is_forgotten_is_not_asked_any_more(asking, program):
    """A container that has ended has no probes."""
    program.code = 500
    asking.probe("a", "liveness", Probe(program.server_port, "/", period=0.01), "127.0.0.1")
    news(asking, 1)
    asking.forget("a")
    eventually(lambda: not asking._tasks)
    asking.news()
    asking.woken.clear()
    assert not asking.woken.wait(0.1)
