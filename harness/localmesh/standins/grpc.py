"""gRPC over the stand-ins' HTTP/2: unary calls whose messages have one text in field 1.

That is all the messages here need: Istio's EchoRequest and EchoResponse (istio/istio, pkg/test/echo/proto), and the
answer of the health check, which is a number.
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.localmesh.standins.client import CallError
from harness.localmesh.standins.http import Handler, Request, Response
from harness.localmesh.standins.server import answered

if TYPE_CHECKING:
    from harness.localmesh.standins import http2

HEALTH = "/grpc.health.v1.Health/Check"
ECHO = "/proto.EchoTestService/Echo"

OK, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 4, 12, 13, 14
_TYPE = "application/grpc"
_SERVING = b"\x08\x01"
_TEXT = 0x0A  # field 1, with a length
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
_OF_HTTP = {
    400: INTERNAL, 401: 16, 403: 7, 404: UNIMPLEMENTED,
    429: UNAVAILABLE, 502: UNAVAILABLE, 503: UNAVAILABLE, 504: UNAVAILABLE,
}  # fmt: skip


def asked(request: Request) -> bool:
    """Whether the request is a call of gRPC."""
    return request.headers.get("content-type", "").startswith(_TYPE)


def of_http(status: int) -> int:
    """The status of gRPC that a client takes this status of HTTP for."""
    return OK if status < 400 else _OF_HTTP.get(status, UNKNOWN)


def answer(text: str) -> Response:
    """A message with `text`, and OK."""
    return _success(encode(text))


def failure(status: int, message: str) -> Response:
    """No message, and a status other than OK."""
    headers = {"content-type": _TYPE, "grpc-status": str(status), "grpc-message": quote(message, safe=" :/,")}
    return Response(200, b"", headers)


def served(handler: Handler) -> Handler:
    """Adds to a handler of calls what every server of gRPC does: health checks, deadlines, no HTTP/1.1."""

    async def serve(request: Request) -> Response:
        if request.version != "2":
            return Response.text("gRPC needs HTTP/2\n", 505)
        if request.path == HEALTH:
            return _success(_framed(_SERVING))
        try:
            async with asyncio.timeout(_deadline(request.headers.get("grpc-timeout", ""))):
                response = await answered(handler, request)
        except TimeoutError:
            return failure(DEADLINE_EXCEEDED, "the deadline was exceeded")
        except ValueError as error:
            return failure(INTERNAL, str(error))
        return response if response.status == 200 else failure(INTERNAL, "the stand-in failed")

    return serve


def text(request: Request) -> str:
    """The text of the request's message, "" where it has none.

    Raises:
        ValueError: the body is not one message, or a compressed one, which no client may send unasked.
    """
    return decode(request.body)


def encode(text: str) -> bytes:
    """A message with `text` in its field 1, framed."""
    data = text.encode()
    return _framed(bytes([_TEXT]) + _varint(len(data)) + data if data else b"")


def message(request: Request) -> bytes:
    """The request's message; ValueError as for `text`."""
    return _unframed(request.body)


def decode(body: bytes) -> str:
    """The text in field 1 of a framed message; ValueError where there is no whole message."""
    message, found = _unframed(body), ""
    while message:
        tag, message = _take_varint(message)
        if tag & 7 == 0:
            _, message = _take_varint(message)
            continue
        if tag & 7 in (1, 5):
            length = 8 if tag & 7 == 1 else 4
        elif tag & 7 == 2:
            length, message = _take_varint(message)
        else:
            raise ValueError("the message has a field of a kind that protobuf no longer has")
        if length > len(message):
            raise ValueError("the message is cut off")
        if tag == _TEXT:
            found = message[:length].decode("utf-8", "replace")
        message = message[length:]
    return found


def outcome(response: Response) -> int:
    """The status of a call's answer; that of its HTTP status where a proxy gave it (no grpc-status)."""
    status = response.headers.get("grpc-status", "")
    if status.isdecimal():
        return int(status)
    return of_http(response.status) or UNKNOWN


class Client:
    """Makes calls, through `proxy` (host and port of the pod's Envoy) or directly, over one connection per address."""

    def __init__(self, proxy: tuple[str, int] | None = None) -> None:
        """Args: proxy: the sidecar, which takes calls for any authority."""
        # The module is loaded by those programs only that make calls of gRPC.
        from harness.localmesh.standins.http2 import Client as Connection  # noqa: PLC0415

        self._proxy = proxy
        self._connect = Connection
        self._connections: dict[tuple[str, int], http2.Client] = {}
        self._lock = asyncio.Lock()

    async def call(
        self, address: tuple[str, int], path: str, text: str, *, headers: Mapping[str, str], timeout: float
    ) -> Response:
        """The answer to one call, whatever its status; see `outcome`.

        Args:
            address: host and port of the server, which are the call's authority.
            path: "/package.Service/Method".
            text: what the request's message says.
            headers: metadata.
            timeout: seconds for everything, told to the server as its deadline.

        Raises:
            CallError: no connection, or no whole answer in time.
        """
        fields = {
            "te": "trailers",
            "content-type": _TYPE,
            "grpc-timeout": f"{max(1, round(timeout * 1000))}m",
            **headers,
        }
        authority = f"{address[0]}:{address[1]}"
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connection(self._proxy or address)
                return await connection.post(authority, path, fields, encode(text))
        except TimeoutError:
            raise CallError(f"no answer within {timeout:g} s") from None
        except OSError as error:
            raise CallError(str(error)) from error

    def close(self) -> None:
        """Close the connections, whatever is under way."""
        for connection in self._connections.values():
            connection.transport.abort()
        self._connections.clear()

    async def _connection(self, address: tuple[str, int]) -> http2.Client:
        async with self._lock:
            known = self._connections.get(address)
            if known is None or known.leaving:
                _, known = await asyncio.get_running_loop().create_connection(self._connect, *address)
                self._connections[address] = known
            return known


def _success(message: bytes) -> Response:
    return Response(200, message, {"content-type": _TYPE}, trailers={"grpc-status": "0"})


def _framed(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


def _unframed(body: bytes) -> bytes:
    if len(body) < 5 or body[0] or len(body) - 5 != struct.unpack(">I", body[1:5])[0]:
        raise ValueError("the body is not one message without compression")
    return body[5:]


def _deadline(timeout: str) -> float | None:
    if timeout[:-1].isdecimal() and timeout[-1] in _UNITS:
        return int(timeout[:-1]) * _UNITS[timeout[-1]]
    return None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _take_varint(data: bytes) -> tuple[int, bytes]:
    number = 0
    for place, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, data[place + 1 :]
    raise ValueError("the message is cut off")
