"""The listeners of a gateway: one for each port of the Gateways that select it, with a filter chain for each way in.

HTTP servers of a port share one filter chain; TLS servers have their own, chosen by server name. What comes by TCP, or
by TLS that ends here at a port that is not HTTPS, goes where the first VirtualService with a fitting `tcp` route says;
TLS that does not end here where a `tls` route with its server name says.

Differences from istiod:

- the address is that of the gateway's Service, not 0.0.0.0, as every pod has its ports to itself; names are istiod's;
- of two chains for one server name the first is kept, where istiod's listener would be refused by Envoy as a whole;
- there is no HTTP/3.

Source: istio/istio `pilot/pkg/networking/core/gateway.go`, `listener.go` (buildGatewayListener).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.localmesh.kinds.istio.virtualservice import L4Match, TlsMatch
from harness.localmesh.xds import names
from harness.localmesh.xds.gateway_servers import Server, claim, gateway_servers
from harness.localmesh.xds.gateway_tls import gateway_socket
from harness.localmesh.xds.http import (
    client_certificate_details,
    connection_manager,
    grpc_web,
    listener,
    tls_inspector,
)
from harness.localmesh.xds.inbound import authorization_filters
from harness.localmesh.xds.loggers import listener_logs, request_logs
from harness.localmesh.xds.model import UNSPECIFIED, Resource
from harness.localmesh.xds.proto import xds
from harness.localmesh.xds.tcp import CONNECT_TIMEOUT, to_destinations
from harness.localmesh.xds.tracing import tracing
from harness.localmesh.xds.view import View

_ANY = ""
"""Stands for all server names."""


@dataclass(frozen=True)
class _Chain:
    """A filter chain; no server names means that it takes every connection."""

    filters: tuple[Resource, ...]
    server_names: tuple[str, ...] = ()
    socket: Resource | None = None

    def resource(self) -> Resource:
        """The chain as Envoy's."""
        made: Resource = {"filters": [*self.filters], "transport_socket_connect_timeout": CONNECT_TIMEOUT}
        if self.server_names:
            made["filter_chain_match"] = {"server_names": [*self.server_names]}
        if self.socket is not None:
            made["transport_socket"] = self.socket
        return made


def gateway_listeners(view: View) -> dict[str, Resource]:
    """The listeners of the proxy, by name (`0.0.0.0_8080`); a port where nothing leads anywhere has none."""
    ports: dict[int, list[_Chain]] = {}
    claimed: dict[int, set[str]] = {}
    for group in gateway_servers(view).groups:
        port = group[0].listens
        chains = ports.setdefault(port, [])
        if group[0].is_http:
            chains.append(_Chain((_http_filter(view, group[0]),)))
        else:
            taken = claimed.setdefault(port, set())
            chains += [chain for server in group for chain in _chains(view, server, taken)]
    made = [_listener(view, port, [*_distinct(chains)]) for port, chains in sorted(ports.items()) if chains]
    return {item["name"]: item for item in made}


def _listener(view: View, port: int, chains: Sequence[_Chain]) -> Resource:
    inspected: Resource = {}
    if any(chain.server_names or chain.socket for chain in chains):
        inspected["listener_filters"] = [tls_inspector()]
    return listener(
        names.listener(UNSPECIFIED, port),
        view.proxy.listen,
        port,
        [chain.resource() for chain in chains],
        traffic_direction="OUTBOUND",
        max_connections_to_accept_per_socket_event=1,
        **inspected,
        **listener_logs(view, "CLIENT"),
    )


def _distinct(chains: Iterable[_Chain]) -> Iterator[_Chain]:
    """`chains` without the server names that an earlier one has, whatever their case; sorted."""
    taken: set[str] = set()
    for chain in chains:
        wanted = chain.server_names if "*" not in chain.server_names else ()
        free = {name.lower(): name for name in sorted(wanted or (_ANY,)) if name.lower() not in taken}
        taken.update(free)
        if free:
            yield replace(chain, server_names=tuple(name for name in free.values() if name != _ANY))


def _chains(view: View, server: Server, taken: set[str]) -> Iterator[_Chain]:
    """The filter chains of a server that is not plain HTTP; `taken` are names of TLS that is passed through."""
    tls = server.spec.tls
    if tls is not None and server.is_passthrough:
        yield from _passed_through(view, server, taken)
        return
    filters = (_http_filter(view, server),) if server.routes else tuple(_tcp_filters(view, server))
    if filters and tls is not None:
        yield _Chain(filters, tuple(server.server_names), gateway_socket(tls, http=bool(server.routes)))
    elif filters:
        yield _Chain(filters)


def _http_filter(view: View, server: Server) -> Resource:
    first = authorization_filters(view, tcp=False)
    if server.spec.port.protocol == "GRPC-Web":
        first = [*first, grpc_web()]
    named = server.spec.name if not server.is_http else ""
    return connection_manager(
        named or names.stat_prefix("outbound", server.listens),
        request_logs(view, "CLIENT"),
        {"rds": {"route_config_name": server.routes, "config_source": xds()}},
        first=first,
        server_name="istio-envoy",
        use_remote_address=True,
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details=client_certificate_details(cert=True),
        http_protocol_options={},
        **tracing(view, "CLIENT"),
    )


def _tcp_filters(view: View, server: Server) -> list[Resource]:
    """Where the first fitting route leads; nowhere, and no filter at all, when there is none."""
    for rule in view.virtual_services(server.gateway):
        for route in rule.spec.tcp if server.concerns(rule) else ():
            fits = not route.match or any(_admits(match, server) for match in route.match)
            if fits and route.route:
                proxy = to_destinations(view, rule, route.route, server.port)
                return [*authorization_filters(view, tcp=True), proxy]
    return []


def _passed_through(view: View, server: Server, taken: set[str]) -> Iterator[_Chain]:
    """A chain for each match of `tls` routes, unless an earlier one has one of its server names."""
    for rule in view.virtual_services(server.gateway):
        for route in rule.spec.tls if server.concerns(rule) else ():
            for match in route.match if route.route else ():
                if _admits(match, server) and claim(match.sni_hosts, taken):
                    proxy = to_destinations(view, rule, route.route, server.port)
                    yield _Chain((*authorization_filters(view, tcp=True), proxy), match.sni_hosts)


def _admits(match: L4Match | TlsMatch, server: Server) -> bool:
    """Whether `match` can hold at `server`; at gateways istiod looks at the port and at `gateways` only."""
    return match.port in (None, 0, server.port) and (not match.gateways or server.gateway in match.gateways)
