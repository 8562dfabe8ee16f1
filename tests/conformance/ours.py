"""Our own answer to a case: the objects through admission, then through the translation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from harness.localmesh.api.resources import RESOURCES
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.admission import admit
from harness.localmesh.store import Admitted, Store
from harness.localmesh.world import World
from harness.localmesh.xds.model import UNSPECIFIED, Mesh, Proxy
from harness.localmesh.xds.snapshot import translated
from harness.localmesh.xds.view import View, Views
from harness.localmesh.xds.virtualhosts import port_routes
from tests.conformance.case import Asked, Case, Manifest
from tests.support.papermesh import Objects

Resources = Mapping[str, Mapping[str, Any]]
"""Resources of one proxy by kind ("clusters", "endpoints", "listeners", "routes") and name, with their `@type`."""


@dataclass(frozen=True)
class Tcp:
    """A TCP port of a Service, `place` as "host:port": the port given to it, the names of istiod's listeners."""

    place: str
    given: int
    names: tuple[str, ...]
    headless: bool


@dataclass(frozen=True)
class Answer:
    """What we say to a case: each proxy's resources by its key, and why objects were refused, by their names."""

    proxies: Mapping[str, Resources]
    tcp: Mapping[str, Sequence[Tcp]]
    refused: Mapping[str, str]


def translate(case: Case) -> Answer:
    """Our answer to `case`; what admission refuses is not part of the translation."""
    taken, refused = admitted([*case.manifests, *_settings(case.mesh)])
    mesh = World(cast(Store, Objects(taken))).mesh()
    views = {asked.key: _view(mesh, case, asked) for asked in case.proxies}
    return Answer(
        {key: _snapshot(view) for key, view in views.items()},
        {key: [*_tcp(view)] for key, view in views.items()},
        refused,
    )


def admitted(manifests: Iterable[Manifest]) -> tuple[list[Manifest], dict[str, str]]:
    """The manifests with their defaults that admission lets pass, and why it refuses the others."""
    taken, refused = [], {}
    for manifest in manifests:
        resource = _SERVED.get(manifest["kind"])
        metadata = manifest["metadata"]
        name = f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        if resource is None:
            if manifest["kind"] not in _UNREAD:
                refused[name] = "the API does not serve this kind"
            continue
        try:
            made = admit("CREATE", resource, {**manifest, "apiVersion": resource.api_version}, None)
        except Refused as why:
            refused[name] = why.message
        else:
            plain = made.manifest if isinstance(made, Admitted) else made
            made = {**plain, "metadata": {"uid": name, **plain["metadata"]}}
            taken.append({**made, "status": manifest["status"]} if "status" in manifest else made)
    return taken, refused


_SERVED = {resource.kind: resource for resource in RESOURCES}
_DEFAULT_PORT = 80
"""Of the hosts of VirtualServices that are no Services."""

_UNREAD = frozenset({"EndpointSlice"})
"""What the controllers make, and the translation works out for itself."""


def _settings(mesh: Mapping[str, Any]) -> list[Manifest]:
    """The ConfigMap that holds the mesh configuration."""
    metadata = {"name": "istio", "namespace": "istio-system", "creationTimestamp": "2026-01-01T00:00:00Z"}
    data = {"mesh": yaml.safe_dump(dict(mesh))}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}] if mesh else []


def _view(mesh: Mesh, case: Case, asked: Asked) -> View:
    address = case.pod(asked)["status"]["podIP"]
    workload = next(item for item in mesh.workloads if item.ip == address)
    return Views(mesh).of(Proxy(workload, {}, workload.ip, asked.gateway))


def _snapshot(view: View) -> Resources:
    made = translated(view)
    routes = dict(made.routes)
    if not view.proxy.gateway:
        ports = {port.number for service in view.services for port in service.ports if port.is_http}
        for port in sorted({_DEFAULT_PORT, *ports}):
            routes[str(port)] = port_routes(view, port)
    return {
        "clusters": made.clusters,
        "endpoints": made.endpoints,
        "listeners": made.listeners,
        "routes": routes,
    }


def _tcp(view: View) -> Iterator[Tcp]:
    """The TCP ports it may call; istiod's listeners are named by the Service's addresses, or by those of its pods."""
    for service in view.services:
        for port in service.ports:
            given = view.given_port(service, port)
            if given is not None:
                pods = [item.address for item in view.endpoints(service, port)] if service.headless else []
                addresses = [*service.addresses, *pods] or [UNSPECIFIED]
                names = tuple(f"{address}_{port.number}" for address in addresses)
                yield Tcp(f"{service.host}:{port.number}", given, names, service.headless)
