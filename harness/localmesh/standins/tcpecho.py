"""Istio's tcp-echo sample: `... standins.tcpecho PORT[,PORT...] PREFIX`.

Every line comes back behind the prefix and a space, and is logged, as in istio/istio, samples/tcp-echo/src/main.go.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from harness.localmesh.standins import program
from harness.localmesh.standins.settings import Pod, SettingError, Settings
from harness.localmesh.standins.tcp import Conversation


def _echo(prefix: bytes) -> Conversation:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()).endswith(b"\n"):
            answer = prefix + b" " + line
            sys.stdout.buffer.write(b"request: " + line + b"response: " + answer)
            sys.stdout.buffer.flush()
            writer.write(answer)
            await writer.drain()

    return converse


def _build(pod: Pod, environ: Mapping[str, str]) -> program.Work:
    Settings(environ)
    try:
        ports, prefix = sys.argv[1:]
        numbers = [int(port) for port in ports.split(",")]
    except ValueError:
        raise SettingError("give ports, separated by commas, and a prefix") from None
    if missing := set(pod.ports) - set(numbers):
        raise SettingError(f"containerPort {min(missing)} is not among the ports in args, {ports}")
    return program.Work(tcp=dict.fromkeys(numbers, _echo(prefix.encode())))


if __name__ == "__main__":
    sys.exit(program.run(_build))
