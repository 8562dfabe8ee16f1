"""HTTP/1.1 messages of the stand-in workloads, and how the reports of a parser become one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

MAX_HEAD = 64 * 1024
"""Bytes of URL and headers a message may have; more is answered 431."""
MAX_BODY = 16 * 1024 * 1024
"""Bytes of body a message may have; more is answered 413."""
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case, a repeated header is one value joined by commas.

    `fields` has every header apart, in the order they came; `version` is "1.0", "1.1" or "2"; `client` is the address
    it came from and `port` the one it came to ("" and 0 over a unix socket).
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()
    version: str = "1.1"
    client: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `content-length` and `connection` are the server's business and not among `headers`.

    `pieces` is the body where it comes little by little; such an answer may tell its `content-length` beforehand.
    `cookies` are values of set-cookie. `trailers` are sent over HTTP/2 only, which is all that gRPC needs.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: AsyncIterator[bytes] | None = None
    cookies: tuple[str, ...] = ()
    trailers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Response:
        """`value` as JSON."""
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json"})

    @classmethod
    def text(cls, text: str, status: int = 200, kind: str = "text/plain") -> Response:
        """`text` in UTF-8 as the media type `kind`."""
        return cls(status, text.encode(), {"content-type": f"{kind}; charset=utf-8"})

    @property
    def bodiless(self) -> bool:
        """Whether an answer of this status has no body, whatever is asked (RFC 9110, 6.4.1)."""
        return self.status < 200 or self.status in (204, 304)

    @property
    def chunked(self) -> bool:
        """Whether its length is not known before its end."""
        return self.pieces is not None and "content-length" not in self.headers

    def fields(self) -> list[tuple[str, str]]:
        """Its headers, with those that its kind of body implies."""
        fields = [*self.headers.items(), *(("set-cookie", cookie) for cookie in self.cookies)]
        if self.pieces is None and not self.bodiless:
            fields.append(("content-length", str(len(self.body))))
        return fields

    def encode(self, *, head: bool, last: bool, old: bool) -> bytes:
        """The answer on the wire: to HEAD, as the connection's last one, to a client of HTTP/1.0.

        The body of one that comes in `pieces` is not there.
        """
        lines = [f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.fields()]
        if self.chunked and not old and not self.bodiless:
            lines.append("transfer-encoding: chunked")
        if last:
            lines.append("connection: close")
        elif old:
            lines.append("connection: keep-alive")
        start = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        return start if head or self.bodiless else start + self.body


Handler = Callable[[Request], Awaitable[Response]]


class Message:
    """Collects what an httptools parser reports of one message after another.

    A subclass says in `on_message_complete` what to do with one, and calls `clear`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the message so far."""
        self.url = b""
        self.headers: dict[str, str] = {}
        self.fields: list[tuple[str, str]] = []
        self.chunks: list[bytes] = []
        self.error: Response | None = None
        self._head_size = self._body_size = 0

    @property
    def body(self) -> bytes:
        """The body so far."""
        return b"".join(self.chunks)

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        self.url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """A whole header, or one trailer of a chunked body."""
        key, text = name.decode("latin-1").lower(), (value or b"").decode("latin-1")
        self._count_head(len(key) + len(text))
        self.fields.append((key, text))
        before = self.headers.get(key)
        joint = "; " if key == "cookie" else ", "
        self.headers[key] = text if before is None else f"{before}{joint}{text}"

    def on_body(self, chunk: bytes) -> None:
        """A piece of the body."""
        self._body_size += len(chunk)
        if self._body_size > MAX_BODY:
            self._refuse(413)
        self.chunks.append(chunk)

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD:
            self._refuse(431)

    def _refuse(self, status: int) -> None:
        self.error = Response.text(f"{_PHRASES[status]}\n", status)
        raise ValueError(_PHRASES[status])  # leaves the parser as HttpParserCallbackError
