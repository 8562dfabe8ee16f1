"""A small HTTP/1.1 client for stand-in workloads: GET by proxy or directly, over pooled connections."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import cast

import httptools

from harness.localmesh.standins.http import Message, Request, Response

_MAX_IDLE = 64  # connections kept open per address

_FORWARDED = (
    # https://istio.io/latest/docs/tasks/observability/distributed-tracing/overview/#trace-context-propagation
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
    "baggage",
    # what Bookinfo's services pass on besides (istio/istio, samples/bookinfo/src)
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
)


class CallError(Exception):
    """No answer came to a request; the message says why, in a few words."""


def forwarded(request: Request, more: Iterable[str] = (), but: Collection[str] = ()) -> dict[str, str]:
    """The headers of `request` that a program in the mesh passes on to its calls, and `more`, but not `but`."""
    headers = request.headers
    return {name: headers[name] for name in (*_FORWARDED, *more) if name in headers and name not in but}


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an absolute http URL.

    Raises:
        ValueError: it is not one.
    """
    try:
        parts = httptools.parse_url(url.encode("ascii"))
    except (UnicodeEncodeError, httptools.HttpParserInvalidURLError) as error:
        raise ValueError(f"{url!r} is not a URL") from error
    whole = parts.schema == b"http" and parts.host and (parts.path or not parts.query)
    if not whole or parts.userinfo or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} is not of the form http://host[:port]/path")
    return parts.host.decode(), parts.port or 80


class _Upstream(Message, asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response] | None = None
        self._until_close = False  # the body ends with the connection, as it has no length
        self.reusable = True  # open, and in step with the peer
        self.silent = True  # nothing has come back since the last request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def exchange(self, request: bytes) -> Response:
        """The answer to `request`; ConnectionError when the connection ends or breaks before it is whole."""
        self._answer = asyncio.get_running_loop().create_future()
        self.silent = True
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self.reusable = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.silent = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._settle(ConnectionError("the answer is not valid HTTP/1.1"))
            self.close()

    def on_headers_complete(self) -> None:
        self._until_close = not {"content-length", "transfer-encoding"} & self.headers.keys()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:  # else an interim answer
            self.reusable = self.reusable and self._parser.should_keep_alive()
            self._settle(self._response())
        self._until_close = False
        self.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._until_close and exc is None:
            self._settle(self._response())
        self._settle(exc or ConnectionResetError("the connection was closed before the answer was complete"))

    def _response(self) -> Response:
        return Response(self._parser.get_status_code(), self.body, self.headers)

    def _settle(self, outcome: Response | Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        if isinstance(outcome, Response):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)


class Client:
    """Gets URLs, through `proxy` (`http://ip:port`, by absolute URI) or, when it is empty, directly.

    Raises ValueError when `proxy` is neither.
    """

    def __init__(self, proxy: str = "") -> None:
        self._proxy = address_of(proxy) if proxy else None
        self._idle: dict[tuple[str, int], list[_Upstream]] = {}

    async def get(self, url: str, *, headers: Mapping[str, str], timeout: float) -> Response:
        """The answer to GET `url`, whatever its status; a connection that went stale in the pool is replaced.

        Args:
            url: an absolute http URL.
            headers: what to send besides `host`.
            timeout: seconds for everything together.

        Raises:
            CallError: no connection, or no whole answer in time.
            ValueError: `url` is not an absolute http URL.
        """
        address = self._proxy or address_of(url)
        request = self._encode(url, headers)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(address, request)
        except TimeoutError:
            raise CallError(f"no answer within {timeout:g} s") from None
        except OSError as error:
            raise CallError(str(error)) from error

    def _encode(self, url: str, headers: Mapping[str, str]) -> bytes:
        authority, _, path = url.removeprefix("http://").partition("/")
        target = url if self._proxy else f"/{path}"
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"GET {target} HTTP/1.1\r\nhost: {authority}\r\n{fields}\r\n".encode("latin-1")

    async def _exchange(self, address: tuple[str, int], request: bytes) -> Response:
        while True:
            upstream = self._take(address)
            pooled = upstream is not None
            if upstream is None:
                _, upstream = await asyncio.get_running_loop().create_connection(_Upstream, *address)
            try:
                response = await upstream.exchange(request)
            except ConnectionError:
                # The peer closed an idle connection as we used it: GET may be sent again (RFC 9110, 9.2.2).
                if pooled and upstream.silent:
                    continue
                raise
            except asyncio.CancelledError:
                upstream.close()
                raise
            self._give(address, upstream)
            return response

    def _take(self, address: tuple[str, int]) -> _Upstream | None:
        idle = self._idle.get(address, [])
        while idle:
            upstream = idle.pop()
            if upstream.reusable:
                return upstream
        return None

    def _give(self, address: tuple[str, int], upstream: _Upstream) -> None:
        idle = self._idle.setdefault(address, [])
        if upstream.reusable and len(idle) < _MAX_IDLE:
            idle.append(upstream)
        else:
            upstream.close()

    def close(self) -> None:
        """Close the connections that are open and idle."""
        for idle in self._idle.values():
            for upstream in idle:
                upstream.close()
        self._idle.clear()
