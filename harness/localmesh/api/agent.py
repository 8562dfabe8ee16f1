"""The port at which istio-agent tells how the certificate of its sidecar stands, as `pods/proxy` reaches it.

On a cluster the agent answers there with Envoy's and the program's metrics besides its own (istio/istio
`pilot/cmd/pilot-agent/status/server.go`). Here it is the mesh itself that gives sidecars their certificates, so it
answers for the agent, with the one metric of the agent that is about them; Envoy's are at its own port, 15090.
"""

from __future__ import annotations

import time

from harness.localmesh.admission import PROXY
from harness.localmesh.api.messages import Request, Response
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest

PORT = "15020"
_METRICS = "/stats/prometheus"
_EXPIRY = "istio_agent_cert_expiry_seconds"  # istio/istio `security/pkg/nodeagent/cache/monitoring.go`
_HELP = (
    "The time remaining, in seconds, before the certificate chain will expire. "
    "A negative value indicates the cert is expired."
)


def answers(pod: Manifest, port: str) -> bool:
    """Whether the agent of a sidecar is behind that port of the pod."""
    return port == PORT and any(container["name"] == PROXY for container in pod["spec"]["containers"])


def answer(request: Request, path: str, expires_at: float | None) -> Response:
    """What the agent says; `expires_at` is when its sidecar's certificate expires (Unix seconds), None for none.

    Raises:
        Refused: 404 for a path and 405 for a method that the mesh's agents do not know.
    """
    if path != _METRICS:
        raise Refused(404, "NotFound", f"the agents of the local mesh answer {_METRICS} only, not {path}")
    if request.method != "GET":
        raise Refused(
            405, "MethodNotAllowed", f"the agents of the local mesh are asked by GET, not {request.method}"
        )
    lines = [f"# HELP {_EXPIRY} {_HELP}", f"# TYPE {_EXPIRY} gauge"]
    if expires_at is not None:
        lines.append(f'{_EXPIRY}{{resource_name="default"}} {expires_at - time.time():g}')
    return Response(200, "\n".join((*lines, "")).encode(), "text/plain; version=0.0.4; charset=utf-8")
