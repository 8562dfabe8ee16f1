"""The ports at which workloads reach TCP Services.

In a cluster a program connects to the Service's address and its sidecar catches the connection. Here nothing is
caught, and an address of a Service can be bound by one sidecar only; so every sidecar listens on its own
address, for each TCP port of each Service at a port that is given to it. It is the same one in all pods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from harness.localmesh.xds.model import Service

_FIRST, _COUNT = 20_000, 12_000


def given_ports(services: Iterable[Service]) -> dict[tuple[str, int], int]:
    """The port given to each (host, port) that is no HTTP; the order of `services` does not matter.

    A hash of both chooses it; of two that want the same port the older Service gets it, the younger one the
    next that is free. It is below 32768, where Linux begins to hand out ports to clients.
    """
    given: dict[tuple[str, int], int] = {}
    taken: set[int] = set()
    for service in sorted(services, key=lambda item: (item.created, item.host, item.namespace)):
        for port in service.ports:
            place = (service.host, port.number)
            if port.is_http or place in given or len(taken) == _COUNT:
                continue
            number = _wanted(*place)
            while number in taken:
                number = _FIRST + (number + 1 - _FIRST) % _COUNT
            taken.add(number)
            given[place] = number
    return given


def _wanted(host: str, port: int) -> int:
    digest = hashlib.sha256(f"{host}:{port}".encode()).digest()
    return _FIRST + int.from_bytes(digest[:4], "big") % _COUNT
