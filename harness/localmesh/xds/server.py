"""Serves every Envoy its configuration over a unix socket, by Envoy's REST xDS with requests that wait for news.

Not by files, though Envoy reads those too: it takes an inotify instance for every subscription, a few dozen for each
sidecar, and Linux gives a user 128 by default. The socket's folder is its owner's only, so no token is needed.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.server import serve
from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.subscriptions import Answer, DiscoveryRequest, Subscriptions

_PREFIX = "/v3/discovery:"
_LOOK_AGAIN = 1.0


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
        self._news = asyncio.Event()
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
        self._tell()

    def _set(self, snapshots: Mapping[str, Snapshot], gone: Collection[str]) -> None:
        now = time.monotonic()
        for node in gone:
            self._subscriptions.remove(node)
        news = [self._subscriptions.set(node, snapshot, now) for node, snapshot in snapshots.items()]
        if any(news):
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

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
        if self._subscriptions.arrived(kind, request):
            self._refusals.add((request.node.id, kind))
            self._on_refusal()
        confirmed = False
        while not self._stop.is_set():
            news = self._news
            answer = self._subscriptions.answer(kind, request, time.monotonic())
            if answer is not None:
                return answer
            if not confirmed:
                # What it has confirmed may be what routes and listeners were waiting for.
                confirmed = True
                if kind == "clusters":
                    self._tell()
                    news = self._news
            try:
                async with asyncio.timeout(_LOOK_AGAIN):
                    await news.wait()
            except TimeoutError:
                continue
        return None
