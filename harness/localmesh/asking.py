"""Asks programs and proxies how they are: one thread with an event loop, for any number of pods.

Only what is news is told: a probe that succeeds again is none, so that a mesh at rest stays at rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.localmesh.probes import Kind, Probe, Streak, judge, request

Place = tuple[str, int]
"""An address and a port."""

_LOOK_FIRST = 0.01
_LOOK_LATER = 0.05
_CONNECT_WITHIN = 0.2
_ADMIN_WITHIN = 2.0
_LONGEST_LINE = 65_536


@dataclass(frozen=True)
class News:
    """What has been found out about `key`.

    `state` is what holds from now on (None: as before), `failure` why the last answer was no success ("" if it was).
    """

    key: str
    kind: Kind | Literal["listening"]
    state: bool | None
    failure: str = ""


class Asking:
    """The thread that asks. Its methods may be called from any thread between `start` and `stop`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Args: wake: called, in the thread that asks, when there is news."""
        self._wake = wake
        self._news: deque[News] = deque()
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends all questions and the thread. Twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def news(self) -> list[News]:
        """What has been found out since the last call, in order."""
        found = []
        while self._news:
            found.append(self._news.popleft())
        return found

    def await_listening(self, key: str, places: Collection[Place]) -> None:
        """Tells of `key` once every place accepts connections."""
        self._begin(key, self._listening(key, tuple(places)))

    def probe(self, key: str, kind: Kind, probe: Probe, host: str) -> None:
        """Probes the program at `host` from now on, and tells of failures and of each change of state."""
        self._begin(key, self._probing(key, kind, probe, host))

    def drain(self, admin: Path) -> None:
        """Has the Envoy with that admin socket drain its listeners gracefully, as pilot-agent's /drain does."""
        self._begin(str(admin), _post(admin, "/drain_listeners?graceful&skip_exit"))

    def forget(self, key: str) -> None:
        """Asks nothing more about `key`; news of it may still be on the way."""
        self._call(self._cancel, key)

    def _begin(self, key: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._call(self._spawn, key, coroutine)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *arguments)

    def _spawn(self, key: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        tasks = self._tasks.setdefault(key, set())
        tasks.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            tasks.discard(ended)
            if not tasks and self._tasks.get(key) is tasks:
                del self._tasks[key]

        task.add_done_callback(done)

    def _cancel(self, key: str) -> None:
        for task in self._tasks.pop(key, set()):
            task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def _tell(self, news: News) -> None:
        self._news.append(news)
        self._wake()

    async def _listening(self, key: str, places: tuple[Place, ...]) -> None:
        pause, silent = _LOOK_FIRST, list(places)
        while silent:
            # The last of them comes up last; those that accept are not asked again.
            silent = [place for place in silent if not accepts(place)]
            if silent:
                await asyncio.sleep(pause)
                pause = min(pause * 1.2, _LOOK_LATER)
        self._tell(News(key, "listening", True))

    async def _probing(self, key: str, kind: Kind, probe: Probe, host: str) -> None:
        streak = Streak(probe)
        await asyncio.sleep(probe.initial_delay)
        while True:
            next_time = self._loop.time() + probe.period
            failure = await _ask(probe, host)
            state = streak.note(not failure)
            if failure or state is not None:
                self._tell(News(key, kind, state, failure))
            if kind == "startup" and state is not None:
                return
            await asyncio.sleep(max(0.0, next_time - self._loop.time()))


def accepts(place: Place) -> bool:
    """Whether something accepts connections at that address and port of this machine."""
    with socket.socket() as connection:
        connection.settimeout(_CONNECT_WITHIN)
        return connection.connect_ex(place) == 0


async def _ask(probe: Probe, host: str) -> str:
    """Why the program does not pass, in the words of kubelet; "" when it does."""
    peer = f"{host}:{probe.port}"
    what = "" if probe.path is None else f'Get "http://{peer}{probe.path}": '
    try:
        async with asyncio.timeout(probe.timeout):
            reader, writer = await asyncio.open_connection(host, probe.port, limit=_LONGEST_LINE)
            with contextlib.closing(writer):
                if probe.path is None:
                    return ""
                writer.write(request(probe, host))
                line = await reader.readline()
    except TimeoutError:
        late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return what + (late if what else f"dial tcp {peer}: i/o timeout")
    except ConnectionRefusedError:
        return f"{what}dial tcp {peer}: connect: connection refused"
    except (OSError, ValueError) as error:
        return f"{what}{error}"
    return judge(line) if line else f"{what}EOF"


async def _post(socket_path: Path, path: str) -> None:
    """Posts to an admin socket; one that does not answer is left alone, since its process is about to end anyway."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ADMIN_WITHIN):
            reader, writer = await asyncio.open_unix_connection(str(socket_path))
            with contextlib.closing(writer):
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                )
                writer.write(head.encode())
                await reader.read()
