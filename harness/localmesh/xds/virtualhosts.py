"""The outbound route tables of a sidecar: istiod's for each port, and all of them joined for the explicit proxy.

There is no transparent capture: programs send requests with absolute URIs to one proxy. Its table holds what istiod's
tables say for every port, each domain with the port behind it (`reviews:9080`), and for port 80 without it too. istiod's
own table for an explicit proxy (`proxyHttpPort`) would not do: it is built for "port 0", so that matches by port never
hold, destinations without a port lead to clusters that do not exist, and `ignore_port_in_host_matching` keeps domains
with a port from ever being found.

Differences from istiod: ports of undeclared protocol are HTTP, as nothing is sniffed; where two Services claim one short
name, istiod takes either, and here it is the first in istiod's order of Services; the refusal of unknown hosts carries
metadata of our own telemetry.
Source: istio/istio `pilot/pkg/networking/core/httproute.go`, `route/route.go` (BuildSidecarVirtualHostWrapper).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.istio.destinationrule import ConsistentHash
from harness.localmesh.xds import names, telemetry
from harness.localmesh.xds.called import Called
from harness.localmesh.xds.domains import service_domains, with_port
from harness.localmesh.xds.hashing import service_hash
from harness.localmesh.xds.http import route_configuration, virtual_host
from harness.localmesh.xds.match import everything
from harness.localmesh.xds.model import Resource, Service
from harness.localmesh.xds.routes import Caller, rule_routes, service_route
from harness.localmesh.xds.view import View
from harness.localmesh.xds.virtualservices import MESH

DEFAULT_PORT = 80
"""Where hosts are served that are no Services, and what a URL without a port means."""

_MESH = frozenset({MESH})


def outbound_routes(view: View) -> dict[str, Resource]:
    """The route configuration `http_proxy`: every host at every HTTP port, and what becomes of all other requests."""
    made = route_configuration(
        names.HTTP_PROXY,
        [*_proxy_hosts(view), _catch_all(view)],
        request_headers_to_add=telemetry.announcement(view.workload),
    )
    return {names.HTTP_PROXY: made}


def port_routes(view: View, port: int) -> Resource:
    """Istiod's route configuration for the captured requests to `port`, named by it."""
    hosts = [_virtual_host(item.name, 0, item.routes, item.domains) for item in _hosts(view, port)]
    return route_configuration(
        str(port), [*_sorted(hosts), _catch_all(view)], ignore_port_in_host_matching=True
    )


@dataclass(frozen=True)
class _Host:
    """A virtual host of one port's table, its domains without ports."""

    name: str
    domains: tuple[str, ...]
    routes: Sequence[Resource]


@dataclass(frozen=True)
class _Group:
    """What one VirtualService, or one Service without any, makes: the same routes for several hosts."""

    foreign: tuple[str, ...]
    services: tuple[Service, ...]
    routes: Sequence[Resource]


def _proxy_hosts(view: View) -> list[Resource]:
    ports = {port for egress in view.egress for port in view.memo(Called, egress).http_ports} | {DEFAULT_PORT}
    return _sorted(
        view.memo(_virtual_host, item.name, port, item.routes, item.domains)
        for port in ports
        for item in _hosts(view, port)
    )


def _virtual_host(name: str, port: int, routes: Sequence[Resource], domains: Sequence[str]) -> Resource:
    """The virtual host, whose domains get `port` unless it is 0."""
    return virtual_host(name, with_port(domains, port) if port else domains, routes)


def _sorted(hosts: Iterator[Resource] | list[Resource]) -> list[Resource]:
    return sorted(hosts, key=lambda host: str(host["name"]))


def _hosts(view: View, port: int) -> Iterator[_Host]:
    """The virtual hosts of `port`; of those with the same name or domain the first one keeps it, as in istiod."""
    egress = view.scope.egress_for(port)
    if egress is None:
        return
    called = view.memo(Called, egress)
    groups = list(_groups(view, called, port))
    known = {service.host for group in groups for service in group.services}
    seen: set[str] = set()
    taken = {"*"}  # it is the catch-all's, and Envoy takes a domain once only
    for group in groups:
        for name, domains in _named(view, group, known):
            if name in seen:
                continue
            seen.add(name)
            if free := _free(domains, taken):
                taken.update(free)
                yield _Host(f"{names.bracketed(name)}:{port}", free, group.routes)


def _free(domains: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    """`domains` without those taken; the very same object if none is, so that it can be remembered."""
    if taken.isdisjoint(domains):
        return domains
    return tuple(domain for domain in domains if domain not in taken)


def _named(view: View, group: _Group, known: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The hosts of a group with their domains; a made-up name gives way to the Service that has it in full."""
    for host in group.foreign:
        yield host, (names.bracketed(host),)
    for service in group.services:
        host = service.host.lower()
        near = view.namespace if f".{view.namespace}.svc." in host else ""
        domains, made_up = view.memo(service_domains, service, near)
        if known.isdisjoint(made_up):
            yield host, domains
        else:
            yield host, tuple(item for item in domains if item not in made_up or item not in known)


def _groups(view: View, called: Called, port: int) -> Iterator[_Group]:
    """Services with VirtualServices first, oldest VirtualService first, then the others."""
    registry = called.at(port)
    ruled: set[str] = set()
    for rule in called.rules(port, everything=port == DEFAULT_PORT):
        routes = rule_routes(rule, Caller(view, _MESH, port))
        if not routes:
            continue
        foreign, matching = called.hosts_of(rule, port)
        services = tuple(service for service in matching if _is_http(service, port))
        if services or port == DEFAULT_PORT:
            yield _Group(foreign, services, routes)
        ruled.update(service.host for service in services)
    for service in registry.values():
        if service.host not in ruled and _is_http(service, port):
            hashed = service_hash(view.destination_rule(service), port)
            cluster = names.outbound_cluster(port, "", service.host.lower())
            yield _Group((), (service,), view.memo(_service_routes, cluster, hashed))


def _is_http(service: Service, port: int) -> bool:
    own = service.port(port)
    return own is not None and own.is_http


def _service_routes(cluster: str, hashed: ConsistentHash | None) -> list[Resource]:
    return [service_route(cluster, hashed)]


def _catch_all(view: View) -> Resource:
    if view.outbound_mode == "ALLOW_ANY":
        action = {"cluster": names.PASSTHROUGH, "timeout": "0s"}
        return virtual_host(
            "allow_any", ["*"], [{"name": "allow_any", "match": everything(), "route": action}]
        )
    refusal = {
        "name": "block_all",
        "match": everything(),
        "metadata": {"filter_metadata": telemetry.black_hole_metadata()},
        "direct_response": {"status": 502},
    }
    return virtual_host("block_all", ["*"], [refusal])
