"""Takes connections until a program is to stop, and loses none that the kernel has already accepted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

_running: set[asyncio.Task[Any]] = set()  # the event loop itself holds tasks weakly


def spawn(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Runs it as a task that is not forgotten before its end."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def ends(transport: asyncio.BaseTransport) -> tuple[str, int]:
    """The address a connection comes from and the port it came to; "" and 0 over a unix socket."""
    client, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return (client[0], here[1]) if isinstance(here, tuple) else ("", 0)  # else both are names of files


async def accept(
    connect: Callable[[], asyncio.Protocol], listeners: Sequence[socket.socket], stop: asyncio.Event
) -> None:
    """Gives each connection a protocol until `stop` is set, then closes the listening, non-blocking sockets.

    The last connections get theirs in the next turns of the event loop.
    """
    loop = asyncio.get_running_loop()

    def adopt(listener: socket.socket) -> None:
        for accepted in _backlog(listener):
            spawn(loop.connect_accepted_socket(connect, accepted))

    # Not loop.create_server: its close() drops what it has accepted in the same turn of the loop.
    for listener in listeners:
        loop.add_reader(listener, adopt, listener)
    await stop.wait()
    for listener in listeners:
        loop.remove_reader(listener)
        adopt(listener)
        listener.close()


def _backlog(listener: socket.socket) -> list[socket.socket]:
    """The connections that the kernel has accepted and we have not: closing the listener would reset them."""
    accepted = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except OSError:  # there are no more, or no more file descriptors: the rest waits in the kernel
            return accepted
