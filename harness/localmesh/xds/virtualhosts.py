"""The outbound route tables of a sidecar: istiod's for each port, and all of them joined for the explicit proxy.

There is no transparent capture: programs send requests with absolute URIs to one proxy. Its table holds what istiod's
tables say for every port, each domain with the port behind it (`reviews:9080`), and for port 80 without it too.
istiod's own table for an explicit proxy (`proxyHttpPort`) would not do: it is built for "port 0", so that matches by
port never hold, destinations without a port lead to clusters that do not exist, and `ignore_port_in_host_matching`
keeps domains with a port from ever being found.

Differences from istiod: ports of undeclared protocol are HTTP, as nothing is sniffed; where two Services claim one
short name, istiod takes either, and here it is the first in istiod's order of Services; the refusal of unknown hosts
carries metadata of our own telemetry.
Source: istio/istio `pilot/pkg/networking/core/httproute.go`, `route/route.go` (BuildSidecarVirtualHostWrapper).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

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
        [*view.shared(_proxied, view.scope, view.rules), _kept_from_itself(_catch_all(view), view)],
        request_headers_to_add=telemetry.announcement(view.workload),
    )
    return {names.HTTP_PROXY: made}


def port_routes(view: View, port: int) -> Resource:
    """Istiod's route configuration for the captured requests to `port`, named by it."""
    hosts = _sorted(host.captured for host in _hosts(view, port))
    return route_configuration(str(port), [*hosts, _catch_all(view)], ignore_port_in_host_matching=True)


@dataclass(frozen=True)
class _Host:
    """A virtual host of one port's table; `made_up` are those of its domains that were made from its name."""

    host: str
    port: int
    domains: tuple[str, ...]
    routes: Sequence[Resource]
    made_up: frozenset[str] = frozenset()

    @property
    def captured(self) -> Resource:
        """As it stands in the table of its port."""
        return virtual_host(self._name, self.domains, self.routes)

    @cached_property
    def proxied(self) -> Resource:
        """As it stands in the table for all ports."""
        return virtual_host(self._name, with_port(self.domains, self.port), self.routes)

    @property
    def _name(self) -> str:
        return f"{names.bracketed(self.host)}:{self.port}"


def _proxied(view: View) -> list[Resource]:
    ports = {port for egress in view.egress for port in view.memo(Called, egress).http_ports} | {DEFAULT_PORT}
    return _sorted(host.proxied for port in ports for host in _hosts(view, port))


def _sorted(hosts: Iterable[Resource]) -> list[Resource]:
    return sorted(hosts, key=itemgetter("name"))


def _hosts(view: View, port: int) -> Iterator[_Host]:
    """The virtual hosts of `port`.

    Of those with the same name or domain the first one keeps it, and a made-up name gives way to the Service that has
    it in full, as in istiod.
    """
    egress = view.scope.egress_for(port)
    if egress is None:
        return
    candidates = list(_candidates(view, view.memo(Called, egress), port))
    known = {host.host for host in candidates if host.made_up}
    seen: set[str] = set()
    taken = {"*"}  # it is the catch-all's, and Envoy takes a domain once only
    for host in candidates:
        if host.host in seen:
            continue
        seen.add(host.host)
        lost = taken.intersection(host.domains) | (known & host.made_up)
        kept = view.memo(_without, host, frozenset(lost)) if lost else host
        taken.update(kept.domains)
        if kept.domains:
            yield kept


def _without(host: _Host, lost: frozenset[str]) -> _Host:
    return replace(host, domains=tuple(domain for domain in host.domains if domain not in lost))


def _candidates(view: View, called: Called, port: int) -> Iterator[_Host]:
    """What may become virtual hosts: by the VirtualServices in istiod's order, then by the Services themselves."""
    own = view.namespace
    for rule in called.rules(port, everything=port == DEFAULT_PORT):
        routes = rule_routes(rule, Caller(view, _MESH, port))
        foreign, matching = called.hosts_of(rule, port)
        services = [service for service in matching if _is_http(service, port)]
        if not routes or not (services or port == DEFAULT_PORT):
            continue
        for host in foreign:
            yield view.memo(_foreign_host, host, port, routes)
        for service in services:
            yield view.memo(_ruled_host, service, port, _near(own, service), routes)
    for service in called.at(port).values():
        if _is_http(service, port):
            policy = view.destination_rule(service)
            hashed = service_hash(policy, port) if policy else None
            yield view.memo(_plain_host, service, port, _near(own, service), hashed)


def _near(namespace: str, service: Service) -> str:
    """The namespace, if it is that of the Service's name: the only thing of the caller that domains depend on."""
    return namespace if f".{namespace}.svc." in service.host else ""


def _foreign_host(host: str, port: int, routes: Sequence[Resource]) -> _Host:
    return _Host(host, port, (names.bracketed(host),), routes)


def _ruled_host(service: Service, port: int, namespace: str, routes: Sequence[Resource]) -> _Host:
    domains, made_up = service_domains(service, namespace)
    return _Host(service.host.lower(), port, domains, routes, made_up)


def _plain_host(service: Service, port: int, namespace: str, hashed: ConsistentHash | None) -> _Host:
    cluster = names.outbound_cluster(port, "", service.host.lower())
    return _ruled_host(service, port, namespace, [service_route(cluster, hashed)])


def _is_http(service: Service, port: int) -> bool:
    own = service.port(port)
    return own is not None and own.is_http


def _catch_all(view: View) -> Resource:
    if view.outbound_mode == "ALLOW_ANY":
        passage = {
            "name": "allow_any",
            "match": everything(),
            "metadata": {"filter_metadata": telemetry.elsewhere_metadata(names.PASSTHROUGH)},
            "route": {"cluster": names.PASSTHROUGH, "timeout": "0s"},
        }
        return virtual_host("allow_any", ["*"], [passage])
    return virtual_host("block_all", ["*"], [_refusal()])


def _kept_from_itself(host: Resource, view: View) -> Resource:
    """`host` without what the proxy itself is asked for, which it would pass to itself without end.

    Against that istiod has a chain for its own port (`virtualOutbound-blackhole`, `listener_builder.go`).
    """
    own = f"{view.proxy.workload.ip}:{names.OUTBOUND_PORT}"
    match = {**everything(), "headers": [{"name": ":authority", "string_match": {"exact": own}}]}
    return {**host, "routes": [{**_refusal(), "match": match}, *host["routes"]]}


def _refusal() -> Resource:
    return {
        "name": "block_all",
        "match": everything(),
        "metadata": {"filter_metadata": telemetry.elsewhere_metadata(names.BLACK_HOLE)},
        "direct_response": {"status": 502},
    }
