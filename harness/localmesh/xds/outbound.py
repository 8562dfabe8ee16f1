"""The outbound side of a sidecar: an explicit HTTP proxy at 15001, and a listener for each TCP Service's port.

There are no iptables rules: the program sends requests with absolute URIs (`HTTP_PROXY`), as istiod provides
for with `proxyHttpPort`; it reaches TCP Services at ports of the pod's own address that are given to them
(`given`). What istiod leaves to the destination address is decided when the listener is made (`tcp.reached`),
and a connection to a TLS port with a server name that no VirtualService knows ends, where istiod would let it
through to that address.
Source: istio/istio `listener.go` (buildHTTPProxy, buildSidecarOutboundListener).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.localmesh.xds import names
from harness.localmesh.xds.clusters import dns_cache
from harness.localmesh.xds.http import connection_manager, listener, tls_inspector
from harness.localmesh.xds.loggers import listener_logs, request_logs
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import extension, xds
from harness.localmesh.xds.tcp import CONNECT_TIMEOUT, Chain, reached, service_chains
from harness.localmesh.xds.tracing import tracing
from harness.localmesh.xds.view import View

_OUTBOUND = {
    "traffic_direction": "OUTBOUND",
    "listener_filters_timeout": "0s",
    "continue_on_listener_filters_timeout": True,
}
_FORWARD = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"


def outbound_listeners(view: View) -> dict[str, Resource]:
    """The HTTP proxy of the workload's program, and where it reaches TCP Services, by name."""
    made = [view.own(_http_proxy)]
    # A Service that it knows only as the destination of a route has no listener of its own, in istiod too.
    called = {egress.port: {service.host for service in egress.services} for egress in view.egress}
    for service in view.services:
        for port in service.ports:
            given = None if port.is_http else view.given_port(service, port)
            egress = None if given is None else view.scope.egress_for(port.number)
            if given is not None and egress is not None and service.host in called[egress.port]:
                chains = reached(service_chains(view, service, port), service.addresses)
                # Where no route can be taken nothing listens: Envoy refuses a listener without filter chains.
                made += [_tcp_listener(view, chains, given)] if chains else []
    return {item["name"]: item for item in made}


def _http_proxy(view: View) -> Resource:
    ip = view.workload.ip
    manager = connection_manager(
        names.stat_prefix("outbound", names.OUTBOUND_PORT),
        request_logs(view, "CLIENT"),
        {"rds": {"route_config_name": names.HTTP_PROXY, "config_source": xds()}},
        before_router=[_forward()],
        use_remote_address=False,
        http_protocol_options={"allow_absolute_url": True},
        **tracing(view, "CLIENT"),
    )
    name = names.listener(ip, names.OUTBOUND_PORT)
    chains = [{"filters": [manager], "transport_socket_connect_timeout": CONNECT_TIMEOUT}]
    logs = listener_logs(view, "CLIENT")
    return listener(
        name,
        ip,
        names.OUTBOUND_PORT,
        chains,
        **_OUTBOUND,
        max_connections_to_accept_per_socket_event=1,
        **logs,
    )


def _forward() -> Resource:
    """Looks up hosts outside the mesh; it touches only requests to clusters that need it."""
    return extension("envoy.filters.http.dynamic_forward_proxy", _FORWARD, dns_cache_config=dns_cache())


def _tcp_listener(view: View, chains: Sequence[Chain], given: int) -> Resource:
    ip = view.workload.ip
    inspected: Resource = (
        {"listener_filters": [tls_inspector()]} if any(item.match for item in chains) else {}
    )
    return listener(
        names.listener(ip, given),
        ip,
        given,
        [item.resource() for item in chains],
        **_OUTBOUND,
        **inspected,
        **listener_logs(view, "CLIENT"),
    )
