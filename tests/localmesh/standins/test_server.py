"""The HTTP server: what arrives in any pieces is answered whole and in order, and SIGTERM loses nothing."""

import asyncio
import http.client
import json
import signal
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.standins.http import MAX_BODY, MAX_HEAD, Request, Response
from harness.localmesh.standins.server import PREFACE, _Http1


class Wire(asyncio.Transport):
    """The network's side of a connection: keeps what is written to it."""

    def __init__(self):
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data):
        """Keep it."""
        self.sent += data

    def write_eof(self):
        """Note it."""
        self.closed = True

    def close(self):
        """Note it."""
        self.closed = True

    def set_protocol(self, protocol):
        """Whoever takes over writes to the same wire."""

    def is_closing(self):
        """Whether it is closed."""
        return self.closed

    def pause_reading(self):
        """Nothing comes by itself."""

    def resume_reading(self):
        """Nothing comes by itself."""


async def _echo(request: Request) -> Response:
    await asyncio.sleep(0)
    return Response.json([request.method, request.path, request.query, request.body.decode("latin-1")])


def _converse(pieces: list[bytes]) -> Wire:
    """What a server writes that gets these pieces, one at a time."""

    async def run() -> Wire:
        wire = Wire()
        connection = _Http1(_echo, set(), asyncio.Event())
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
        while connection._waiting:
            await asyncio.sleep(0)
        return wire

    return asyncio.run(run())


def _answers(stream: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer in a stream of answers with content-length."""
    answers = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        answers.append((int(head.split()[1]), rest[:length]))
        stream = rest[length:]
    return answers


_bodies = st.binary(max_size=40)


@st.composite
def _requests(draw):
    """A request on the wire, and what the echo says to it."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
    path = draw(st.from_regex(r"/[a-z0-9%/._-]{0,20}", fullmatch=True))
    query = draw(st.from_regex(r"[a-z0-9=&]{0,10}", fullmatch=True))
    target = f"{path}?{query}" if query else path
    if draw(st.booleans()):
        target = f"http://web:8080{target}"  # absolute, as a proxy sends it
    body = b"" if method == "GET" else draw(_bodies)
    start = (
        f"{method} {target} HTTP/1.1\r\nHost: web\r\nX-Any: {draw(st.text('ab, ;', max_size=9))}\r\n".encode()
    )
    if method != "GET" and draw(st.booleans()):
        cut = draw(st.integers(0, len(body)))
        chunks = [chunk for chunk in (body[:cut], body[cut:]) if chunk]
        coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        wire = start + b"Transfer-Encoding: chunked\r\n\r\n" + coded
    else:
        wire = start + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return wire, [method, path, query, body.decode("latin-1")]


@given(data=st.data(), requests=st.lists(_requests(), min_size=1, max_size=6))
def test_requests_in_any_pieces_are_answered_whole_and_in_order(data, requests):
    """Pipelined requests, cut at any bytes, each get the answer they would get alone."""
    stream = b"".join(wire for wire, _ in requests)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    answers = _answers(_converse(pieces).sent)
    assert [(status, json.loads(body)) for status, body in answers] == [(200, said) for _, said in requests]


def test_one_byte_at_a_time_is_enough():
    """The smallest pieces there are."""
    stream = b"POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    stream += b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = _answers(_converse([bytes([byte]) for byte in stream]).sent)
    assert [json.loads(body) for _, body in answers] == [["POST", "/a", "b", "abc"], ["GET", "/c", "", ""]]


@given(st.binary(min_size=1, max_size=60).filter(lambda rubbish: not rubbish.startswith(PREFACE)))
def test_rubbish_is_answered_400_or_waited_for(rubbish):
    """No bytes make the server fail: it answers 400 and closes, or waits for the rest."""
    wire = _converse([rubbish])
    assert wire.sent == b"" or (wire.sent.startswith(b"HTTP/1.1 400 ") and wire.closed)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"c" * (MAX_BODY + 1), 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
    ids=["no host", "long target", "long header", "long body", "two lengths"],
)
def test_a_request_that_is_not_acceptable_is_refused_and_the_connection_closed(request_, status):
    """Each refusal has the status that HTTP gives it."""
    wire = _converse([request_])
    assert wire.sent.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in wire.sent
    assert wire.closed


