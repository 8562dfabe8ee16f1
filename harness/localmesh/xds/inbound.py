"""The inbound side of a sidecar: a listener per port of the workload, with the filter chains of its mTLS mode.

Istio redirects all ports to one listener (15006) that chooses by the destination port; without iptables each port has
its own listener, at the pod's address, with the same chains. A port of undeclared protocol is HTTP here, where Istio
would look at the first bytes; a TCP port under mTLS connects to the program when the handshake is over, so that its
metrics know the caller from the beginning; a port that neither a Service nor the pod declares does not exist.
Source: istio/istio `listener_inbound.go`, `pilot/pkg/security/authn/policy_applier.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.localmesh.xds import names, telemetry
from harness.localmesh.xds.authz import Policy, rbac_filters
from harness.localmesh.xds.http import (
    client_certificate_details,
    connection_manager,
    grpc_web,
    listener,
    tls_inspector,
    virtual_host,
)
from harness.localmesh.xds.loggers import connection_logs, listener_logs, request_logs
from harness.localmesh.xds.match import everything
from harness.localmesh.xds.model import AuthorizationPolicy, Resource, Service, ServicePort
from harness.localmesh.xds.proto import duration
from harness.localmesh.xds.retry import inbound_retry_policy
from harness.localmesh.xds.server_tls import Entrance, entrances
from harness.localmesh.xds.tcp import decoded, tcp_proxy
from harness.localmesh.xds.tls import server_socket
from harness.localmesh.xds.tracing import tracing
from harness.localmesh.xds.view import View

_EARLY = 65_536  # bytes kept of a connection whose program is not reached yet; Envoy wants a number


@dataclass(frozen=True)
class _Faults:
    """Fault filters that EnvoyFilters insert, as two places of the filter chain."""

    first: tuple[Resource, ...]
    before_router: tuple[Resource, ...]


def inbound_listeners(view: View) -> dict[str, Resource]:
    """The listeners of the workload's ports, by name."""
    made = [_listener(view, port, services) for port, services in view.inbound_ports().items()]
    return {item["name"]: item for item in made}


def _listener(view: View, port: int, services: Sequence[tuple[Service, ServicePort]]) -> Resource:
    http = not services or services[0][1].is_http
    chains = [
        _chain(view, port, services, entrance, http=http)
        for entrance in entrances(view.mtls_mode(port), http=http)
    ]
    return listener(
        names.listener(view.workload.ip, port),
        view.workload.ip,
        port,
        chains,
        traffic_direction="INBOUND",
        listener_filters=[tls_inspector()],
        listener_filters_timeout="0s",
        continue_on_listener_filters_timeout=True,
        **listener_logs(view, "SERVER"),
    )


def _chain(
    view: View,
    port: int,
    services: Sequence[tuple[Service, ServicePort]],
    entrance: Entrance,
    *,
    http: bool,
) -> Resource:
    filters = (
        [_http_filter(view, port, services, mutual_tls=entrance.mutual_tls)]
        if http
        else _tcp_filters(view, port, services, mutual_tls=entrance.mutual_tls)
    )
    made: Resource = {
        "name": f"0.0.0.0_{port}",
        "filter_chain_match": entrance.match,
        "filters": filters,
    }
    return {**made, "transport_socket": server_socket()} if entrance.mutual_tls else made


def authorization_filters(view: View, *, tcp: bool) -> list[Resource]:
    """The RBAC filters of the workload's AuthorizationPolicies."""
    return view.memo(_rbac, tcp, *view.authorization_policies)


def _rbac(tcp: bool, *policies: AuthorizationPolicy) -> list[Resource]:
    wanted = [Policy(item.name, item.namespace, item.dry_run, item.spec) for item in policies]
    return rbac_filters(wanted, tcp=tcp)


def _http_filter(
    view: View, port: int, services: Sequence[tuple[Service, ServicePort]], *, mutual_tls: bool
) -> Resource:
    faults = _faults(view, port)
    service, service_port = services[0] if services else (None, None)
    operation = f"{service.host}:{service_port.number}/*" if service and service_port else f":{port}/*"
    protocol = service_port.protocol if service_port else ""
    number = service_port.number if service_port else port
    http2: Resource = {"http2_protocol_options": {}} if service_port and service_port.is_http2 else {}
    first = (telemetry.peer_filter(), *faults.first, *authorization_filters(view, tcp=False))
    return connection_manager(
        names.stat_prefix("inbound", port),
        request_logs(view, "SERVER", mutual_tls=mutual_tls, service=service),
        {"route_config": _routes(port, number, operation, retried=protocol not in ("grpc", "grpc-web"))},
        # The announcement is taken off before everything else, also before a fault that is inserted first: with the
        # answer of an inserted fault Istio would not know the caller, the local mesh does.
        first=(*first, grpc_web()) if protocol == "grpc-web" else first,
        before_router=faults.before_router,
        server_name="istio-envoy",
        use_remote_address=False,
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details=client_certificate_details(),
        **http2,
        **tracing(view, "SERVER"),
    )


def _routes(port: int, number: int, operation: str, *, retried: bool) -> Resource:
    """The routes to the program's `port`, which the Service has as `number`."""
    action: Resource = {
        "cluster": names.inbound_cluster(port),
        "timeout": "0s",
        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    }
    if retried:
        action["retry_policy"] = inbound_retry_policy()
    route = {
        "name": "default",
        "match": everything(),
        "route": action,
        "decorator": {"operation": operation},
    }
    host = virtual_host(f"inbound|http|{number}", ["*"], [route], counts_attempts=False)
    return {"name": names.inbound_cluster(port), "virtual_hosts": [host], "validate_clusters": False}


def _tcp_filters(
    view: View, port: int, services: Sequence[tuple[Service, ServicePort]], *, mutual_tls: bool
) -> list[Resource]:
    cluster = names.inbound_cluster(port)
    logs = connection_logs(view, "SERVER", mutual_tls=mutual_tls, service=services[0][0])
    # Else the program would be reached, and that be counted, before the certificate has said who calls.
    waits: Resource = {
        "upstream_connect_mode": "ON_DOWNSTREAM_TLS_HANDSHAKE",
        "max_early_data_bytes": _EARLY,
    }
    proxy = tcp_proxy(cluster, logs, cluster=cluster, **(waits if mutual_tls and logs else {}))
    return [*authorization_filters(view, tcp=True), *decoded(services[0][1], proxy)]


def _faults(view: View, port: int) -> _Faults:
    """The fault filters for a port: by priority, then those of the root namespace first, then by age.

    What is inserted first later stands before what was inserted first earlier, as with Istio's patches.
    """
    first: list[Resource] = []
    before_router: list[Resource] = []
    for rule in view.envoy_filters:
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
