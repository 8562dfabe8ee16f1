"""Istio's health-check sample: /foo and /bar on 8001 and 8002 say which port and path they are.

As in istio/istio, samples/health-check/server.go.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from harness.localmesh.standins import program
from harness.localmesh.standins.http import Handler, Request, Response
from harness.localmesh.standins.settings import Pod, Settings


async def answer(request: Request) -> Response:
    """What is at the path."""
    name = request.path.removeprefix("/")
    if name in ("foo", "bar"):
        return Response.text(f"Listening on {request.port}: {name} ")
    return Response.text("404 page not found\n", 404)


def _build(pod: Pod, environ: Mapping[str, str]) -> Handler:
    Settings(environ)
    return answer


if __name__ == "__main__":
    sys.exit(program.run(_build, (8001, 8002)))
