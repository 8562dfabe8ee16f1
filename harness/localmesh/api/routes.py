"""From a path to the resource, object and subresource it means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from harness.localmesh.api.resources import Resource, by_path
from harness.localmesh.api.status import no_such_path


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
    resource = by_path(group, version, plural)
    if resource is None or (namespace and not resource.namespaced):
        raise no_such_path()
    if name and resource.namespaced and not namespace:
        raise no_such_path()
    if subresource and subresource not in resource.subresources:
        raise no_such_path()
    rest = parts[3:]
    if rest and subresource != "proxy":
        raise no_such_path()
    tail = unquote("/" + "/".join(rest)) if subresource == "proxy" else ""
    return Route(resource, version, namespace, unquote(name), subresource, tail)
