"""Istio's helloworld sample, `... standins.helloworld VERSION`: GET /hello answers its version and pod."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from harness.localmesh.standins import program
from harness.localmesh.standins.http import Handler, Request, Response
from harness.localmesh.standins.settings import Pod, Settings


def _build(pod: Pod, environ: Mapping[str, str]) -> Handler:
    Settings(environ)
    version = sys.argv[1] if len(sys.argv) > 1 else pod.version

    async def answer(request: Request) -> Response:
        if request.path == "/hello":
            return Response.text(f"Hello version: {version}, instance: {pod.name}\n")
        if request.path == "/health":
            return Response.text("Helloworld is healthy")
        return Response.text(f"there is nothing at {request.path}\n", 404)

    return answer


if __name__ == "__main__":
    sys.exit(program.run(_build, (5000,)))
