"""An ingress gateway: a listener per port of the Gateways that select the proxy, plain HTTP.

Source: istio/istio `pilot/pkg/networking/core/gateway.go`, `pilot/pkg/model/gateway.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.localmesh.xds import names, registry, telemetry
from harness.localmesh.xds.http import (
    client_certificate_details,
    connection_manager,
    listener,
    route_configuration,
    virtual_host,
)
from harness.localmesh.xds.match import takes_everything
from harness.localmesh.xds.model import Gateway, Mesh, Proxy, Resource, VirtualService
from harness.localmesh.xds.proto import xds
from harness.localmesh.xds.routes import Caller, rule_routes


@dataclass(frozen=True)
class _Server:
    """A server of a Gateway that selects the proxy: `port` is the port written, `hosts` as (namespace, host)."""

    gateway: str
    port: int
    hosts: tuple[tuple[str, str], ...]

    def host_for(self, namespace: str, host: str) -> str | None:
        """The narrower of `host`, from a VirtualService in `namespace`, and the server's host; None if disjoint."""
        for allowed, pattern in self.hosts:
            if allowed in ("*", namespace):
                if registry.covers(pattern, host):
                    return host
                if registry.covers(host, pattern):
                    return pattern
        return None


def gateway_listeners(mesh: Mesh, proxy: Proxy) -> dict[str, Resource]:
    """The listeners, at the gateway's address, by name."""
    made = {}
    for port in _servers(mesh, proxy):
        name = f"0.0.0.0_{port}"
        manager = _manager(proxy, port)
        made[name] = listener(
            name, proxy.listen, port, [{"filters": [manager]}], traffic_direction="OUTBOUND"
        )
    return made


def gateway_routes(mesh: Mesh, proxy: Proxy) -> dict[str, Resource]:
    """The route configurations `http.<port>`; a host that no VirtualService serves gets 404."""
    made = {}
    for port, servers in _servers(mesh, proxy).items():
        name = _route_name(port)
        hosts = [
            virtual_host(f"{host}:{port}", [host], routes) for host, routes in _hosts(mesh, proxy, servers)
        ]
        made[name] = route_configuration(
            name,
            hosts or [virtual_host(f"blackhole:{port}", ["*"], [])],
            request_headers_to_add=telemetry.announcement(proxy.workload),
            ignore_port_in_host_matching=True,
        )
    return made


def _manager(proxy: Proxy, port: int) -> Resource:
    name = _route_name(port)
    source = xds()
    return connection_manager(
        names.stat_prefix("outbound", port),
        telemetry.source_log(proxy.workload),
        {"rds": {"route_config_name": name, "config_source": source}},
        server_name="istio-envoy",
        use_remote_address=True,
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details=client_certificate_details(cert=True),
    )


def _route_name(port: int) -> str:
    return f"http.{port}"


def _servers(mesh: Mesh, proxy: Proxy) -> dict[int, list[_Server]]:
    """The servers for `proxy` by the port it listens on, which is the target port where a Service has the port."""
    servers: dict[int, list[_Server]] = {}
    for gateway in registry.by_age(mesh.gateways):
        if not registry.carries(proxy.workload.labels, gateway.spec.selector):
            continue
        for server in gateway.spec.servers:
            hosts = tuple(_qualified(gateway, host) for host in server.hosts)
            made = _Server(f"{gateway.namespace}/{gateway.name}", server.port.number, hosts)
            servers.setdefault(_listen_port(mesh, proxy, server.port.number), []).append(made)
    return dict(sorted(servers.items()))


def _qualified(gateway: Gateway, host: str) -> tuple[str, str]:
    namespace, _, name = host.rpartition("/")
    return {"": "*", ".": gateway.namespace}.get(namespace, namespace), name


def _listen_port(mesh: Mesh, proxy: Proxy, number: int) -> int:
    for port, services in registry.inbound_ports(mesh, proxy.workload).items():
        if any(service_port.number == number for _, service_port in services):
            return port
    return number


def _hosts(mesh: Mesh, proxy: Proxy, servers: list[_Server]) -> Iterator[tuple[str, list[Resource]]]:
    """The virtual hosts: routes of VirtualServices for the same host are joined, those that take all go last."""
    joined: dict[str, list[Resource]] = {}
    for server in servers:
        for rule in registry.by_age(mesh.virtual_services):
            for host in _served(server, rule):
                joined.setdefault(host, []).extend(_routes(mesh, proxy, server, rule))
    for host, routes in sorted(joined.items()):
        yield host, sorted(routes, key=lambda route: takes_everything(route["match"]))


def _served(server: _Server, rule: VirtualService) -> list[str]:
    if server.gateway not in registry.bound_gateways(rule):
        return []
    hosts = (server.host_for(rule.namespace, registry.fqdn(host, rule.namespace)) for host in rule.spec.hosts)
    return list(dict.fromkeys(host for host in hosts if host is not None))


def _routes(mesh: Mesh, proxy: Proxy, server: _Server, rule: VirtualService) -> list[Resource]:
    workload = proxy.workload
    caller = Caller(mesh, workload.labels, workload.namespace, frozenset({server.gateway}), server.port)
    return rule_routes(rule, caller)
