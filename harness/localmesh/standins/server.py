"""A small HTTP server for stand-in workloads.

Keep-alive, pipelining, content-length and chunked bodies, HEAD, `Expect: 100-continue`, half-closed clients. A client
that begins with the preface of HTTP/2 is served in that (`http2`). TLS is the sidecar's business, upgrades are not
granted. Asyncio sets TCP_NODELAY on every connection.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import traceback
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, cast

import httptools

from harness.localmesh.standins.accept import accept, ends, spawn
from harness.localmesh.standins.http import Handler, Message, Request, Response

_MAX_PIPELINED = 64
_LINGER = 0.2  # seconds an idle connection gets for one more request once the program is to stop
_POLL = 0.005  # seconds between two looks whether all connections are closed
_PARTING = 1.0  # seconds a client gets to close its side after the last answer


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How a client begins that speaks HTTP/2 (RFC 9113, 3.4)."""


class Connection(Protocol):
    """What the server must know of a connection."""

    def part_if_idle(self) -> None:
        """Close unless something is being asked or answered."""


class _Http1(Message, asyncio.Protocol):
    """One client: requests are answered one at a time, in the order they came."""

    def __init__(self, handler: Handler, connections: set[Connection], stop: asyncio.Event) -> None:
        super().__init__()
        self._handler = handler
        self._connections = connections
        self._stop = stop  # once it is set, the next answer is the last
        self._parser = httptools.HttpRequestParser(self)
        # What is to be answered (a request, or the answer where there was no valid request), and whether it
        # came as HTTP/1.0.
        self._waiting: deque[tuple[Request | Response, bool]] = deque()
        self._answering = False
        self._last = False  # take nothing more; close after what is waiting
        self._eof = False  # the client has closed its side
        self._parted = False  # the last answer is written, or nobody is there to read it
        self._writable = asyncio.Event()
        self._writable.set()
        self._opening: bytes | None = b""  # the first bytes, until they tell which HTTP the client speaks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._client, self._port = ends(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._last = self._parted = True
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> bool:
        self._last = self._eof = True
        # A client that only closed its side still gets its answers.
        return bool(self._waiting) and not self._parted

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        if self._opening is not None:
            self._opening = data = self._opening + data
            if data.startswith(PREFACE):
                self._hand_over(data)
                return
            if PREFACE.startswith(data):
                return
            self._opening = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._last = True  # answered as if no upgrade had been asked for; what follows is not HTTP/1.1
        except httptools.HttpParserError:
            error = self.error or Response.text("this is not a valid HTTP/1.1 request\n", 400)
            self._enqueue(error, keep_alive=False)
        if len(self._waiting) >= _MAX_PIPELINED:
            self._transport.pause_reading()

    def _hand_over(self, data: bytes) -> None:
        # Imported here only: it takes as long as all of asyncio, and most programs never need it.
        from harness.localmesh.standins.http2 import take_over  # noqa: PLC0415

        self._connections.discard(self)
        take_over(self._transport, data, self._handler, self._connections, self._stop)

    def on_headers_complete(self) -> None:
        if self.headers.get("expect", "").lower() == "100-continue" and not self._waiting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_message_complete(self) -> None:
        if not self._last:
            old = self._parser.get_http_version() == "1.0"
            item = self._request(old)
            keep_alive = isinstance(item, Request) and self._parser.should_keep_alive()
            self._enqueue(item, keep_alive=keep_alive, old=old)
        self.clear()

    def _request(self, old: bool) -> Request | Response:
        if not old and "host" not in self.headers:
            return Response.text("the header Host is missing\n", 400)
        target = self.url
        if not target.startswith(b"/"):  # absolute form, as sent to a proxy
            try:
                url = httptools.parse_url(target)
            except httptools.HttpParserInvalidURLError:
                return Response.text("the request target is not a valid URL\n", 400)
            target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
        path, _, query = target.partition(b"#")[0].decode("latin-1").partition("?")
        return Request(
            self._parser.get_method().decode(),
            path,
            query,
            self.headers,
            self.body,
            tuple(self.fields),
            "1.0" if old else "1.1",
            self._client,
            self._port,
        )

    def _enqueue(self, item: Request | Response, *, keep_alive: bool, old: bool = False) -> None:
        self._last = self._last or not keep_alive
        self._waiting.append((item, old))
        if not self._answering:
            self._answering = True
            spawn(self._answer())

    async def _answer(self) -> None:
        while self._waiting and not self._parted:
            # It stays until it is answered: meanwhile the connection is not idle.
            item, old = self._waiting[0]
            response = item if isinstance(item, Response) else await answered(self._handler, item)
            head = isinstance(item, Request) and item.method == "HEAD"
            await self._writable.wait()
            if response.pieces is not None and not head and not response.bodiless:
                await self._pour(response, response.pieces, old=old)
                continue
            self._waiting.popleft()
            self._send(response, head=head, old=old)
        self._answering = False

    async def _pour(self, response: Response, pieces: AsyncIterator[bytes], *, old: bool) -> None:
        """Send an answer whose body comes in pieces."""
        chunked = response.chunked and not old
        self._last = self._last or (response.chunked and old)  # the end of the connection is that of the body
        last = self._last or self._stop.is_set()
        try:
            if not self._parted:
                self._transport.write(response.encode(head=False, last=last, old=old))
            async for piece in pieces:
                await self._writable.wait()
                if self._parted:
                    break
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        except Exception:  # a bug in one handler must not take the program down; the answer stays incomplete
            traceback.print_exc(file=sys.stderr)
            self._parted = True
            self._transport.abort()
        self._waiting.popleft()
        if self._parted:
            return
        if chunked:
            self._transport.write(b"0\r\n\r\n")
        self._go_on(last=last and not self._waiting)

    def _send(self, response: Response, *, head: bool, old: bool) -> None:
        if self._parted:
            return
        last = (self._last or self._stop.is_set()) and not self._waiting
        self._transport.write(response.encode(head=head, last=last, old=old))
        self._go_on(last=last)

    def _go_on(self, *, last: bool) -> None:
        if last:
            self._part()
        elif len(self._waiting) < _MAX_PIPELINED:
            self._transport.resume_reading()

    def part_if_idle(self) -> None:
        """Close unless something is being asked or answered."""
        if not self._waiting and not self.url and not self._parted and not self._opening:
            self._part()

    def _part(self) -> None:
        """Close our side first: closing both with unread input resets the connection and loses the answer."""
        self._last = self._parted = True
        if self._eof:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(_PARTING, self._transport.close)


async def answered(handler: Handler, request: Request) -> Response:
    """What the handler answers; 500 and a traceback in the log where it raises."""
    try:
        return await handler(request)
    except Exception:  # a bug in one handler must not take the program down; it is logged and answered
        traceback.print_exc(file=sys.stderr)
        return Response.text("the stand-in failed; its log has the reason\n", 500)


async def serve(handler: Handler, listeners: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Answer on the listening, non-blocking sockets until `stop` is set, then stop without losing a request.

    Then no connection is accepted any more, what was accepted or is being answered is answered to its end
    (however long that takes), and every connection is told `connection: close` with its next answer. An idle
    connection gets 0.2 s for such a next request. What remains are two races that no server can win: a request
    sent in the instant in which its idle connection closes, and a connection made in the instant in which the
    listener does.
    """
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()

    def connect() -> _Http1:
        return _Http1(handler, connections, stop)

    await accept(connect, listeners, stop)
    lingering = loop.time() + _LINGER
    while True:
        await asyncio.sleep(_POLL)  # first, so that what was just accepted is among the connections
        if not connections:
            return
        if loop.time() >= lingering:
            for connection in list(connections):
                connection.part_if_idle()
