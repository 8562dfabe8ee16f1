"""A proxy before an API server that, as long as it is bad, refuses, hangs or answers 409, 429 and 500 at random."""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3
import yaml

_HANG = 1.5  # seconds
_REASONS = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}


class Flaky:
    """How the proxy behaves: `share` of the requests go wrong; `busy` of them are on their way."""

    def __init__(self, kubeconfig: Path, seed: int) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self.server: str = config["clusters"][0]["cluster"]["server"]
        self.pool = urllib3.PoolManager(cert_reqs=ssl.CERT_NONE, maxsize=16, retries=False)
        self.config = config
        self.share = 0.0
        self.busy = 0
        self.lock = threading.Lock()
        self._chance = random.Random(seed)

    def write(self, path: Path, url: str) -> Path:
        """Writes a kubeconfig that goes through the proxy."""
        self.config["clusters"][0]["cluster"] = {"server": url}
        path.write_text(yaml.safe_dump(self.config))
        return path

    def mishap(self) -> int:
        """What happens to a request: 0 nothing, 1 no answer, 2 a long wait, otherwise the status it gets."""
        if self._chance.random() >= self.share:
            return 0
        return self._chance.choice((1, 2, 409, 429, 500))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        flaky: Flaky = self.server.flaky  # type: ignore[attr-defined]  # set by `proxy`
        with flaky.lock:
            flaky.busy += 1
        try:
            self._serve_one(flaky)
        finally:
            with flaky.lock:
                flaky.busy -= 1

    def _serve_one(self, flaky: Flaky) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        mishap = flaky.mishap()
        if mishap == 1:
            self.close_connection = True
            return
        if mishap == 2:
            time.sleep(_HANG)  # hanging is what it stands for
        if mishap in _REASONS:
            reason = _REASONS[mishap]
            content = {
                "kind": "Status",
                "status": "Failure",
                "reason": reason,
                "code": mishap,
                "message": "-",
            }
            self._answer(mishap, json.dumps(content).encode())
            return
        headers = {
            k: v for k, v in self.headers.items() if k.title() in ("Authorization", "Content-Type", "Accept")
        }
        try:
            answer = flaky.pool.request(self.command, flaky.server + self.path, body=body, headers=headers)
        except urllib3.exceptions.HTTPError:  # the server itself is gone: so is this one, to whoever asks
            self.close_connection = True
            return
        self._answer(answer.status, answer.data)

    def _answer(self, code: int, content: bytes) -> None:
        try:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # whoever asked is dead by now
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

    def handle(self) -> None:
        """As ever, but whoever asked may be killed in the middle."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def proxy(kubeconfig: Path, to: Path, seed: int) -> Iterator[Flaky]:
    """A proxy before the API server of `kubeconfig`; the kubeconfig written to `to` goes through it."""
    flaky = Flaky(kubeconfig, seed)
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.flaky = flaky  # type: ignore[attr-defined]  # the handler finds it there
        flaky.write(to, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield flaky
        finally:
            server.shutdown()
            thread.join()
            flaky.pool.clear()
