"""A service that behaves as the annotations `standin.harness.local/*` of its pod and a request's query say.

=================  ==============================================================================  =======
annotation         meaning                                                                         default
=================  ==============================================================================  =======
protocol           "http" (1.1, and 2 with gRPC, as the client begins) or "tcp", or one for each   http
                   port: "9000=tcp,8080=http"
latency            time before an answer: "5ms", "2ms..8ms" drawn evenly, or "p50=5ms p99=80ms",   0s
                   log-normal
seed               with the pod's name, seeds what is drawn (latency, errors)
status             status of an answer that succeeds                                               200
error-percent      share of requests, 0-100, that fail                                             0
error-status       status of those, over HTTP                                                      503
error-grpc-status  status of those, over gRPC                                                      that of
                                                                                                   the above
calls              URLs to call for every request, separated by commas or newlines: http:// is got
                   with GET, grpc://host:port is a call of Istio's Echo (or of the method that the
                   path names), tcp://host:port is sent a line and has to answer one. A call
                   written as "/path URL" is for requests below that path: they make the calls of
                   the longest path that fits, and those without a path only if there is none
order              "sequence" or "parallel"                                                        sequence
timeout            time each call may take; none is tried again                                    10s
propagate          names of headers passed on to the calls besides those of tracing
withhold           names of headers not passed on, be they of tracing or named in `propagate`
fallback           "true", or those URLs among `calls` that may fail: the answer then succeeds     false
                   and has `"fallback": true`
failure-status     status of the answer where another call failed                                  503
body-size          least size of an answer's body in bytes                                         0
exit               exit at once, with this code
=================  ==============================================================================  =======

A call fails when no answer comes, its status is 500 or more, or its status of gRPC is not OK. The query works as that
of fortio's echo server: `?status=503:20,404:5` answers 503 to 20 % and 404 to 5 % of the requests (no percentage means
all), `&delay=100ms:10` waits before 10 % of the answers, 10 s at most.

Every unary call of gRPC is answered with the same JSON as HTTP in field 1 of its message, and a request's metadata
`x-status: 14:20` (numbers of gRPC) and `x-delay: 100ms:10` work as the query. The health check of gRPC always says
SERVING. A TCP port answers each line with the same line behind version and pod, after the latency; a request that
fails is a connection closed instead; it makes no calls.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

from harness.localmesh.standins import grpc, program, settings
from harness.localmesh.standins.behaviour import Behaviour, weighted
from harness.localmesh.standins.calls import Caller, succeeded
from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.settings import Pod

T = TypeVar("T")

MAX_DELAY = 10.0
"""Seconds a request may ask to wait; more is cut to this."""

_status = settings.integer(200, 599)
_grpc_status = settings.integer(0, 16)


class Service:
    """Answers requests as `behaviour` says; `addresses` is the file of TCP addresses."""

    def __init__(self, pod: Pod, behaviour: Behaviour, addresses: str = "") -> None:
        self._pod = pod
        self._behaviour = behaviour
        self._caller = Caller(
            pod,
            addresses=addresses,
            timeout=behaviour.timeout,
            propagate=behaviour.propagate,
            withhold=behaviour.withhold,
        )
        self._random = random.Random(f"{pod.name}/{behaviour.seed}")
        self._grpc = grpc.served(self._answer_grpc)

    async def answer(self, request: Request) -> Response:
        """The answer to one request, after its latency and its calls."""
        if grpc.asked(request):
            return await self._grpc(request)
        try:
            query = parse_qs(request.query, keep_blank_values=True) if request.query else {}
            status = self._status(query.get("status", [""])[-1] if "status" in query else None)
            delay = self._delay(query["delay"][-1] if "delay" in query else None)
        except ValueError as error:
            return Response.json({"error": f"the query {request.query!r} is not valid: {error}"}, 400)
        body, broken = await self._work(request, delay)
        status = self._behaviour.failure_status if broken else status
        return Response(status, body, {"content-type": "application/json"})

    async def _answer_grpc(self, request: Request) -> Response:
        grpc.text(request)  # refuses what is not a message
        try:
            status = self._grpc_status(request.headers.get("x-status"))
            delay = self._delay(request.headers.get("x-delay"))
        except ValueError as error:
            return grpc.failure(3, f"x-status or x-delay is not valid: {error}")
        body, broken = await self._work(request, delay)
        if broken:
            status = grpc.of_http(self._behaviour.failure_status)
        return (
            grpc.failure(status, f"{self._pod.name} was asked to fail")
            if status
            else grpc.answer(body.decode())
        )

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client over TCP, line by line."""
        prefix = f"{self._pod.version} {self._pod.name} ".encode()
        while (line := await reader.readline()).endswith(b"\n"):
            await asyncio.sleep(self._behaviour.latency.draw(self._random))
            if self._random.random() * 100 < self._behaviour.error_percent:
                return
            writer.write(prefix + line)
            await writer.drain()

    async def _work(self, request: Request, delay: float) -> tuple[bytes, bool]:
        """The body of the answer, and whether a call that must not fail did."""
        if delay > 0:
            await asyncio.sleep(delay)
        wanted = self._behaviour.calls_for(request.path)
        calls = await self._caller.make(wanted, request, parallel=self._behaviour.parallel)
        failed = {call["url"] for call in calls if not succeeded(call)}
        broken = bool(failed - self._behaviour.may_fail)
        return self._body(request.path, calls, fallback=bool(failed) and not broken), broken

    def _status(self, asked: str | None) -> int:
        behaviour = self._behaviour
        if asked is not None:
            return self._draw(weighted(asked, _status), behaviour.status)
        return self._draw(((behaviour.error_status, behaviour.error_percent),), behaviour.status)

    def _grpc_status(self, asked: str | None) -> int:
        if asked is not None:
            return self._draw(weighted(asked, _grpc_status), grpc.OK)
        behaviour = self._behaviour
        error = behaviour.error_grpc_status or grpc.of_http(behaviour.error_status)
        return self._draw(((error, behaviour.error_percent),), grpc.of_http(behaviour.status))

    def _delay(self, asked: str | None) -> float:
        delay = 0.0
        if asked is not None:
            delay = min(MAX_DELAY, self._draw(weighted(asked, settings.duration), 0.0))
        return delay + self._behaviour.latency.draw(self._random)

    def _draw(self, pairs: tuple[tuple[T, float], ...], default: T) -> T:
        point = self._random.random() * 100
        for value, percent in pairs:
            if point < percent:
                return value
            point -= percent
        return default

    def _body(self, path: str, calls: list[dict[str, Any]], *, fallback: bool) -> bytes:
        pod = self._pod
        answer: dict[str, Any] = {
            "service": pod.service,
            "version": pod.version,
            "pod": pod.name,
            "path": path,
            "calls": calls,
        }
        if fallback:
            answer["fallback"] = True
        body = Response.json(answer).body
        if len(body) < self._behaviour.body_size:
            answer["padding"] = "x" * (self._behaviour.body_size - len(body))
            body = Response.json(answer).body
        return body


def _build(pod: Pod, environ: Mapping[str, str]) -> program.Work:
    behaviour = Behaviour.of(environ, pod.ports)
    if behaviour.exit is not None:
        print(f"stand-in: exits with {behaviour.exit}, as the annotation exit asks", file=sys.stderr)  # noqa: T201
        raise SystemExit(behaviour.exit)
    service = Service(pod, behaviour, environ.get("HARNESS_TCP_ADDRESSES", ""))
    served = behaviour.protocol.items()
    return program.Work(
        http={port: service.answer for port, protocol in served if protocol == "http"},
        tcp={port: service.converse for port, protocol in served if protocol == "tcp"},
    )


if __name__ == "__main__":
    sys.exit(program.run(_build))
