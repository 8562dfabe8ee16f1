"""A workload that only waits for SIGTERM, as a pod of curl does; on the ports it declares it answers 404."""

from __future__ import annotations

import os
import signal
import sys


def _wait() -> int:
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    print("stand-in waits for SIGTERM", file=sys.stderr, flush=True)  # noqa: T201  # a container's log
    signal.sigwait(stop)
    return 0


def _serve() -> int:
    # Imported here only: without ports this program needs no event loop, and half the memory.
    from harness.localmesh.standins import program  # noqa: PLC0415
    from harness.localmesh.standins.http import Request, Response  # noqa: PLC0415

    async def answer(request: Request) -> Response:
        return Response.text("this workload only waits\n", 404)

    return program.run(lambda pod, environ: answer)


if __name__ == "__main__":
    sys.exit(_serve() if os.environ.get("PORTS", "").strip() else _wait())
