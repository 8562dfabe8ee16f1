"""stress-ng in a pod: workers that use up processor time, workers that hold memory, for a while.

Takes the arguments of the real program that the harness gives it. There is no control group around a pod here, so what
it takes it takes from the whole machine; it runs at the lowest priority, so that nothing else starves.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_MOST_BYTES = 2**30  # in all; the machine of a test has no more to spare
_MOST_WORKERS = 16
_SLICE = 0.05  # seconds in which a processor is busy for its share
_LOOK = 0.2  # seconds between two looks for the end


@dataclass(frozen=True)
class Plan:
    """`cpu` workers busy for `load` percent of the time, `vm` workers that hold `size` bytes each, for `seconds`."""

    cpu: int = 0
    load: float = 100.0
    vm: int = 0
    size: int = 0
    seconds: float = 0.0


def flags(asked: Sequence[str]) -> Plan:
    """What the arguments ask for.

    Raises:
        ValueError: an argument is not one of those it knows, or asks for too much.
    """
    given: dict[str, str] = {}
    words = [word for word in asked if word != "--vm-keep"]
    for name, value in zip(words[::2], words[1::2], strict=False):
        given[name] = value
    unknown = sorted(given.keys() - {"--cpu", "--cpu-load", "--vm", "--vm-bytes", "--timeout"})
    if unknown or len(words) % 2 or "--timeout" not in given:
        raise ValueError("it takes --cpu, --cpu-load, --vm, --vm-bytes, --vm-keep and always --timeout")
    plan = Plan(
        _number(given, "--cpu"),
        float(_number(given, "--cpu-load", 100)),
        _number(given, "--vm"),
        _amount(given.get("--vm-bytes", "0")),
        float(_number({"--timeout": given["--timeout"].removesuffix("s")}, "--timeout")),
    )
    if plan.cpu + plan.vm > _MOST_WORKERS or plan.vm * plan.size > _MOST_BYTES or plan.load > 100:
        raise ValueError(f"it has at most {_MOST_WORKERS} workers and {_MOST_BYTES} bytes")
    return plan


def _number(given: dict[str, str], name: str, default: int = 0) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name} takes a number")
    return int(text)


def _amount(text: str) -> int:
    found = re.fullmatch(r"(\d+)([kmg]?)", text.lower(), re.ASCII)
    if not found:
        raise ValueError("--vm-bytes takes a number of bytes, which may end with K, M or G")
    return int(found[1]) * _UNITS[found[2]]


def _burn(load: float, until: float, parent: int) -> None:
    """Is busy for `load` percent of each slice, for as long as its parent lives."""
    while (now := time.monotonic()) < until and os.getppid() == parent:
        while time.monotonic() < now + _SLICE * load / 100:
            pass
        if load < 100:
            time.sleep(_SLICE * (1 - load / 100))


def _hold(size: int, until: float, parent: int) -> None:
    """Holds memory that is really there: every page is written to."""
    held = bytearray(size)
    held[::4096] = b"\x01" * len(range(0, size, 4096))
    while time.monotonic() < until and os.getppid() == parent:
        time.sleep(_LOOK)


def main(plan: Plan) -> int:
    """Starts the workers and waits for them; SIGTERM ends them all."""
    os.nice(19)
    parent, until = os.getpid(), time.monotonic() + plan.seconds
    workers = []
    for number in range(plan.cpu + plan.vm):
        if (pid := os.fork()) == 0:
            if number < plan.cpu:
                _burn(plan.load, until, parent)
            else:
                _hold(plan.size, until, parent)
            os._exit(0)
        workers.append(pid)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the workers see that their parent is gone
    for pid in workers:
        os.waitpid(pid, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(flags(sys.argv[1:])))
