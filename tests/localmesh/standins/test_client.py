"""The HTTP client: answers in any pieces, pooled connections, deadlines."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.standins.client import CallError, Client, _Upstream, address_of


class Wire(asyncio.Transport):
    """The network's side of a connection."""

    def __init__(self):
        super().__init__()
        self.closed = False

    def write(self, data):
        """Forget it."""

    def abort(self):
        """Note it."""
        self.closed = True


_FORMS = {
    "length": lambda body: b"content-length: %d\r\n\r\n" % len(body) + body,
    "chunked": lambda body: (
        b"transfer-encoding: chunked\r\n\r\n"
        + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"")
        + b"0\r\n\r\n"
    ),
    "until close": lambda body: b"\r\n" + body,
}


@given(
    body=st.binary(max_size=50),
    form=st.sampled_from(sorted(_FORMS)),
    interim=st.booleans(),
    data=st.data(),
)
def test_an_answer_in_any_pieces_arrives_whole(body, form, interim, data):
    """Whatever ends the body and wherever it is cut; an interim answer before it is passed over."""
    stream = (
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" if interim else b"")
        + b"HTTP/1.1 418 Teapot\r\nx-a: b\r\n"
        + _FORMS[form](body)
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))

    async def run():
        upstream = _Upstream()
        upstream.connection_made(Wire())
        answer = asyncio.ensure_future(upstream.exchange(b"GET"))
        await asyncio.sleep(0)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            upstream.data_received(stream[start:end])
        upstream.connection_lost(None)
        return await answer

    response = asyncio.run(run())
    assert (response.status, response.headers["x-a"], response.body) == (418, "b", body)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def _against(serve: Serve, ask: Callable[[Client, str], Awaitable[object]]) -> tuple[object, int]:
    """What `ask` returns against a server whose n-th connection `serve` handles, and how many there were."""

    async def run():
        handlers = []

        async def accept(reader, writer):
            handlers.append(asyncio.current_task())
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer, len(handlers))
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = Client()
            result = await ask(client, f"http://127.0.0.1:{port}/")
            client.close()
            await asyncio.gather(*handlers)
        return result, len(handlers)

    return asyncio.run(run())


_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def _answer(reader, writer, times):
    for _ in range(times):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_OK)
        await writer.drain()


def test_a_connection_is_used_again():
    """Calls in turn share one connection."""

    async def ask(client, url):
        return [(await client.get(url, headers={}, timeout=5)).body for _ in range(5)]

    assert _against(lambda r, w, n: _answer(r, w, 100), ask) == ([b"ok"] * 5, 1)


def test_a_pooled_connection_that_went_stale_is_replaced():
    """The peer closed it in between: the caller notices nothing."""

    async def ask(client, url):
        return [(await client.get(url, headers={}, timeout=5)).body for _ in range(3)]

    assert _against(lambda r, w, n: _answer(r, w, 1), ask) == ([b"ok"] * 3, 3)


def test_an_answer_cut_off_is_an_error_and_not_asked_for_again():
    """A request that may have been served is not repeated behind the caller's back."""

    async def serve(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_OK[:-1])

    async def ask(client, url):
        with pytest.raises(CallError, match="closed before the answer was complete"):
            await client.get(url, headers={}, timeout=5)

    assert _against(serve, ask) == (None, 1)


def test_a_first_connection_that_closes_at_once_is_an_error():
    """Only a connection from the pool can be stale; a new one that closes is the peer's answer."""

    async def serve(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")

    async def ask(client, url):
        with pytest.raises(CallError):
            await client.get(url, headers={}, timeout=5)

    assert _against(serve, ask) == (None, 1)


def test_a_late_answer_is_never_taken_for_the_next_one():
    """After a timeout the connection is not used again, so answers cannot shift by one."""

    async def serve(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        if number == 1:
            await reader.read()  # never answers; ends when the client closes
        writer.write(_OK)
        await writer.drain()

    async def ask(client, url):
        with pytest.raises(CallError, match=r"no answer within 0.05 s"):
            await client.get(url, headers={}, timeout=0.05)
        return (await client.get(url, headers={}, timeout=5)).status

    assert _against(serve, ask) == (200, 2)


def test_rubbish_instead_of_an_answer_is_an_error():
    """What is not HTTP is named."""

    async def serve(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        await writer.drain()

    async def ask(client, url):
        with pytest.raises(CallError, match="not valid HTTP"):
            await client.get(url, headers={}, timeout=5)

    assert _against(serve, ask) == (None, 1)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "reviews:9080",
        "https://a/",
        "http:///x",
        "http://a b/",
        "http://a?x",
        "http://u:p@a/",
        "http://a/#f",
        "http://a/\r\nx: y",
    ],
)
def test_only_absolute_http_urls_are_called(url):
    """Anything else is refused before it is sent."""
    with pytest.raises(ValueError, match="is not"):
        address_of(url)


@pytest.mark.parametrize(
    ("url", "address"), [("http://a/x?y=z", ("a", 80)), ("http://127.0.0.1:8080", ("127.0.0.1", 8080))]
)
def test_an_absolute_url_says_where_to_connect(url, address):
    """Host and port, 80 where there is none."""
    assert address_of(url) == address
