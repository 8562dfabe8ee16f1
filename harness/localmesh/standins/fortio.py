"""The servers of fortio's image: HTTP echo on 8080, gRPC's health check on 8079, TCP echo on 8078.

HTTP answers with the body it got; `?status=503:20`, `?delay=100ms:10` (1.5 s at most), `?size=1024` and
`?header=Name:value` work as in fortio's README. Its command line, which makes load, is not there.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs

from harness.localmesh.standins import grpc, program, settings
from harness.localmesh.standins.behaviour import weighted
from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.settings import Pod, Settings

T = TypeVar("T")

_HTTP, _GRPC, _TCP = 8080, 8079, 8078
_MAX_DELAY = 1.5
_status = settings.integer(200, 599)
_size = settings.integer(0, 256 * 1024)


async def answer(request: Request) -> Response:
    """The body of the request, or what its query asks for."""
    query = parse_qs(request.query, keep_blank_values=True)
    try:
        status = _drawn(query, "status", _status, 200)
        delay = _drawn(query, "delay", settings.duration, 0.0)
        size = _drawn(query, "size", _size, -1)
        headers = dict(_header(text) for text in query.get("header", []))
    except ValueError as error:
        return Response.text(f"the query {request.query!r} is not valid: {error}\n", 400)
    if delay > 0:
        await asyncio.sleep(min(_MAX_DELAY, delay))
    body = request.body if size < 0 else b"x" * size
    kind = request.headers.get("content-type", "text/plain; charset=UTF-8")
    return Response(status, body, {"content-type": kind, **headers})


def _drawn(query: Mapping[str, list[str]], name: str, parse: Callable[[str], T], default: T) -> T:
    point = random.random() * 100
    for value, percent in weighted(query[name][-1], parse) if name in query else ():
        if point < percent:
            return value
        point -= percent
    return default


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if not name or not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} is no header")
    return name.lower(), value.strip()


async def _call(request: Request) -> Response:
    return grpc.failure(grpc.UNIMPLEMENTED, f"the stand-in has no method {request.path}")


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def _build(pod: Pod, environ: Mapping[str, str]) -> program.Work:
    Settings(environ)
    http = {port: answer for port in (*pod.ports, _HTTP) if port not in (_GRPC, _TCP)}
    return program.Work({**http, _GRPC: grpc.served(_call)}, {_TCP: converse})


if __name__ == "__main__":
    sys.exit(program.run(_build, (_HTTP,)))
