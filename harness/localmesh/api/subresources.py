"""What hangs below an object: a Deployment's scale, the way into a pod."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote

from harness.localmesh.api.messages import Request, Response
from harness.localmesh.api.options import Deleting, deleting
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


def evicting(eviction: Manifest, name: str, dry_run: bool) -> Deleting:
    """How to delete the pod of that name that `eviction` is about.

    Raises:
        Refused: 400 when it is no Eviction, is about another pod, or its deleteOptions are malformed.
    """
    if eviction.get("kind", "Eviction") != "Eviction":
        raise bad_request(f"the body is a {eviction['kind']}, not an Eviction")
    if unknown := sorted(eviction.keys() - {"apiVersion", "kind", "metadata", "deleteOptions"}):
        raise bad_request(f'Eviction in version "v1": strict decoding error: unknown field "{unknown[0]}"')
    if eviction["metadata"].get("name", name) != name:
        raise bad_request("name in URL does not match name in Eviction object")
    options = eviction.get("deleteOptions")
    if options is not None and not isinstance(options, dict):
        raise bad_request("deleteOptions: not an object")
    how = deleting({}, options)
    return replace(how, dry_run=how.dry_run or dry_run)


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
