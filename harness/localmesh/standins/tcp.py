"""TCP for stand-in workloads: a server of conversations, and connections to services through the sidecar.

The mesh does not capture a workload's connections. The kubelet gives each program HARNESS_TCP_ADDRESSES instead, the
path of a JSON file {"host:port": "ip:port", ...}: where on its sidecar each service is to be reached.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from harness.localmesh.standins.accept import accept
from harness.localmesh.standins.client import CallError

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is said over one connection; at its end the connection is closed."""

_LINGER = 0.2  # seconds a connection gets for one more question once the program is to stop
_DOMAIN = "cluster.local"
_LONGEST = 64 * 1024  # bytes of a line


async def serve(converse: Conversation, listeners: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Hold a conversation with every client until `stop` is set.

    Then each reader comes to its end, so a conversation finishes what it was asked, and the connection is closed.
    """
    talks: dict[asyncio.Task[None], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer)
        except ConnectionError:
            pass  # the client has left; that is no news
        except Exception:  # a bug in one conversation must not take the program down; it is logged
            traceback.print_exc(file=sys.stderr)
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(talk(reader, writer))
        talks[task] = (reader, writer)
        task.add_done_callback(talks.pop)

    def connect() -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(_LONGEST), begin)

    await accept(connect, listeners, stop)
    await asyncio.sleep(_LINGER)
    for reader, writer in talks.values():
        if isinstance(writer.transport, asyncio.ReadTransport) and not writer.transport.is_closing():
            writer.transport.pause_reading()
        reader.feed_eof()
    if talks:
        await asyncio.wait(talks)


def resolve(host: str, port: int, *, namespace: str, file: str) -> tuple[str, int]:
    """Where to connect for a service: what `file` says of it; without a file, the place itself.

    Names are completed as in a pod of `namespace`: name, name.ns, name.ns.svc, the full name; one that ends with a dot
    is full. The file is read each time, as it changes with the mesh.

    Raises:
        CallError: no name that it may stand for is in the file.
    """
    if not file:
        return host, port
    try:
        known = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise CallError(f"HARNESS_TCP_ADDRESSES names {file}, which cannot be read: {error}") from error
    for name in _names(host, namespace):
        if found := known.get(f"{name}:{port}"):
            ip, _, at = found.rpartition(":")
            return ip, int(at)
    raise CallError(
        f"{host}:{port} is no TCP service of the mesh; give a Service or ServiceEntry that host and a TCP port {port}"
    )


def _names(host: str, namespace: str) -> list[str]:
    if host.endswith("."):
        return [host[:-1]]
    # The order of a pod's /etc/resolv.conf, with its ndots:5.
    return [*(f"{host}.{tail}" for tail in (f"{namespace}.svc.{_DOMAIN}", f"svc.{_DOMAIN}", _DOMAIN)), host]


async def ask(address: tuple[str, int], line: bytes, *, timeout: float) -> bytes:
    """The line that comes back for `line`, over a connection of its own, both without their ends.

    Raises:
        CallError: no connection, or no whole line within `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(*address, limit=_LONGEST)
            try:
                writer.write(line + b"\n")
                answer = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        raise CallError(f"no answer within {timeout:g} s") from None
    except ValueError:
        raise CallError(f"the answer is longer than {_LONGEST} bytes") from None
    except OSError as error:
        raise CallError(str(error)) from error
    if not answer.endswith(b"\n"):
        raise CallError("the connection was closed before the answer was complete")
    return answer[:-1]
