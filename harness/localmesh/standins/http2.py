"""HTTP/2 without TLS for stand-in workloads, as gRPC uses it: a server for the handlers of HTTP/1.1, and a client.

A client must know that the server speaks it ("prior knowledge", RFC 9113, 3.3), which is how Envoy talks to a gRPC
service. The protocol itself is the work of the package `h2`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from harness.localmesh.standins.accept import ends, spawn
from harness.localmesh.standins.http import MAX_BODY, MAX_HEAD, Handler, Request, Response
from harness.localmesh.standins.server import PREFACE, Connection, answered

_FRAME_HEAD = 9  # bytes: length, type, flags, stream (RFC 9113, 4.1)
_LAST_STREAM = 2**31 - 1
# Not allowed in HTTP/2 (RFC 9113, 8.2.2).
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})

Fields = list[tuple[str, str]]


class _Stream:
    """What has come of one message."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.body = bytearray()
        self.task: asyncio.Task[Any] | None = None

    def headers(self) -> dict[str, str]:
        """The fields without the pseudo-headers, a repeated one joined."""
        headers: dict[str, str] = {}
        for name, value in self.fields:
            if not name.startswith(":"):
                joint = "; " if name == "cookie" else ", "
                headers[name] = f"{headers[name]}{joint}{value}" if name in headers else value
        return headers


