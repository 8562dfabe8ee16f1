"""The outbound side of a sidecar: one explicit HTTP proxy at 15001, as istiod builds it for `proxyHttpPort`.

There are no iptables rules: the program sends requests with absolute URIs (`HTTP_PROXY`). Every Service port is a
virtual host. Hosts outside the mesh get 502 (`block_all`), which is Istio's REGISTRY_ONLY: the local mesh lets
nothing out, while Istio's default is ALLOW_ANY.
Source: istio/istio `listener.go` (buildHTTPProxy), `httproute.go` (buildSidecarOutboundHTTPRouteConfig).
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.xds import names, registry, telemetry
from harness.localmesh.xds.http import connection_manager, listener, route_configuration, virtual_host
from harness.localmesh.xds.match import everything
from harness.localmesh.xds.model import Mesh, Proxy, Resource, Service
from harness.localmesh.xds.proto import xds
from harness.localmesh.xds.registry import MESH_GATEWAY
from harness.localmesh.xds.routes import Caller, rule_routes, service_route

_DEFAULT_PORT = 80


def outbound_listeners(proxy: Proxy) -> dict[str, Resource]:
    """The HTTP proxy of the workload's program."""
    ip = proxy.workload.ip
    manager = connection_manager(
        names.stat_prefix("outbound", names.OUTBOUND_PORT),
        telemetry.source_log(proxy.workload),
        {
            "rds": {
                "route_config_name": names.HTTP_PROXY,
                "config_source": xds(),
            }
        },
        use_remote_address=False,
        http_protocol_options={"allow_absolute_url": True},
    )
    name = names.listener(ip, names.OUTBOUND_PORT)
    made = listener(name, ip, names.OUTBOUND_PORT, [{"filters": [manager]}], traffic_direction="OUTBOUND")
    return {name: made}


def outbound_routes(mesh: Mesh, proxy: Proxy) -> dict[str, Resource]:
    """The route configuration `http_proxy`: every host of the mesh, and a refusal for all others."""
    taken: set[str] = {"*"}
    hosts = []
    for name, domains, routes in sorted(_virtual_hosts(mesh, proxy), key=lambda host: host[0]):
        free = [domain for domain in dict.fromkeys(domains) if domain not in taken]
        taken.update(free)
        if free:
            hosts.append(virtual_host(name, free, routes))
    made = route_configuration(
        names.HTTP_PROXY,
        [*hosts, virtual_host("block_all", ["*"], [_refusal()])],
        request_headers_to_add=telemetry.announcement(proxy.workload),
    )
    return {names.HTTP_PROXY: made}


def _virtual_hosts(mesh: Mesh, proxy: Proxy) -> Iterator[tuple[str, list[str], list[Resource]]]:
    namespace = proxy.workload.namespace
    for service in mesh.services:
        rule = registry.virtual_service(mesh, service.host)
        for port in registry.http_ports(service):
            if rule is None:
                routes = [service_route(names.outbound_cluster(port.number, "", service.host))]
            else:
                routes = rule_routes(rule, _caller(mesh, proxy, port.number))
            yield f"{service.host}:{port.number}", _domains(service, port.number, namespace), routes
    known = {service.host for service in mesh.services}
    for rule in registry.by_age(mesh.virtual_services):
        for host in _foreign_hosts(rule.spec.hosts, rule.namespace, known):
            if MESH_GATEWAY in registry.bound_gateways(rule):
                routes = rule_routes(rule, _caller(mesh, proxy, _DEFAULT_PORT))
                yield f"{host}:{_DEFAULT_PORT}", [host, f"{host}:{_DEFAULT_PORT}"], routes


def _foreign_hosts(hosts: tuple[str, ...], namespace: str, known: set[str]) -> list[str]:
    """The hosts of a VirtualService that are no Services; Istio serves them at port 80."""
    full = [registry.fqdn(host, namespace) for host in hosts]
    return [host for host in full if not any(registry.covers(host, service) for service in known)]


def _caller(mesh: Mesh, proxy: Proxy, port: int) -> Caller:
    workload = proxy.workload
    return Caller(mesh, workload.labels, workload.namespace, frozenset({MESH_GATEWAY}), port)


def _domains(service: Service, port: int, namespace: str) -> list[str]:
    """The names of a Service as a client in `namespace` may write them, with the port, and without it for port 80."""
    short = [service.name] if service.namespace == namespace else []
    prefix = f"{service.name}.{service.namespace}"
    hosts = [service.host, *short, prefix, f"{prefix}.svc"]
    if service.cluster_ip not in ("", "None"):
        hosts.append(service.cluster_ip)
    ported = [f"{host}:{port}" for host in hosts]
    return [*hosts, *ported] if port == _DEFAULT_PORT else ported


def _refusal() -> Resource:
    return {
        "name": "block_all",
        "match": everything(),
        "metadata": {"filter_metadata": telemetry.black_hole_metadata()},
        "direct_response": {"status": 502},
    }
