"""Objects between a client and the store: in the version, and in the form, that the client asks for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.localmesh.api import status, tables, watching
from harness.localmesh.api.messages import Request
from harness.localmesh.api.resources import api_version
from harness.localmesh.api.routes import Route
from harness.localmesh.kinds.parse import Manifest


def stored(route: Route, manifest: Manifest) -> Manifest:
    """`manifest`, as a client sent it to `route`, in the version it is stored in.

    Raises:
        Refused: 400 when its kind, version, namespace or name is not what the path says.
    """
    resource = route.resource
    expected = api_version(resource.group, route.version)
    version, kind = manifest.get("apiVersion") or expected, manifest.get("kind") or resource.kind
    if version not in (expected, resource.api_version) or kind != resource.kind:
        what = f"{version}, Kind={kind}) does not match the expected one ({expected}, Kind={resource.kind}"
        raise status.bad_request(f"the object provided is unrecognized: its type ({what})")
    metadata = manifest["metadata"]
    namespace, name = metadata.get("namespace") or route.namespace, metadata.get("name") or route.name
    if resource.namespaced and namespace != route.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if route.name and name != route.name:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({route.name})"
        )
    home = {"namespace": namespace} if resource.namespaced else {}
    metadata = {**metadata, **home, **({"name": name} if name else {})}
    return {**manifest, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def shown(route: Route, manifest: Manifest) -> Manifest:
    """`manifest` in the version in which `route` asks for it."""
    if route.version == route.resource.version:
        return manifest
    return {**manifest, "apiVersion": api_version(route.resource.group, route.version)}


def show(request: Request, route: Route) -> watching.Show:
    """How the objects of a watch are shown: whole, or as tables."""
    if request.wants_table:
        return lambda manifest: as_table(request, route, [manifest], manifest["metadata"]["resourceVersion"])
    return lambda manifest: shown(route, manifest)


def listed(route: Route, items: tuple[Manifest, ...], revision: int) -> Manifest:
    """`items` as the List of their kind."""
    return {
        "kind": f"{route.resource.kind}List",
        "apiVersion": api_version(route.resource.group, route.version),
        "metadata": {"resourceVersion": str(revision)},
        "items": [shown(route, item) for item in items],
    }


def as_table(request: Request, route: Route, items: Sequence[Manifest], revision: str) -> Manifest:
    """`items` as a `Table`, with as much of each as the request asks for.

    Raises:
        Refused: 400 when it asks for something unknown.
    """
    include = request.query.get("includeObject") or "Metadata"
    found = [shown(route, item) for item in items]
    return tables.table(route.resource, found, revision, tables.now(), include)
