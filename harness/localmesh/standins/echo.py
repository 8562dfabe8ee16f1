"""The echo server of Istio's own tests and grpc-echo sample: `... standins.echo [--port N] [--grpc N] [--tcp N] ...`.

It answers with lines of `Field=value` about itself and the request, as istio/istio, pkg/test/echo/server/endpoint:
over HTTP with `?delay=`, `?codes=500:1,200:1` (shares, not percentages) and `?headers=name:value`, over gRPC by
proto.EchoTestService/Echo and the health check, over TCP before it sends back what comes. It forwards nothing
(ForwardEcho is UNIMPLEMENTED), and flags for TLS, UDP, HBONE, proxyless gRPC and the like are refused.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

from harness.localmesh.standins import grpc, program, settings
from harness.localmesh.standins.accept import ends
from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.settings import Pod, SettingError, Settings

_PROTOCOL = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2.0"}
_PASSIVE = ("--metrics", "--crt", "--key", "--ca", "--cluster", "--istio-version")
"""Flags that change nothing of what a mesh sees while no port has TLS."""
_code = settings.integer(200, 599)


@dataclass(frozen=True)
class Flags:
    """The command line: ports by protocol, and the version it reports."""

    http: tuple[int, ...] = ()
    grpc: tuple[int, ...] = ()
    tcp: tuple[int, ...] = ()
    version: str = ""


def flags(arguments: Sequence[str]) -> Flags:
    """What the command line says.

    Raises:
        ValueError: a flag is not emulated, or has a value that it cannot have.
    """
    found = Flags()
    words = [word for argument in arguments for word in argument.split("=", 1)]
    if len(words) % 2:
        raise ValueError(f"{words[-1]} has no value")
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name == "--version":
            found = replace(found, version=value)
        elif name in ("--port", "--grpc", "--tcp"):
            ports = tuple(settings.integer(1, 65535)(port) for port in value.split(","))
            if name == "--port":
                found = replace(found, http=found.http + ports)
            elif name == "--grpc":
                found = replace(found, grpc=found.grpc + ports)
            else:
                found = replace(found, tcp=found.tcp + ports)
        elif name not in _PASSIVE:
            raise ValueError(f"the stand-in has no flag {name}; it has --port, --grpc, --tcp and --version")
    return found


class Echo:
    """Answers over all three protocols."""

    def __init__(self, pod: Pod, version: str) -> None:
        self._pod = pod
        self._version = version
        self._random = random.Random(pod.name)
        self.call = grpc.served(self._call)

    async def answer(self, request: Request) -> Response:
        """The answer over HTTP."""
        if grpc.asked(request):
            return await self.call(request)
        query = parse_qs(request.query, keep_blank_values=True)
        try:
            code = self._draw(query.get("codes", ["200"])[-1])
            delay = settings.duration(query["delay"][-1]) if "delay" in query else 0.0
            headers = dict(_header(part) for part in ",".join(query.get("headers", [])).split(",") if part)
        except ValueError as error:
            return Response.text(f"the query {request.query!r} is not valid: {error}\n", 400)
        await asyncio.sleep(delay)
        target = request.path + (f"?{request.query}" if request.query else "")
        lines = [
            *self._about(request.port),
            ("Host", request.headers.get("host", "")),
            ("URL", target),
            ("Method", request.method),
            ("Proto", _PROTOCOL[request.version]),
            ("IP", request.client),
            *(
                ("RequestHeader", f"{_title(name)}:{value}")
                for name, value in sorted(request.fields)
                if name != "host"
            ),
            ("Hostname", self._pod.name),
        ]
        return Response(code, _lines(lines), {"content-type": "application/text", **headers})

    async def _call(self, request: Request) -> Response:
        if request.path != grpc.ECHO:
            return grpc.failure(grpc.UNIMPLEMENTED, f"the stand-in has no method {request.path}")
        host = request.headers.get("host", "")
        lines = [
            *(
                ("RequestHeader", f"{name}:{value}")
                for name, value in request.fields
                if not name.endswith("-bin")
            ),
            ("Host", host),
            ("StatusCode", "200"),
            *self._about(request.port),
            ("IP", request.client),
            ("Proto", "GRPC"),
            ("Echo", grpc.text(request)),
            ("Hostname", self._pod.name),
        ]
        return grpc.answer(_lines(lines).decode())

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says who it is once something comes, and sends back all that does."""
        client, port = ends(writer.transport)
        about = [("StatusCode", "200"), *self._about(port), ("IP", client), ("Proto", "TCP")]
        head = _lines([*about, ("Hostname", self._pod.name)])
        while data := await reader.read(4096):
            writer.write(head + data)
            head = b""
            await writer.drain()

    def _about(self, port: int) -> list[tuple[str, str]]:
        return [
            ("ServiceVersion", self._version),
            ("ServicePort", str(port)),
            ("Namespace", self._pod.namespace),
        ]

    def _draw(self, text: str) -> int:
        pairs = [part.partition(":") for part in text.split(",")]
        codes = [_code(code) for code, _, _ in pairs]
        shares = [settings.integer(0, 10**6)(share) if colon else 1 for _, colon, share in pairs]
        return self._random.choices(codes, shares)[0]


def _title(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    if not name or not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} is no header")
    return name.lower(), value


def _lines(fields: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in fields).encode()


def _build(pod: Pod, environ: Mapping[str, str]) -> program.Work:
    Settings(environ)
    try:
        given = flags(sys.argv[1:])
    except ValueError as error:
        raise SettingError(str(error)) from None
    listening = {*given.http, *given.grpc, *given.tcp}
    if missing := set(pod.ports) - listening:
        raise SettingError(f"containerPort {min(missing)} is not among the ports in args")
    echo = Echo(pod, given.version)
    http = dict.fromkeys(given.http, echo.answer)
    return program.Work(
        {**http, **dict.fromkeys(given.grpc, echo.call)}, dict.fromkeys(given.tcp, echo.converse)
    )


if __name__ == "__main__":
    sys.exit(program.run(_build))
