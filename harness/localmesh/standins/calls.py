"""The calls a service makes for every request: HTTP and gRPC through its sidecar as a proxy, TCP by address."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from harness.localmesh.standins import grpc, tcp
from harness.localmesh.standins.client import CallError, Client, address_of, forwarded
from harness.localmesh.standins.http import Request
from harness.localmesh.standins.settings import Pod


@dataclass(frozen=True)
class Call:
    """A URL to ask for requests at or below `path`: http://, grpc:// (a unary call) or tcp:// (a line each way)."""

    path: str
    url: str

    @property
    def scheme(self) -> str:
        """The URL's scheme."""
        return self.url.partition("://")[0]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return address_of("http" + self.url.removeprefix(self.scheme))

    @property
    def method(self) -> str:
        """What a call of gRPC asks for: the URL's path, Istio's Echo where there is none."""
        path = self.url.partition("://")[2].partition("/")[2]
        return f"/{path}" if path else grpc.ECHO


def calls(text: str) -> tuple[Call, ...]:
    """The calls that a text such as "http://a:80/x, /path tcp://b:9000" names; ValueError for anything else."""
    found = []
    for part in parts(text):
        path, _, url = part.rpartition(" ")
        if path and not path.startswith("/"):
            raise ValueError(f"{part!r} is neither a URL nor a path and a URL")
        call = Call(path.strip() or "/", url)
        if call.scheme not in ("http", "grpc", "tcp"):
            raise ValueError(f"{url!r} is not of the form http://, grpc:// or tcp://host[:port]")
        _check(call)
        found.append(call)
    return tuple(found)


def _check(call: Call) -> None:
    try:
        address_of("http" + call.url.removeprefix(call.scheme))
    except ValueError:
        raise ValueError(f"{call.url!r} is not of the form {call.scheme}://host[:port]/path") from None
    path = call.url.partition("://")[2].partition("/")[2]
    if call.scheme != "http" and ":" not in call.url.partition("://")[2]:
        raise ValueError(f"{call.url!r} has no port, which {call.scheme} needs")
    if call.scheme == "tcp" and path:
        raise ValueError(f"{call.url!r} has a path, which TCP does not know")


def parts(text: str) -> list[str]:
    """What commas and newlines separate."""
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


class Caller:
    """Makes calls for one pod.

    Args:
        pod: its proxy, and its namespace, which completes names.
        addresses: the file of TCP addresses, see `tcp.resolve`.
        timeout: seconds each call may take.
        propagate: headers passed on besides those of tracing.
        withhold: headers not passed on.
    """

    def __init__(
        self,
        pod: Pod,
        *,
        addresses: str,
        timeout: float,
        propagate: Collection[str],
        withhold: Collection[str],
    ) -> None:
        self._pod = pod
        self._addresses = addresses
        self._timeout = timeout
        self._propagate = propagate
        self._withhold = withhold
        self._http = Client(pod.proxy)
        self._grpc: grpc.Client | None = None

    async def make(
        self, calls: Collection[Call], request: Request, *, parallel: bool
    ) -> list[dict[str, Any]]:
        """What came of each call, in their order: one that failed has `error`, the others what was answered."""
        if parallel:
            return list(await asyncio.gather(*(self._make(call, request) for call in calls)))
        return [await self._make(call, request) for call in calls]

    async def _make(self, call: Call, request: Request) -> dict[str, Any]:
        ways = {"http": self._over_http, "grpc": self._over_grpc, "tcp": self._over_tcp}
        try:
            return {"url": call.url, **await ways[call.scheme](call, request)}
        except CallError as error:
            return {"url": call.url, "status": None, "error": str(error)}

    async def _over_http(self, call: Call, request: Request) -> Mapping[str, Any]:
        headers = forwarded(request, self._propagate, self._withhold)
        return {"status": (await self._http.get(call.url, headers=headers, timeout=self._timeout)).status}

    async def _over_grpc(self, call: Call, request: Request) -> Mapping[str, Any]:
        if self._grpc is None:
            self._grpc = grpc.Client(address_of(self._pod.proxy) if self._pod.proxy else None)
        headers = forwarded(request, self._propagate, self._withhold)
        answer = await self._grpc.call(
            call.address, call.method, self._pod.name, headers=headers, timeout=self._timeout
        )
        said = answer.headers.get("grpc-message")
        return {"status": grpc.outcome(answer)} | ({"message": said} if said else {})

    async def _over_tcp(self, call: Call, request: Request) -> Mapping[str, Any]:
        address = tcp.resolve(*call.address, namespace=self._pod.namespace, file=self._addresses)
        answer = await tcp.ask(address, self._pod.name.encode(), timeout=self._timeout)
        return {"status": "answered", "answer": answer.decode("utf-8", "replace")}


def succeeded(outcome: Mapping[str, Any]) -> bool:
    """Whether a call was answered: over HTTP with a status below 500, over gRPC with OK."""
    if str(outcome["url"]).startswith("grpc:"):
        return bool(outcome["status"] == grpc.OK)
    status = outcome["status"]
    return status is not None and (not isinstance(status, int) or status < 500)
