"""A gateway of a mesh made of a few objects: its listeners and route tables without an Envoy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from onlooker import port, view

from harness.localmesh.xds.gateway import gateway_listeners
from harness.localmesh.xds.gateway_routes import gateway_routes
from harness.localmesh.xds.view import View

_NAME = "PORT"
HTTP = f"{{port: {{number: 8080, name: {_NAME}, protocol: HTTP}}, hosts: [shop.test]}}"


def gateway(*servers: str, name: str = "edge", namespace: str = "default") -> str:
    """A Gateway with these servers, whose ports are called p0, p1 and so on."""
    named = (item.replace(_NAME, f"p{index}") for index, item in enumerate(servers))
    return f"""
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: client}}, servers: [{", ".join(named)}]}}
"""


def server(number: int, protocol: str, hosts: str, tls: str = "", more: str = "") -> str:
    """A server; `tls` and `more` are the inside of YAML mappings."""
    rest = (f", tls: {{{tls}}}" if tls else "") + (f", {more}" if more else "")
    return f"{{port: {{number: {number}, name: {_NAME}, protocol: {protocol}}}, hosts: [{hosts}]{rest}}}"


def bound(name: str, hosts: str, routes: str, gateways: str = "edge", namespace: str = "default") -> str:
    """A VirtualService bound to `gateways`; `routes` is YAML that holds `http`, `tcp` or `tls`."""
    return f"""
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: [{hosts}], gateways: [{gateways}], {routes}}}
"""


def to(host: str = "a", name: str = "") -> str:
    """Routes to the Service `host`, for requests."""
    named = f"name: {name}, " if name else ""
    return f"http: [{{{named}route: [{{destination: {{host: {host}}}}}]}}]"


def seen(build: SimpleNamespace, *texts: str, services: Any = None, **settings: Any) -> View:
    """What a gateway sees of the objects `texts` and of Services `a` and `b`, at 8080 for HTTP and 9000 for TCP."""
    ports = (port(8080), port(9000, "tcp"))
    known = (
        build.service("a", selector={"app": "a"}, ports=ports),
        build.service("b", "10.0.0.2", ports=ports),
    )
    return view(build, known if services is None else (*known, *services), *texts, gateway=True, **settings)


def listeners(build: SimpleNamespace, *texts: str, **settings: Any) -> Any:
    """The gateway's listeners."""
    return gateway_listeners(seen(build, *texts, **settings))


def tables(build: SimpleNamespace, *texts: str, **settings: Any) -> Any:
    """The gateway's route tables."""
    return gateway_routes(seen(build, *texts, **settings))


def hosts(table: Any) -> Any:
    """The virtual hosts of a table: the domains of each, and the names of its routes."""
    return {
        host["name"]: (host["domains"], [route.get("name") for route in host["routes"]])
        for host in table["virtual_hosts"]
    }