def test_what_was_asked_before_an_invalid_request_is_still_answered():
    """A good request in front of a bad one gets its answer first."""
    answers = _answers(_converse([b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nNONSENSE\r\n\r\n"]).sent)
    assert [status for status, _ in answers] == [200, 400]


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def test_head_gets_the_headers_of_get_and_no_body(start):
    """The length is that of the body which GET would get, and not a byte of it follows."""
    program = start("service")
    with program.connect() as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = _read_all(connection)
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
    assert b"content-length: %d\r\n" % len(program.ask("/").body) in head


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),
    ],
    ids=["close", "HTTP/1.0", "upgrade"],
)
def test_a_client_that_wants_one_answer_gets_it_and_the_end(start, request_, closes):
    """The connection is closed after the answer when the client asks for that, or for another protocol."""
    with start("service").connect() as connection:
        connection.sendall(request_)
        received = _read_all(connection)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"connection: close" in received) is closes


def test_a_client_that_closed_its_side_still_gets_its_answer(start):
    """Half a connection is enough for an answer."""
    with start("service", STANDIN_LATENCY="30ms").connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert _read_all(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_expects_100_continue_gets_it(start):
    """The body comes only after the interim answer."""
    with start("service").connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ok")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def _ask_until_closed(
    address: tuple[str, int], counts: list[tuple[int, int, bool]], started: threading.Event
) -> None:
    """Ask over one connection until the server says `close`; record asked, answered, and whether it said so."""
    connection = http.client.HTTPConnection(*address, timeout=15)
    connection.connect()
    asked = answered = 0
    told = False
    while not told:
        asked += 1
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        answered += response.status == 200
        told = response.getheader("connection") == "close"
        if asked == 3:
            started.set()
    connection.close()
    counts.append((asked, answered, told))


def test_sigterm_during_requests_loses_none(start):
    """Every request sent over an open connection is answered, the last one with `connection: close`; then exit 0."""
    program = start("service", STANDIN_LATENCY="1ms..10ms")
    counts: list[tuple[int, int, bool]] = []
    events = [threading.Event() for _ in range(12)]
    threads = [
        threading.Thread(target=_ask_until_closed, args=(program.address, counts, event)) for event in events
    ]
    for thread in threads:
        thread.start()
    assert all(event.wait(15) for event in events)
    assert program.end() == 0
    for thread in threads:
        thread.join(15)
    assert len(counts) == 12
    assert all(asked == answered and told for asked, answered, told in counts)


def test_sigterm_waits_for_an_answer_under_way_and_accepts_no_more(start, until):
    """A slow answer is finished although nobody can connect any more."""
    program = start("service", STANDIN_LATENCY="600ms")
    with program.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        # The request has been read when the kernel has nothing of it left to deliver; latency leaves time to look.
        program.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                program.connect().close()
            except ConnectionRefusedError:
                return True
            return False

        until(refused, "new connections are refused")
        received = _read_all(connection)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in received
    assert program.process.wait(15) == 0


def test_connections_that_sigterm_finds_not_yet_accepted_are_served(start):
    """What the kernel accepted before the program could look is answered too: closing the listener would reset it."""
    program = start("service")
    program.process.send_signal(signal.SIGSTOP)
    connections = [program.connect() for _ in range(20)]
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGCONT)
    for connection in connections:
        with connection:
            assert _read_all(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    assert program.process.wait(15) == 0


def test_sigterm_closes_idle_connections_after_a_moment(start):
    """An idle client does not keep the program alive: it sees the end of the connection, and the program exits 0."""
    program = start("service")
    with program.connect() as connection:
        before = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        assert _read_all(connection) == b""
        assert time.monotonic() - before >= 0.15
    assert program.process.wait(15) == 0
