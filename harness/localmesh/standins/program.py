"""How every stand-in starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from harness.localmesh.standins import tcp
from harness.localmesh.standins.http import Handler
from harness.localmesh.standins.server import serve
from harness.localmesh.standins.settings import Pod, SettingError
from harness.localmesh.standins.tcp import Conversation


@dataclass(frozen=True)
class Work:
    """What a program serves: HTTP (1.1, and 2 for gRPC) and TCP, by port."""

    http: Mapping[int, Handler] = field(default_factory=dict)
    tcp: Mapping[int, Conversation] = field(default_factory=dict)


def run(build: Callable[[Pod, Mapping[str, str]], Handler | Work], ports: tuple[int, ...] = ()) -> int:
    """Serve what `build` makes of the pod and its environment until SIGTERM, and return the exit code.

    A handler is for all ports the container declares; `ports` are those of the original where it declares none.
    The code is 0 after SIGTERM, and 2 with one sentence on stderr when a setting is wrong or an address cannot be
    listened on.
    """
    try:
        pod = Pod.of(os.environ)
        pod = replace(pod, ports=pod.ports or (ports if pod.host else ()))
        work = build(pod, os.environ)
        if not isinstance(work, Work):
            work = Work(dict.fromkeys(pod.ports, work))
        if not work.http and not work.tcp:
            raise SettingError("PORTS is empty; give the container a containerPort to listen on")
        asyncio.run(_serve(pod, work))
    except SettingError as error:
        print(f"stand-in: {error}", file=sys.stderr)  # noqa: T201  # a container's log
        return 2
    return 0


async def _serve(pod: Pod, work: Work) -> None:
    stop = asyncio.Event()
    # Before anybody can connect: who is accepted must not be lost to a signal that nobody handles yet.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listeners = {port: _listen(pod.host, port) for port in (*work.http, *work.tcp)}
    where = ", ".join(f"{pod.host}:{port}" for port in listeners)
    print(f"stand-in {pod.service} {pod.version} listens on {where}", file=sys.stderr, flush=True)  # noqa: T201
    await asyncio.gather(
        *(serve(handler, [listeners[port]], stop) for port, handler in work.http.items()),
        *(tcp.serve(conversation, [listeners[port]], stop) for port, conversation in work.tcp.items()),
    )


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