class _Endpoint(asyncio.Protocol):
    """One side of a connection: frames in and out, with flow control."""

    def __init__(self, *, client: bool) -> None:
        # Header names and values as text; a byte that is not UTF-8 is somebody's mistake and ends the connection.
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        self.streams: dict[int, _Stream] = {}
        self.lost = False
        self.leaving = False  # no new streams, by either side's wish
        self._frames = bytearray()  # the part of a frame that has come
        self._room = asyncio.Event()  # set at each event: a window may have opened
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.leaving = True
        for stream_id in list(self.streams):
            self._on_reset(stream_id)
        self.streams.clear()
        self._writable.set()
        self._wake()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(self._without_goaway(data)):
                self._on_event(event)
        except (H2Error, UnicodeDecodeError):
            self.flush()  # h2 has prepared the GOAWAY that says why
            self.transport.close()
            return
        self.flush()
        self._wake()
        self._close_if_done()

    def _without_goaway(self, data: bytes) -> bytes:
        """The whole frames so far, but for GOAWAY: h2 would take it for the end of the streams under way, too."""
        self._frames += data
        whole = bytearray()
        while len(self._frames) >= _FRAME_HEAD:
            end = _FRAME_HEAD + int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < end:
                break
            if self._frames[3] == GoAwayFrame.type:
                self._on_goaway(
                    int.from_bytes(self._frames[_FRAME_HEAD : _FRAME_HEAD + 4], "big") & _LAST_STREAM
                )
            else:
                whole += self._frames[:end]
            del self._frames[:end]
        return bytes(whole)

    def _on_goaway(self, last: int) -> None:
        """The peer takes no new streams, and none of those after `last`."""
        self.leaving = True
        for stream_id in [stream_id for stream_id in self.streams if stream_id > last]:
            self._on_reset(stream_id)

    def _close_if_done(self) -> None:
        if self.leaving and not self.streams and not self.lost:
            self.transport.close()

    def flush(self) -> None:
        """Write what h2 has to say."""
        if not self.lost and (data := self.h2.data_to_send()):
            self.transport.write(data)

    def _wake(self) -> None:
        room, self._room = self._room, asyncio.Event()
        room.set()

    def _on_event(self, event: Event) -> None:
        match event:
            case RequestReceived() | ResponseReceived():
                self.streams[event.stream_id] = _Stream(cast(Fields, event.headers))
            case TrailersReceived() if stream := self.streams.get(event.stream_id):
                stream.fields += cast(Fields, event.headers)
            case DataReceived():
                self._on_data(event)
            case StreamEnded() if event.stream_id in self.streams:
                self._on_message(event.stream_id)
            case StreamReset():
                self._on_reset(event.stream_id)
                self.streams.pop(event.stream_id, None)

    def _on_data(self, event: DataReceived) -> None:
        self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        stream.body += event.data or b""
        if len(stream.body) > MAX_BODY:
            self.h2.reset_stream(event.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
            self._on_reset(event.stream_id)
            self.streams.pop(event.stream_id)

    async def send(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Send data as the peer makes room for it; ConnectionError if it never will."""
        view = memoryview(data)
        while True:
            if self.lost or stream_id not in self.streams:
                raise ConnectionResetError("the peer is gone")
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            if room > 0 or not view:
                piece, view = view[:room], view[room:]
                self.h2.send_data(stream_id, bytes(piece), end_stream=end and not view)
                self.flush()
                await self._writable.wait()
                if not view:
                    return
            else:
                await self._room.wait()

    def _on_message(self, stream_id: int) -> None:
        """A message is complete."""
        raise NotImplementedError

    def _on_reset(self, stream_id: int) -> None:
        """The peer wants nothing more of a stream."""
        raise NotImplementedError


def take_over(
    transport: asyncio.Transport,
    data: bytes,
    handler: Handler,
    connections: set[Connection],
    stop: asyncio.Event,
) -> None:
    """Serves a connection, whose first bytes are `data`, by the same handler as HTTP/1.1."""
    server = _Server(handler, connections, stop)
    transport.set_protocol(server)
    server.connection_made(transport)
    # The preface is no frame.
    server.h2.receive_data(data[: len(PREFACE)])
    server.data_received(data[len(PREFACE) :])


class _Server(_Endpoint):
    """One client's connection."""

    def __init__(self, handler: Handler, connections: set[Connection], stop: asyncio.Event) -> None:
        super().__init__(client=False)
        self._handler = handler
        self._connections = connections
        self._stop = stop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # As many streams as come: how many a service takes is for DestinationRules to say.
        limits = {
            SettingCodes.MAX_CONCURRENT_STREAMS: _LAST_STREAM,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
        }
        self.h2.local_settings = Settings(client=False, initial_values=limits)
        super().connection_made(transport)
        self._client, self._port = ends(transport)
        self._connections.add(self)
        self._farewell = spawn(self._say_farewell())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.discard(self)
        self._farewell.cancel()

    async def _say_farewell(self) -> None:
        """Asks the client for no more streams once the program is to stop; those that it has still begun are served.

        A GOAWAY with the highest stream of all is the first of the two steps of RFC 9113, 6.8; h2 cannot say it,
        as it takes every GOAWAY for the end.
        """
        await self._stop.wait()
        self.transport.write(GoAwayFrame(0, last_stream_id=_LAST_STREAM).serialize())

    def part_if_idle(self) -> None:
        """Close unless something is being asked or answered."""
        if not self.streams and not self.lost:
            self.transport.close()

    def _on_message(self, stream_id: int) -> None:
        self.streams[stream_id].task = spawn(self._answer(stream_id))

    def _on_reset(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None and stream.task is not None:
            stream.task.cancel()

    async def _answer(self, stream_id: int) -> None:
        request = self._request(self.streams[stream_id])
        response = await answered(self._handler, request)
        try:
            await self._send(stream_id, response, head=request.method == "HEAD")
        except (ConnectionError, ProtocolError):
            pass  # the client has left meanwhile, and nobody is there to be told
        finally:
            self.streams.pop(stream_id, None)
            self._close_if_done()

    def _request(self, stream: _Stream) -> Request:
        pseudo = {name: value for name, value in stream.fields if name.startswith(":")}
        path, _, query = pseudo.get(":path", "/").partition("?")
        headers = {"host": pseudo.get(":authority", ""), **stream.headers()}
        fields = (("host", headers["host"]), *(pair for pair in stream.fields if not pair[0].startswith(":")))
        method = pseudo.get(":method", "GET")
        return Request(
            method, path, query, headers, bytes(stream.body), fields, "2", self._client, self._port
        )

    async def _send(self, stream_id: int, response: Response, *, head: bool) -> None:
        if self.lost or stream_id not in self.streams:
            return
        fields = [(name.lower(), value) for name, value in response.fields()]
        fields = [(":status", str(response.status)), *(pair for pair in fields if pair[0] not in _HOP_BY_HOP)]
        trailers = list(response.trailers.items())
        if head or response.bodiless or (not response.body and response.pieces is None and not trailers):
            self.h2.send_headers(stream_id, fields, end_stream=True)
            self.flush()
            return
        if trailers:  # a length would be right, but gRPC's servers give none
            fields = [pair for pair in fields if pair[0] != "content-length"]
        self.h2.send_headers(stream_id, fields)
        if response.pieces is not None:
            async for piece in response.pieces:
                await self.send(stream_id, piece, end=False)
        if response.body or not trailers:
            await self.send(stream_id, response.body, end=not trailers)
        if trailers:
            self.h2.send_headers(stream_id, trailers, end_stream=True)
            self.flush()


class Client(_Endpoint):
    """A connection to one server, for any number of requests at once."""

    def __init__(self) -> None:
        super().__init__(client=True)
        self._answers: dict[int, asyncio.Future[Response]] = {}

    async def post(self, authority: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """The answer to POST, its trailers among its headers.

        Raises:
            ConnectionError: the connection or the stream ended before the answer was complete.
        """
        if self.leaving:
            raise ConnectionResetError("the connection is closing")
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", path)]
        self.h2.send_headers(stream_id, [*pseudo, *headers.items()])
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answers[stream_id] = answer
        self.streams[stream_id] = _Stream([])
        try:
            await self.send(stream_id, body, end=True)
            return await answer
        except asyncio.CancelledError:
            if not self.lost:
                self.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
                self.flush()
            raise
        finally:
            self._answers.pop(stream_id, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # it may have failed while the request was still being sent
            self.streams.pop(stream_id, None)
            self._close_if_done()

    def _on_message(self, stream_id: int) -> None:
        stream = self.streams[stream_id]
        status = next((int(value) for name, value in stream.fields if name == ":status"), 0)
        answer = self._answers.get(stream_id)
        if answer is not None and not answer.done():
            answer.set_result(Response(status, bytes(stream.body), stream.headers()))

    def _on_reset(self, stream_id: int) -> None:
        answer = self._answers.get(stream_id)
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionResetError("the stream was reset before the answer was complete"))
