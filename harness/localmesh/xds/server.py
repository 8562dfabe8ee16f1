"""Serves every Envoy its configuration over a unix socket, by Envoy's REST xDS with requests that wait for news.

Not by files, though Envoy reads those too: it takes an inotify instance for every subscription, a few dozen for each
sidecar, and Linux gives a user 128 by default. The socket's folder is its owner's only, so no token is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.server import serve
from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.subscriptions import CLUSTERS, Answer, DiscoveryRequest, Subscriptions

_PREFIX = "/v3/discovery:"
_SOON = 0.01


class ConfigurationServer:
    """The xDS server; its methods may be called from any thread between `start` and `stop`."""

    def __init__(self, path: Path, on_refusal: Callable[[], None] = lambda: None) -> None:
        """Args: path: of the socket, at most 107 characters; on_refusal: called when there are new `refusals`.

        The socket's folder must be private.
        """
        self._path = path
        self._on_refusal = on_refusal
        self._subscriptions = Subscriptions()
        self._stop = asyncio.Event()
        self._news: dict[str, asyncio.Event] = {}
        self._refusals: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._run, name="xds", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._loop = asyncio.new_event_loop()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """Ends every connection. Twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
            self._thread.join()

    def publish(self, snapshots: Mapping[str, Snapshot], gone: Collection[str] = ()) -> None:
        """Makes these snapshots, by node id, what those Envoys are to have, and forgets those that are gone."""
        self._loop.call_soon_threadsafe(self._set, dict(snapshots), tuple(gone))

    def behind(self) -> tuple[str, ...]:
        """The node ids of the Envoys that have not confirmed all they are to have."""

        async def ask() -> tuple[str, ...]:
            return self._subscriptions.behind()

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(timeout=10.0)

    def refusals(self) -> set[tuple[str, str]]:
        """Which Envoys (by node id) have refused what kind of resource since the last call."""
        refused, self._refusals = self._refusals, set()
        return refused

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serve(self._answer, [self._listener], self._stop, abandon=True))

    def _end(self) -> None:
        self._stop.set()
        for node in tuple(self._news):
            self._tell(node)

    def _set(self, snapshots: Mapping[str, Snapshot], gone: Collection[str]) -> None:
        for node in gone:
            self._subscriptions.remove(node)
            self._tell(node)
        for node in self._subscriptions.publish(snapshots, time.monotonic()):
            self._tell(node)

    def _tell(self, node: str) -> None:
        """Lets the requests of that Envoy look whether there is an answer now."""
        news = self._news.pop(node, None)
        if news is not None:
            news.set()

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST" or not request.path.startswith(_PREFIX):
            return Response.text("this is the mesh's xDS\n", 404)
        kind = request.path.removeprefix(_PREFIX)
        try:
            wanted = msgspec.json.decode(request.body, type=DiscoveryRequest)
        except msgspec.DecodeError as error:
            return Response.text(f"{error}\n", 400)
        answer = await self._wait(kind, wanted)
        if answer is None:
            return Response.text("the mesh goes down\n", 503)
        return Response(200, answer.body, {"content-type": "application/json"})

    async def _wait(self, kind: str, request: DiscoveryRequest) -> Answer | None:
        if self._subscriptions.arrived(kind, request, time.monotonic()):
            self._refusals.add((request.node.id, kind))
            self._on_refusal()
        if kind == CLUSTERS:
            # What it has confirmed may be what its routes and listeners were waiting for.
            self._tell(request.node.id)
        while not self._stop.is_set():
            now = time.monotonic()
            answer = self._subscriptions.answer(kind, request, now)
            if answer is not None:
                return answer
            patience = self._subscriptions.patience(kind, request, now)
            news = self._news.setdefault(request.node.id, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if patience is None else patience + _SOON):
                    await news.wait()
        return None
