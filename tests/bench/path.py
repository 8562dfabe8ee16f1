"""What two sidecars add to a request: a client through both, and the same client straight to the program."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

from tests.bench.figures import Figures, p99
from tests.bench.machine import Sidecar

RATE = 500.0
_BLOCK = 250


def measure(figures: Figures, caller: Sidecar, callee: Sidecar, authority: str, *, blocks: int) -> None:
    """Adds what the path through `caller`'s sidecar and that of whoever serves `authority` adds, at 500 requests/s.

    Blocks of half a second of the one and of the other take turns, so that both meet the same machine. `callee` is
    one of the pods that serve `authority`.
    """
    sidecar = _requests(caller.ip, 15001, f"http://{authority}/", authority)
    straight = _requests(callee.program, 8080, "/", authority)
    through: list[float] = []
    direct: list[float] = []
    _block(sidecar)  # connections and routes are made
    _block(straight)
    for _ in range(blocks):
        through += _block(sidecar)
        direct += _block(straight)
    figures.add("a request straight to the program, 500/s", direct, None, "ms", at="p99")
    figures.add("a request through two sidecars, 500/s", through, None, "ms", at="p99")
    figures.add("two sidecars add at p99, 500/s", [p99(through) - p99(direct)], 1.0, "ms")


def _block(request: Callable[[], None]) -> list[float]:
    """Milliseconds that each of the requests of one block took."""
    taken = []
    due = time.perf_counter()
    for _ in range(_BLOCK):
        due += 1 / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        begun = time.perf_counter()
        request()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _requests(host: str, port: int, target: str, authority: str) -> Callable[[], None]:
    connection = http.client.HTTPConnection(host, port, timeout=5)

    def request() -> None:
        connection.request("GET", target, headers={"Host": authority})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise AssertionError(f"{host}:{port} answered {answer.status}")

    return request
