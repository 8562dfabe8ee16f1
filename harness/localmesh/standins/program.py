"""How every stand-in starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping

from harness.localmesh.standins.http import Handler
from harness.localmesh.standins.server import serve
from harness.localmesh.standins.settings import Pod, SettingError


def run(build: Callable[[Pod, Mapping[str, str]], Handler]) -> int:
    """Serve what `build` makes of the pod and its environment until SIGTERM, and return the exit code.

    It is 0 after SIGTERM, and 2 with one sentence on stderr when a setting is wrong or an address cannot be
    listened on.
    """
    try:
        pod = Pod.of(os.environ)
        handler = build(pod, os.environ)
        if not pod.ports:
            raise SettingError("PORTS is empty; give the container a containerPort to listen on")
        asyncio.run(_serve(pod, handler))
    except SettingError as error:
        print(f"stand-in: {error}", file=sys.stderr)  # noqa: T201  # a container's log
        return 2
    return 0


async def _serve(pod: Pod, handler: Handler) -> None:
    stop = asyncio.Event()
    # Before anybody can connect: who is accepted must not be lost to a signal that nobody handles yet.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listeners = [_listen(pod.host, port) for port in pod.ports]
    where = ", ".join(f"{pod.host}:{port}" for port in pod.ports)
    print(f"stand-in {pod.service} {pod.version} listens on {where}", file=sys.stderr, flush=True)  # noqa: T201
    await serve(handler, listeners, stop)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise SettingError(
            f"cannot listen on {host}:{port}: {reason}; free the port or choose another"
        ) from None
    listener.setblocking(False)
    return listener
