"""A pod that looks at a mesh: what its proxy sees, for tests of the translation's parts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from harness.localmesh.xds import model
from harness.localmesh.xds.view import View, Views

CLIENT = "127.9.0.1"
TO = {"route": [{"destination": {"host": "reviews"}}]}
"""A rule, or the rest of one, that leads to reviews."""


def client(build: SimpleNamespace, **settings: Any) -> model.Workload:
    """A pod with a sidecar of the Deployment `client`."""
    made: model.Workload = build.workload("client", CLIENT, "127.9.1.1", **settings)
    return made


def view(build: SimpleNamespace, services: tuple[model.Service, ...], *texts: str, **settings: Any) -> View:
    """What the sidecar of `client` sees of `services` and the objects of YAML `texts`.

    `settings` are fields of the pod's workload; `config` is the mesh's, and `gateway` makes the pod a gateway.
    """
    config, gateway = settings.pop("config", model.MeshConfig()), settings.pop("gateway", False)
    pod = client(build, **settings)
    mesh = build.with_rules(model.Mesh(config, services, (pod,)), *texts)
    return Views(mesh).of(model.Proxy(pod, {}, pod.ip, gateway))


def port(number: int, protocol: str = "http") -> model.ServicePort:
    """A port of a Service that leads to 8080."""
    return model.ServicePort(protocol or "unnamed", number, 8080, protocol)


def changed(mesh: model.Mesh, host: str, **fields: Any) -> model.Mesh:
    """`mesh` with another Service of that host."""
    services = tuple(replace(item, **fields) if item.host == host else item for item in mesh.services)
    return replace(mesh, services=services)
