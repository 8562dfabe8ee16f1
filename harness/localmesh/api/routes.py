"""From a path to the resource, object and subresource it means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from harness.localmesh.api.absent import ABSENT
from harness.localmesh.api.resources import Resource, by_path
from harness.localmesh.api.reviews import REVIEWS
from harness.localmesh.api.status import forbidden, no_such_path


@dataclass(frozen=True)
class Route:
    """What a path means; an empty `namespace` is all of them, an empty `name` the collection.

    `rest` is what follows `/proxy`, with its slash.
    """

    resource: Resource
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def route(path: str) -> Route:
    """The meaning of a path under `/api/` or `/apis/`.

    Raises:
        Refused: 404 when it means nothing.
    """
    root, *parts = path.removeprefix("/").split("/")
    if root == "api" and parts:
        return _route("", parts[0], parts[1:])
    if root == "apis" and len(parts) > 1:
        return _route(parts[0], parts[1], parts[2:])
    raise no_such_path()


def _route(group: str, version: str, parts: list[str]) -> Route:
    namespace = ""
    if parts[:1] == ["namespaces"] and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        namespace, parts = unquote(parts[1]), parts[2:]
    plural, name, subresource = [*parts, "", "", ""][:3]
    resource = by_path(group, version, plural) or _NOT_STORED.get((group, version, plural))
    if resource is None or (namespace and not resource.namespaced):
        raise no_such_path()
    if name and resource.namespaced and not namespace:
        raise no_such_path()
    if subresource and subresource not in resource.subresources:
        if why := _NOT_SERVED.get((plural, subresource)):
            raise forbidden(resource, unquote(name), why)
        raise no_such_path()
    rest = parts[3:]
    if rest and subresource != "proxy":
        raise no_such_path()
    tail = unquote("/" + "/".join(rest)) if subresource == "proxy" else ""
    return Route(resource, version, namespace, unquote(name), subresource, tail)


_NOT_STORED = {(item.group, item.version, item.plural): item for item in (*REVIEWS, *ABSENT)}
_COMMANDS = (
    "the local mesh runs no commands in containers: its pods are processes of this machine; to send a request "
    "as a pod, run curl here by way of its sidecar: curl -x http://POD_IP:15001 http://SERVICE:PORT/"
)
_NOT_SERVED = {
    ("pods", "exec"): _COMMANDS,
    ("pods", "attach"): _COMMANDS,
    (
        "pods",
        "portforward",
    ): "the local mesh forwards no ports: the pod's own address is open on this machine",
    ("pods", "binding"): "the local mesh places its pods itself",
    ("serviceaccounts", "token"): "the local mesh gives no tokens to service accounts",
}
