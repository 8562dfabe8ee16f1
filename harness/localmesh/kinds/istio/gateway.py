"""Gateway: the ports at which a gateway workload lets requests into the mesh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import field

from harness.localmesh.kinds.istio.values import Labels, Port, Problem, host_problems, repeated
from harness.localmesh.kinds.parse import Kind


class ServerPort(Kind):
    """A port of the gateway; the local mesh has plain HTTP at its edge only."""

    number: Port
    name: str
    protocol: Literal["HTTP"]


class Server(Kind):
    """A port and the hosts it serves: "host", "namespace/host" or "./host" (the Gateway's own namespace)."""

    port: ServerPort
    hosts: tuple[str, ...]
    name: str = ""


class Gateway(Kind):
    """The spec of a Gateway; `selector` picks gateway workloads in any namespace."""

    selector: Labels = field(default_factory=dict)
    servers: tuple[Server, ...] = ()


_NAMESPACE = re.compile(r"(?:[*.]|[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)")


def problems(spec: Gateway) -> Iterator[Problem]:
    """What Istio's webhook holds against `spec`."""
    if not spec.servers:
        yield "servers", "a gateway must have at least one server"
    if twice := repeated([server.port.name for server in spec.servers]):
        yield "servers", f"port names in servers must be unique, and {twice!r} stands there twice"
    for index, server in enumerate(spec.servers):
        if not server.port.name:
            yield f"servers[{index}].port.name", "must not be empty"
        if not server.hosts:
            yield f"servers[{index}].hosts", "a server must have at least one host"
        for place, host in enumerate(server.hosts):
            field = f"servers[{index}].hosts[{place}]"
            namespace, slash, name = host.rpartition("/")
            if slash and not _NAMESPACE.fullmatch(namespace):
                yield field, f"{namespace!r} is no namespace"
            yield from host_problems(field, name)
