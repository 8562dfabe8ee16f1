"""`python -m harness.localmesh DIRECTORY MANIFEST...`: a mesh in this process.

It says what it does, a line each, then "READY " and its addresses as JSON; from there on it logs to mesh.log in its
folder and runs until SIGTERM or SIGINT. When it cannot come up, a last line says why and its exit code is 2.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.localmesh.errors import MeshError
from harness.localmesh.launch import FAILED, READY, Addresses, claimed
from harness.localmesh.mesh import LocalMesh


def serve(
    directory: Path,
    manifests: Sequence[Path],
    announce: Callable[[str], None],
    ready: Callable[[Addresses], None],
) -> None:
    """Brings a mesh up in this process, calls `ready`, and runs it until SIGTERM, SIGINT or SIGHUP.

    Raises:
        MeshError: it does not come up; nothing is left of it.
    """
    # The API's and the xDS server's threads wait for the control loop; Python's 5 ms add up to what a change takes.
    sys.setswitchinterval(0.0005)
    # Nearly nothing here is in a cycle, and a search for cycles among all objects stops everything for 0.2 s.
    gc.set_threshold(50_000, 50, 50)
    with claimed(directory) as publish:
        logging.basicConfig(filename=directory / "mesh.log", level=logging.INFO, force=True)
        mesh = LocalMesh(directory, announce)
        old = {number: signal.signal(number, lambda *_: mesh.stop()) for number in _ENDING}
        try:
            addresses = mesh.up(manifests)
            gc.freeze()
            publish(addresses)
            ready(addresses)
            mesh.run()
        finally:
            mesh.down()
            for number, action in old.items():
                signal.signal(number, action)


_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> int:
    """The command; returns the exit code."""
    directory, *manifests = map(Path, sys.argv[1:])

    def announce(text: str) -> None:
        print(text, flush=True)  # noqa: T201

    def ready(addresses: Addresses) -> None:
        announce(READY + addresses.to_json())
        # Whoever started the mesh stops reading here.
        log = os.open(directory / "mesh.log", os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    try:
        serve(directory, manifests, announce, ready)
    except MeshError as error:
        announce(f"{FAILED}{error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
