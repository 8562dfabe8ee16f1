"""Starts stand-ins as the pod runner does: real processes on loopback addresses of their own."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 15.0


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Return once `condition` holds; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE} s"
        time.sleep(0.005)


def free_address() -> tuple[str, int]:
    """A loopback address and a port that nobody listens on."""
    host = f"127.{random.randint(64, 127)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return host, probe.getsockname()[1]


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()


@dataclass(frozen=True)
class Program:
    """A running stand-in."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    log: Path

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def connect(self) -> socket.socket:
        """A plain connection to it."""
        return socket.create_connection(self.address, timeout=DEADLINE)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m harness.localmesh.standins.MODULE ARGUMENTS` with a pod's environment, and ends it afterwards.

    The variables given by name come on top; `ready=False` does not wait until it listens.
    """
    processes: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str, ready: bool = True, **variables: str) -> Program:
        address = free_address()
        pod = {
            "POD_NAME": "pod-1",
            "POD_NAMESPACE": "default",
            "SERVICE_NAME": "web",
            "SERVICE_VERSION": "v1",
        }
        where = {"LISTEN_HOST": address[0], "PORTS": str(address[1]), "HTTP_PROXY": ""}
        environment = {**os.environ, **pod, **where, **variables}
        log = tmp_path / f"{len(processes)}.log"
        command = [sys.executable, "-P", "-m", f"harness.localmesh.standins.{module}", *arguments]
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, env=environment, stderr=stderr)
        processes.append(process)
        program = Program(process, address, log)
        if ready:
            up = f"{module} listens: {log.read_text()}"
            wait_until(lambda: _accepts(address) or process.poll() is not None, up)
        return program

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def free() -> Callable[[], tuple[str, int]]:
    """Finds addresses that nobody listens on."""
    return free_address


@pytest.fixture
def until() -> Callable[[Callable[[], Any], str], None]:
    """Waits for a condition with a deadline."""
    return wait_until
