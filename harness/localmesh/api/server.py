"""The HTTPS server in front of the verbs: TLS, the bearer token, keep-alive, chunked streams."""

from __future__ import annotations

import contextlib
import hmac
import http
import logging
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.localmesh.api import messages, status
from harness.localmesh.api.logs import PodAccess
from harness.localmesh.api.messages import Request, Response, Stream
from harness.localmesh.api.verbs import Api
from harness.localmesh.errors import MeshError, Refused
from harness.localmesh.store import Store

_LOG = logging.getLogger(__name__)
_HANDSHAKE_SECONDS = 10.0
_LONGEST_LINE = 65536
_HEX = re.compile(rb"[0-9A-Fa-f]{1,8}")
_LARGEST_BODY = 3 * 1024 * 1024  # the limit of the real API server
_OPEN_PATHS = frozenset(("/healthz", "/livez", "/readyz"))
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Server:
    """The API on `https://address:port`, for whoever has `token`; `port` 0 is a free one.

    Listens from the start, answers between `start` and `stop`.

    Raises:
        MeshError: when it cannot listen there, or certificate and key cannot be used.
    """

    def __init__(
        self,
        store: Store,
        address: str,
        *,
        token: str,
        certificate: Path,
        key: Path,
        pods: PodAccess,
        port: int = 0,
    ) -> None:
        self._store = store
        context = _tls(certificate, key)
        try:
            self._listener = _Listener((address, port), context, Api(store, pods).dispatch, token)
        except OSError as error:
            raise MeshError(
                f"The API server cannot listen on {address}:{port} ({error.strerror}); "
                "choose another port or stop the process that uses this one."
            ) from error
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, name="api", daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering: streams end, connections are closed, threads are gone. Twice is harmless."""
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.stopping.set()
        self._store.wake()
        self._listener.hang_up()
        self._listener.server_close()


def _check_size(size: int) -> None:
    if size > _LARGEST_BODY:
        why = f"Request entity too large: limit is {_LARGEST_BODY}"
        raise Refused(413, "RequestEntityTooLarge", why)


def _chunk_size(line: bytes) -> int:
    """The size that a chunk's first line says (RFC 9112, 7.1)."""
    digits = line.partition(b";")[0].strip()
    if not _HEX.fullmatch(digits):
        raise status.bad_request(f"{digits!r} is not the size of a chunk")
    return int(digits, 16)


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise MeshError(
            f"The API server cannot use {certificate} with {key} ({error}); run `harness up` again."
        ) from error
    return context


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    # `stop` joins the connections' threads itself, after hanging up on them.
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        dispatch: Callable[[Request], Response | Stream],
        token: str,
    ) -> None:
        self.dispatch = dispatch
        self.authorization = f"Bearer {token}".encode()
        self.stopping = threading.Event()
        self._context = context
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._guard = threading.Lock()
        super().__init__(address, _Connection)

    def server_bind(self) -> None:
        # The base class of HTTPServer looks the address up in the DNS, which nobody needs here.
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        connection = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._guard:
            self._connections[connection] = threading.current_thread()
        try:
            if self.stopping.is_set():
                return
            # Here and not in `accept`, where a client that says nothing would keep everybody out.
            connection.settimeout(_HANDSHAKE_SECONDS)
            connection.do_handshake()
            connection.settimeout(None)
            self.finish_request(connection, client_address)
        except OSError as error:
            # The client does not trust us, speaks no TLS, or went away: nobody is left to answer.
            _LOG.debug("connection from %s ended: %s", client_address, error)
        # A bug of ours ends this connection only.
        except Exception:
            _LOG.exception("connection from %s", client_address)
        finally:
            with self._guard:
                self._connections.pop(connection, None)
            self.shutdown_request(connection)

    def hang_up(self) -> None:
        """Close every connection and wait for its thread."""
        with self._guard:
            connections = dict(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join(timeout=2)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def __getattr__(self, name: str) -> Callable[[], None]:
        """One handler for every method."""
        if name.removeprefix("do_") in _METHODS:
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.debug(format, *args)

    def _serve(self) -> None:
        try:
            body = self._body()
            self._authenticate()
        except Refused as refused:
            # What is left of the body cannot be told from the next request.
            self.close_connection = refused.code != 401
            self._answer(messages.refusal(refused))
            return
        answer = self.server.dispatch(messages.request(self.command, self.path, self.headers, body))
        if isinstance(answer, Stream):
            self._stream(answer)
        else:
            self._answer(answer)

    def _body(self) -> bytes:
        if coding := self.headers.get("Transfer-Encoding"):
            if coding.lower() != "chunked" or "Content-Length" in self.headers:
                raise status.bad_request("send the body either with a Content-Length or chunked")
            return self._chunks()
        text = self.headers.get("Content-Length") or "0"
        if not (text.isascii() and text.isdigit()):
            raise status.bad_request(f"Content-Length: {text!r} is not a number")
        _check_size(int(text))
        return self.rfile.read(int(text))

    def _chunks(self) -> bytes:
        """A body whose length its client did not know before, as `kubectl create --raw` sends it."""
        body = bytearray()
        while size := _chunk_size(self.rfile.readline(_LONGEST_LINE)):
            _check_size(len(body) + size)
            body += self.rfile.read(size)
            self.rfile.readline(_LONGEST_LINE)
        while self.rfile.readline(_LONGEST_LINE).strip():
            pass  # a trailer, which nobody here asks for
        return bytes(body)

    def _authenticate(self) -> None:
        given = (self.headers.get("Authorization") or "").encode("latin-1", "replace")
        known = hmac.compare_digest(given, self.server.authorization)
        if not known and self.path.partition("?")[0] not in _OPEN_PATHS:
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _answer(self, answer: Response) -> None:
        head = self._head(
            answer.code,
            *answer.headers,
            ("Content-Type", answer.media_type),
            ("Content-Length", str(len(answer.body))),
        )
        # Head and body together: one TLS record, one packet.
        bodiless = self.command == "HEAD" or answer.code in (204, 304)
        self.wfile.write(head + (b"" if bodiless else answer.body))

    def _stream(self, answer: Stream) -> None:
        self.wfile.write(
            self._head(200, ("Content-Type", answer.media_type), ("Transfer-Encoding", "chunked"))
        )
        for frame in answer.frames:
            if frame:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            if self.server.stopping.is_set() or (not frame and self._client_left()):
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, code: int, *headers: tuple[str, str]) -> bytes:
        reason = http.HTTPStatus(code).phrase if code in _PHRASES else ""
        lines = [
            f"HTTP/1.1 {code} {reason}\r\n",
            *(f"{name}: {value}\r\n" for name, value in headers if value),
        ]
        if self.close_connection:
            lines.append("Connection: close\r\n")
        return "".join((*lines, "\r\n")).encode("latin-1")

    def _client_left(self) -> bool:
        # A client has nothing to say while it watches: whatever arrives is its farewell.
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)


_PHRASES = frozenset(item.value for item in http.HTTPStatus)
