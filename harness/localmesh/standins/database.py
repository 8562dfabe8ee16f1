"""Bookinfo's databases, MySQL and MongoDB, as far as ratings v2 needs them: `... standins.database`.

They hold two ratings, as samples/bookinfo/src/mysql and mongodb of istio/istio do. Their protocols are not spoken:
ratings
v2 asks with a line and gets one, so that the connection, which is what a mesh sees of it, is real.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from harness.localmesh.standins import program
from harness.localmesh.standins.settings import Pod, Settings

QUERY = b"SELECT Rating FROM ratings"
"""The one question."""


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers QUERY with the two ratings, and ends at anything else."""
    while (await reader.readline()) == QUERY + b"\n":
        writer.write(b"5 4\n")
        await writer.drain()


def _build(pod: Pod, environ: Mapping[str, str]) -> program.Work:
    Settings(environ)
    return program.Work(tcp=dict.fromkeys(pod.ports, converse))


if __name__ == "__main__":
    sys.exit(program.run(_build, tuple(int(port) for port in sys.argv[1:])))
