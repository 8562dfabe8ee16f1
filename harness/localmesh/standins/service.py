"""A service that behaves as the annotations `standin.harness.local/*` of its pod and a request's query say.

==============  =================================================================================  =======
annotation      meaning                                                                            default
==============  =================================================================================  =======
latency         time before an answer: "5ms", or "2ms..8ms" drawn evenly                           0s
seed            with the pod's name, seeds what is drawn (latency, errors)
status          status of an answer that succeeds                                                  200
error-percent   share of requests, 0-100, answered with `error-status` instead                     0
error-status    that status                                                                        503
calls           http URLs to get in turn for every request, separated by commas or newlines. One
                written as "/path URL" is for requests below that path: they make the calls of
                the longest path that fits, and those without a path only if there is none
timeout         time each call may take                                                            10s
fallback        "true", or those URLs among `calls` that may fail: the answer then succeeds and    false
                has `"fallback": true`. The failure of any other call is answered 503
body-size       least size of an answer's body in bytes                                            0
exit            exit at once, with this code
==============  =================================================================================  =======

A call fails when no answer comes or its status is 500 or more. The query works as that of fortio's echo
server: `?status=503:20,404:5` answers 503 to 20 % and 404 to 5 % of the requests (no percentage means all),
`&delay=100ms:10` waits before 10 % of the answers, 10 s at most.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs

from harness.localmesh.standins import program, settings
from harness.localmesh.standins.client import CallError, Client, address_of, forwarded
from harness.localmesh.standins.http import Handler, Request, Response
from harness.localmesh.standins.settings import Pod, Settings

T = TypeVar("T")

MAX_DELAY = 10.0
"""Seconds a request may ask to wait; more is cut to this."""

_KNOWN = frozenset(
    "latency seed status error-percent error-status calls timeout fallback body-size exit".split()  # noqa: SIM905
)
_status = settings.integer(200, 599)


@dataclass(frozen=True)
class Call:
    """A URL to get for requests at or below `path`."""

    path: str
    url: str


@dataclass(frozen=True)
class Behaviour:
    """The settings of one service, parsed; times in seconds."""

    latency: tuple[float, float] = (0.0, 0.0)
    seed: str = ""
    status: int = 200
    error_percent: float = 0.0
    error_status: int = 503
    calls: tuple[Call, ...] = ()
    may_fail: frozenset[str] = frozenset()
    timeout: float = 10.0
    body_size: int = 0
    exit: int | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Behaviour:
        """The behaviour that the variables STANDIN_* ask for.

        Raises:
            settings.SettingError: one is unknown or has a value that it cannot have.
        """
        given = Settings(environ, _KNOWN)
        calls = given.get("calls", _calls, cls.calls)

        def exit_code(text: str) -> int | None:
            return settings.integer(0, 255)(text)

        return cls(
            latency=given.get("latency", settings.timespan, cls.latency),
            seed=given.get("seed", str, cls.seed),
            status=given.get("status", _status, cls.status),
            error_percent=given.get("error-percent", settings.percentage, cls.error_percent),
            error_status=given.get("error-status", _status, cls.error_status),
            calls=calls,
            may_fail=given.get("fallback", lambda text: _may_fail(text, calls), cls.may_fail),
            timeout=given.get("timeout", _positive, cls.timeout),
            body_size=given.get("body-size", settings.integer(0, 16 * 1024 * 1024), cls.body_size),
            exit=given.get("exit", exit_code, cls.exit),
        )

    def urls(self, path: str) -> tuple[str, ...]:
        """What to get for a request of `path`."""
        fitting = [call for call in self.calls if f"{path}/".startswith(f"{call.path.rstrip('/')}/")]
        longest = max((len(call.path) for call in fitting), default=0)
        return tuple(call.url for call in fitting if len(call.path) == longest)


def _calls(text: str) -> tuple[Call, ...]:
    calls = []
    for part in _parts(text):
        path, _, url = part.rpartition(" ")
        if path and not path.startswith("/"):
            raise ValueError(f"{part!r} is neither a URL nor a path and a URL")
        address_of(url)
        calls.append(Call(path.strip() or "/", url))
    return tuple(calls)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _may_fail(text: str, calls: tuple[Call, ...]) -> frozenset[str]:
    called = {call.url for call in calls}
    if text in ("true", "false"):
        return frozenset(called if text == "true" else ())
    urls = frozenset(_parts(text))
    if unknown := urls - called:
        raise ValueError(f"{min(unknown)} is not among the calls")
    return urls


def _positive(text: str) -> float:
    seconds = settings.duration(text)
    if seconds <= 0:
        raise ValueError("give a duration longer than 0")
    return seconds


def weighted(text: str, parse: Callable[[str], T]) -> tuple[tuple[T, float], ...]:
    """The pairs of value and percentage in "503:20,404:5"; without a percentage it is 100.

    Raises:
        ValueError: a value does not parse, or the percentages exceed 100 together.
    """
    pairs = []
    for part in text.split(","):
        value, colon, percent = part.partition(":")
        pairs.append((parse(value), settings.percentage(percent) if colon else 100.0))
    if sum(percent for _, percent in pairs) > 100:
        raise ValueError("the percentages exceed 100")
    return tuple(pairs)


class Service:
    """Answers requests as `behaviour` says."""

    def __init__(self, pod: Pod, behaviour: Behaviour) -> None:
        self._pod = pod
        self._behaviour = behaviour
        self._client = Client(pod.proxy)
        self._random = random.Random(f"{pod.name}/{behaviour.seed}")

    async def answer(self, request: Request) -> Response:
        """The answer to one request, after its latency and its calls."""
        try:
            query = parse_qs(request.query, keep_blank_values=True) if request.query else {}
            status = self._status(query)
            delay = self._delay(query)
        except ValueError as error:
            return Response.json({"error": f"the query {request.query!r} is not valid: {error}"}, 400)
        if delay > 0:
            await asyncio.sleep(delay)
        calls = [await self._call(url, request) for url in self._behaviour.urls(request.path)]
        failed = {call["url"] for call in calls if not _succeeded(call)}
        broken = bool(failed - self._behaviour.may_fail)
        body = self._body(request.path, calls, fallback=bool(failed) and not broken)
        return Response(503 if broken else status, body, {"content-type": "application/json"})

    def _status(self, query: Mapping[str, list[str]]) -> int:
        if "status" in query:
            return self._draw(weighted(query["status"][-1], _status), self._behaviour.status)
        behaviour = self._behaviour
        return self._draw(((behaviour.error_status, behaviour.error_percent),), behaviour.status)

    def _delay(self, query: Mapping[str, list[str]]) -> float:
        asked = 0.0
        if "delay" in query:
            asked = min(MAX_DELAY, self._draw(weighted(query["delay"][-1], settings.duration), 0.0))
        return asked + self._random.uniform(*self._behaviour.latency)

    def _draw(self, pairs: tuple[tuple[T, float], ...], default: T) -> T:
        point = self._random.random() * 100
        for value, percent in pairs:
            if point < percent:
                return value
            point -= percent
        return default

    async def _call(self, url: str, request: Request) -> dict[str, Any]:
        try:
            response = await self._client.get(
                url, headers=forwarded(request), timeout=self._behaviour.timeout
            )
        except CallError as error:
            return {"url": url, "status": None, "error": str(error)}
        return {"url": url, "status": response.status}

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


def _succeeded(call: Mapping[str, Any]) -> bool:
    return call["status"] is not None and call["status"] < 500


def _build(pod: Pod, environ: Mapping[str, str]) -> Handler:
    behaviour = Behaviour.of(environ)
    if behaviour.exit is not None:
        print(f"stand-in: exits with {behaviour.exit}, as the annotation exit asks", file=sys.stderr)  # noqa: T201
        raise SystemExit(behaviour.exit)
    return Service(pod, behaviour).answer


if __name__ == "__main__":
    sys.exit(program.run(_build))
