"""What hangs below an object: a Deployment's scale, a pod's log, the way into a pod."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any, Protocol, cast
from urllib.parse import quote

from harness.localmesh.api.messages import Request, Response
from harness.localmesh.api.status import bad_request
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest, invalid

_TIMEOUT = 30.0
_SAFE = "/:@!$&'()*+,;=~"
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# Our bearer token is not the pod's business, and the body is sent with a length of its own.
_NOT_FORWARDED = _HOP_BY_HOP | {"authorization", "content-length", "host"}


class PodAccess(Protocol):
    """What the API server needs of whoever runs the pods."""

    def logs(self, namespace: str, name: str, container: str) -> bytes:
        """Everything the container has written so far."""


def scale_of(manifest: Manifest) -> Manifest:
    """The `Scale` of a Deployment or ReplicaSet."""
    metadata = manifest["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = manifest["spec"]["selector"].get("matchLabels", {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept},
        "spec": {"replicas": manifest["spec"].get("replicas", 1)},
        "status": {
            "replicas": manifest.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }


def scaled(manifest: Manifest, scale: Manifest) -> Manifest:
    """`manifest` with the number of replicas that `scale` asks for.

    Raises:
        Refused: 422 when that is no number.
    """
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise invalid(
            scale, "spec.replicas", f"Invalid value: {replicas!r}: must be greater than or equal to 0"
        )
    revision = (scale.get("metadata") or {}).get("resourceVersion")
    metadata = {
        **manifest["metadata"],
        "resourceVersion": revision or manifest["metadata"]["resourceVersion"],
    }
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], "replicas": replicas}}


def container_of(pod: Manifest, name: str) -> str:
    """The container meant by `name`; "" is the only one, or the one the pod's annotation names.

    Raises:
        Refused: 400 when it is not one of the pod's.
    """
    names = [container["name"] for container in pod["spec"]["containers"]]
    pod_name = pod["metadata"]["name"]
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    name = name or default or (names[0] if len(names) == 1 else "")
    if not name:
        listed = " ".join(names)
        raise bad_request(f"a container name must be specified for pod {pod_name}, choose one of: [{listed}]")
    if name not in names:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")
    return name


def last_lines(log: bytes, count: int | None, limit: int | None) -> bytes:
    """The last `count` lines of `log`, of those the first `limit` bytes; None is all."""
    if count is not None:
        log = b"".join(log.splitlines(keepends=True)[-count:]) if count else b""
    return log if limit is None else log[:limit]


def proxied_name(name: str) -> tuple[str, str]:
    """The pod and the port in the name of a proxy request: `pod`, `pod:port` or `http:pod:port`.

    Raises:
        Refused: 400 for another scheme.
    """
    parts = name.split(":")
    if len(parts) == 1:
        return name, ""
    if len(parts) == 2:
        return parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("", "http"):
        return parts[1], parts[2]
    raise bad_request(f"invalid pod request {name!r}: the local mesh proxies plain HTTP to pod:port only")


def proxy(pod: Manifest, port: str, path: str, request: Request) -> Response:
    """What the pod answers to `request` on that port (a number, a port's name, or "" for its first), passed through.

    Raises:
        Refused: 503 with the cause in the words of the real API server when the pod cannot be reached or
            hangs up, 400 when it has no such port.
    """
    if request.headers.get("Upgrade"):
        raise bad_request("the local mesh does not proxy connection upgrades")
    address = pod.get("status", {}).get("podIP")
    if not address:
        raise _unreachable("the pod has no address yet")
    connection = http.client.HTTPConnection(address, _port(pod, port), timeout=_TIMEOUT)
    try:
        _attempt(connection, connection.connect)
        return cast(Response, _attempt(connection, lambda: _exchange(connection, path, request)))
    finally:
        connection.close()


def _exchange(connection: http.client.HTTPConnection, path: str, request: Request) -> Response:
    # As the real API server does: clients encode the slashes of the path too.
    target = quote(path, safe=_SAFE) + (f"?{request.query_text}" if request.query_text else "")
    connection.putrequest(request.method, target, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name.lower() not in _NOT_FORWARDED:
            connection.putheader(name, value)
    if request.body:
        connection.putheader("Content-Length", str(len(request.body)))
    connection.endheaders(request.body or None)
    answer = connection.getresponse()
    skipped = _HOP_BY_HOP | {"content-length", "content-type"}
    headers = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in skipped)
    return Response(answer.status, answer.read(), answer.getheader("Content-Type") or "", headers)


def _attempt(connection: http.client.HTTPConnection, action: Callable[[], Any]) -> Any:
    """`action`, its failures told as Go's net package tells them."""
    peer = f"{connection.host}:{connection.port}"
    ours = _own_address(connection)
    try:
        return action()
    except (http.client.RemoteDisconnected, http.client.IncompleteRead):
        raise _unreachable("EOF") from None
    except http.client.HTTPException as error:
        raise _unreachable(f"malformed HTTP response {str(error)!r}") from None
    except ConnectionResetError:
        raise _unreachable(f"read tcp {ours}->{peer}: read: connection reset by peer") from None
    except BrokenPipeError:
        raise _unreachable(f"write tcp {ours}->{peer}: write: broken pipe") from None
    except TimeoutError:
        what = f"read tcp {ours}->{peer}: i/o timeout" if ours else f"dial tcp {peer}: i/o timeout"
        raise _unreachable(what) from None
    except OSError as error:
        raise _unreachable(f"dial tcp {peer}: connect: {(error.strerror or str(error)).lower()}") from None


def _own_address(connection: http.client.HTTPConnection) -> str:
    if connection.sock is None:
        return ""
    host, port = connection.sock.getsockname()[:2]
    return f"{host}:{port}"


def _unreachable(why: str) -> Refused:
    return Refused(503, "ServiceUnavailable", f"error trying to reach service: {why}")


def _port(pod: Manifest, port: str) -> int:
    ports = [item for container in pod["spec"]["containers"] for item in container.get("ports") or ()]
    if not port:
        return int(ports[0]["containerPort"]) if ports else 80
    if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return int(port)
    for item in ports:
        if item.get("name") == port:
            return int(item["containerPort"])
    raise bad_request(f'pod "{pod["metadata"]["name"]}" has no port {port!r}')
