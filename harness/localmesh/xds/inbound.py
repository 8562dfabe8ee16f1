"""The inbound side of a sidecar: a listener per port of the workload, with the filter chains of its mTLS mode.

Istio redirects all ports to one listener (15006); without iptables each port has its own, at the pod's address.
A port of undeclared protocol is HTTP here, where Istio would look at the first bytes.
Source: istio/istio `listener_inbound.go`, `pilot/pkg/security/authn/policy_applier.go`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from harness.localmesh.xds import names, registry, telemetry
from harness.localmesh.xds.http import (
    client_certificate_details,
    connection_manager,
    listener,
    virtual_host,
)
from harness.localmesh.xds.match import everything
from harness.localmesh.xds.model import (
    ROOT_NAMESPACE,
    EnvoyFilter,
    Mesh,
    Proxy,
    Resource,
    Service,
    ServicePort,
)
from harness.localmesh.xds.proto import duration, extension
from harness.localmesh.xds.retry import inbound_retry_policy
from harness.localmesh.xds.tls import MTLS_ALPN, server_socket


@dataclass(frozen=True)
class _Faults:
    """Fault filters that EnvoyFilters insert, as two places of the filter chain."""

    first: tuple[Resource, ...]
    before_router: tuple[Resource, ...]


def inbound_listeners(mesh: Mesh, proxy: Proxy) -> dict[str, Resource]:
    """The listeners of the workload's ports, by name."""
    ports = registry.inbound_ports(mesh, proxy.workload)
    made = [_listener(mesh, proxy, port, services) for port, services in ports.items()]
    return {item["name"]: item for item in made}


def _listener(mesh: Mesh, proxy: Proxy, port: int, services: list[tuple[Service, ServicePort]]) -> Resource:
    mode = registry.mtls_mode(mesh, proxy.workload, port)
    tcp = bool(services) and services[0][1].protocol == "tcp"
    faults = _faults(mesh, proxy, port)
    host = services[0][0].host if services else ""

    def chain(name: str, match: Resource, *, mutual_tls: bool) -> Resource:
        http = _http_filter(proxy, port, host, faults, mutual_tls=mutual_tls)
        made = {"name": name, "filter_chain_match": match, "filters": [_tcp_filter(port) if tcp else http]}
        return {**made, "transport_socket": server_socket()} if mutual_tls else made

    mtls_match: Resource = {"transport_protocol": "tls"}
    if mode == "PERMISSIVE":
        mtls_match["application_protocols"] = [*MTLS_ALPN]
    chains = []
    if mode != "DISABLE":
        chains.append(chain(f"0.0.0.0_{port}", mtls_match, mutual_tls=True))
    if mode != "STRICT":
        plain = {} if tcp else {"transport_protocol": "raw_buffer"}
        chains.append(chain(f"0.0.0.0_{port}_plaintext", plain, mutual_tls=False))
    return listener(
        names.listener(proxy.workload.ip, port),
        proxy.workload.ip,
        port,
        chains,
        traffic_direction="INBOUND",
        listener_filters=[_tls_inspector()],
        continue_on_listener_filters_timeout=True,
    )


def _http_filter(proxy: Proxy, port: int, host: str, faults: _Faults, *, mutual_tls: bool) -> Resource:
    return connection_manager(
        names.stat_prefix("inbound", port),
        telemetry.destination_log(proxy.workload, mutual_tls=mutual_tls),
        {"route_config": _routes(port)},
        # The announcement is taken off before everything else, also before a fault that is inserted first: with the
        # answer of an inserted fault Istio would not know the caller, the local mesh does.
        first=(telemetry.peer_filter(), *faults.first),
        before_router=faults.before_router,
        server_name="istio-envoy",
        use_remote_address=False,
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details=client_certificate_details(),
    )


def _routes(port: int) -> Resource:
    route = {
        "name": "default",
        "match": everything(),
        "route": {
            "cluster": names.inbound_cluster(port),
            "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
            "retry_policy": inbound_retry_policy(),
        },
    }
    return {
        "name": names.inbound_cluster(port),
        "virtual_hosts": [virtual_host(f"inbound|http|{port}", ["*"], [route])],
        "validate_clusters": False,
    }


def _tcp_filter(port: int) -> Resource:
    cluster = names.inbound_cluster(port)
    return extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=cluster,
        cluster=cluster,
    )


def _tls_inspector() -> Resource:
    return extension(
        "envoy.filters.listener.tls_inspector",
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    )


def _faults(mesh: Mesh, proxy: Proxy, port: int) -> _Faults:
    """The fault filters for a port: those of the root namespace, then of the workload's, each by priority and age.

    What is inserted first later stands before what was inserted first earlier, as with Istio's patches.
    """
    first: list[Resource] = []
    before_router: list[Resource] = []
    for rule in _filters_for(mesh, proxy):
        for config in rule.spec.config_patches:
            where = config.match.listener
            if where.port_number not in (None, port):
                continue
            made = msgspec.to_builtins(config.patch.value, enc_hook=duration)
            if config.patch.operation == "INSERT_FIRST" or where.filter_chain.filter.sub_filter is None:
                first.insert(0, made)
            else:
                before_router.append(made)
    return _Faults(tuple(first), tuple(before_router))


def _filters_for(mesh: Mesh, proxy: Proxy) -> list[EnvoyFilter]:
    workload = proxy.workload
    fitting = [
        rule
        for rule in registry.by_age(mesh.envoy_filters)
        if rule.namespace in (ROOT_NAMESPACE, workload.namespace)
        and registry.carries(workload.labels, rule.spec.workload_selector.labels)
    ]
    return sorted(fitting, key=lambda rule: (rule.namespace != ROOT_NAMESPACE, rule.spec.priority))
