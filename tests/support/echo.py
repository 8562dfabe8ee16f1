"""A tiny program behind a sidecar that answers with what it saw, and how it is asked."""

from __future__ import annotations

import http.client
import http.server
import json
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

DEADLINE = 10.0


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers `?status=503&delay=0.2` as asked, with what it saw as JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Program

    def do_GET(self) -> None:
        asked = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
        self.server.seen.append(self)
        if "delay" in asked:
            self.server.stopped.wait(float(asked["delay"]))
        body = json.dumps(
            {"path": self.path, "headers": dict(self.headers), "name": self.server.name}
        ).encode()
        self.send_response(int(asked.get("status", "200")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class Program(http.server.ThreadingHTTPServer):
    """The program of a pod, listening at the pod's own address."""

    daemon_threads = True

    def __init__(self, name: str, ip: str, port: int) -> None:
        super().__init__((ip, port), _Answers)
        self.name = name
        self.seen: list[_Answers] = []
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is no error of the program."""

    def stop(self) -> None:
        """Stop listening, and wake whoever sleeps for a `delay`."""
        self.stopped.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


@dataclass(frozen=True)
class Answer:
    """Status and parsed body (None when it is no JSON) of an HTTP answer."""

    status: int
    headers: dict[str, str]
    body: Any


def get(ip: str, port: int, url: str, **headers: str) -> Answer:
    """GET `url`, written as it is into the request line, from `ip:port`."""
    connection = http.client.HTTPConnection(ip, port, timeout=DEADLINE)
    try:
        host = urlsplit(url).netloc or f"{ip}:{port}"
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request("GET", url, headers={"Host": host} | given)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, body)
