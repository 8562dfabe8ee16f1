"""Istio's agent as an ephemeral container runs it: `pilot-agent request POST PATH`, which asks the pod's own Envoy.

The real one asks localhost:15000 of the pod (istio/istio `pilot/cmd/pilot-agent/app/request.go`); here Envoy's admin
interface is a unix socket, which HARNESS_PROXY_ADMIN names.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Sequence

_WITHIN = 10.0  # seconds
_TAKEN = ("request", "POST", "quitquitquit")


def flags(asked: Sequence[str]) -> tuple[str, ...]:
    """The arguments, if the stand-in can do what they ask.

    Raises:
        ValueError: it cannot; says what it can.
    """
    if (*asked[:2], *(path.lstrip("/") for path in asked[2:])) != _TAKEN:
        raise ValueError(f"it takes args: {list(_TAKEN)}")
    return tuple(asked)


def main(path: str, admin: str) -> int:
    """Sends the request; gives the exit code: 1 when Envoy is not there or refuses."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_WITHIN)
            link.connect(admin)
            connection = http.client.HTTPConnection("localhost")
            connection.sock = link
            connection.request("POST", f"/{path.lstrip('/')}")
            answer = connection.getresponse()
            print(answer.read().decode(errors="replace"), end="")  # noqa: T201  # a container's log
            return int(answer.status > 399)
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  # as above
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[3], os.environ["HARNESS_PROXY_ADMIN"]))
