"""What Istio's webhook holds against a Gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.localmesh.kinds.istio.gateway import Gateway
from harness.localmesh.kinds.istio.values import Problem, host_problems, repeated

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
