"""Route tables of gateways: what the VirtualServices that are bound to a Gateway say about the hosts of its servers.

Routes of several VirtualServices for one host are joined, and those that take everything go last; hosts with the very
same routes share a virtual host. A table without any host answers 404.
Source: istio/istio `pilot/pkg/networking/core/gateway.go` (buildGatewayHTTPRouteConfig, collapseDuplicateRoutes),
`route/route.go` (SortVHostRoutes).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from harness.localmesh.xds import names, telemetry
from harness.localmesh.xds.gateway_servers import Server, gateway_servers
from harness.localmesh.xds.hosts import is_wildcard
from harness.localmesh.xds.http import route_configuration, virtual_host
from harness.localmesh.xds.match import takes_everything
from harness.localmesh.xds.model import Resource, Workload
from harness.localmesh.xds.routes import Caller, rule_routes
from harness.localmesh.xds.view import View


def gateway_routes(view: View) -> dict[str, Resource]:
    """The route tables of the proxy's servers, by name: `http.8080`, `https.443.https.edge.default`."""
    tables = gateway_servers(view).by_routes
    return {name: _table(view, name, servers) for name, servers in tables.items()}


@dataclass
class _Host:
    """A virtual host in the making: the port of the server that brought it, and the routes of each VirtualService."""

    port: int
    routes: list[Sequence[Resource]] = field(default_factory=list)
    redirects: bool = False
    domains: list[str] = field(default_factory=list)

    @property
    def parts(self) -> tuple[int, ...]:
        """What its routes are, by identity."""
        return tuple(id(route) for routes in self.routes for route in routes)


def _table(view: View, name: str, servers: Sequence[Server]) -> Resource:
    made = [
        view.memo(_virtual_host, frozenset(host.domains), host.port, host.redirects, *host.routes)
        for host in _collapsed(_hosts(view, servers))
    ]
    hosts = sorted(made, key=itemgetter("name")) or [view.memo(_black_hole, servers[0].port)]
    return view.memo(_configuration, name, view.workload, *hosts)


def _hosts(view: View, servers: Iterable[Server]) -> dict[str, _Host]:
    """The hosts that are served, with their routes.

    Routes of a VirtualService are made once for each Gateway, for the port of its first server that has any.
    """
    hosts: dict[str, _Host] = {}
    known: dict[tuple[str, int], Sequence[Resource]] = {}
    for server in servers:
        caller = Caller(view, frozenset({server.gateway}), server.port, tls=server.spec.tls is not None)
        for rule in view.virtual_services(server.gateway):
            shared = server.shared_hosts(rule)
            routes = (known.get((server.gateway, id(rule))) or rule_routes(rule, caller)) if shared else []
            if routes:
                known[server.gateway, id(rule)] = routes
                for place in _places(hosts, server, shared):
                    place.routes.append(routes)
        if server.redirects:
            # Also what no VirtualService speaks of. istiod leaves namespaces on here, which makes hosts that nobody
            # calls; there is nothing to be said for it but that it does no harm.
            _places(hosts, server, server.hosts)
    return hosts


def _places(hosts: dict[str, _Host], server: Server, wanted: Iterable[str]) -> list[_Host]:
    """The virtual hosts for `wanted` at `server`, made where there is none yet."""
    places = [hosts.setdefault(host.lower(), _Host(server.port)) for host in wanted]
    for place in places:
        place.redirects |= server.redirects
    return places


def _collapsed(hosts: dict[str, _Host]) -> list[_Host]:
    """The virtual hosts with their domains, of which those with the very same routes are one."""
    kept: list[_Host] = []
    known: dict[tuple[int, ...], _Host] = {}
    for domain in sorted(hosts, key=_by_specificity):
        place = hosts[domain]
        first = known.get(place.parts)
        if first is not None and first.redirects == place.redirects:
            first.domains.append(domain)
        else:
            known[place.parts] = place
            place.domains.append(domain)
            kept.append(place)
    return kept


def _by_specificity(host: str) -> tuple[bool, int, str]:
    """Istio's order of hosts: longest first, wildcards last."""
    return is_wildcard(host), -len(host), host


def _virtual_host(
    domains: frozenset[str], port: int, redirects: bool, *routes: Sequence[Resource]
) -> Resource:
    ordered = sorted(domains, key=_by_specificity)
    joined = [route for part in routes for route in part]
    made = virtual_host(
        f"{names.bracketed(ordered[0])}:{port}",
        ordered,
        sorted(joined, key=lambda route: takes_everything(route["match"])),
    )
    return {**made, "require_tls": "ALL"} if redirects else made


def _black_hole(port: int) -> Resource:
    return virtual_host(f"blackhole:{port}", ["*"], [], counts_attempts=False)


def _configuration(name: str, workload: Workload, *hosts: Resource) -> Resource:
    return route_configuration(
        name,
        hosts,
        request_headers_to_add=telemetry.announcement(workload),
        ignore_port_in_host_matching=True,
    )
