"""The HTTP connection manager with the filters of a sidecar or a gateway, in istiod's order."""

from __future__ import annotations

from collections.abc import Sequence

from harness.localmesh.xds.messages import message_filter
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import address, extension, typed

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_FILTERS = "envoy.extensions.filters.http"


def connection_manager(
    stat_prefix: str,
    access_logs: Sequence[Resource],
    routes: Resource,
    *,
    first: Sequence[Resource] = (),
    before_router: Sequence[Resource] = (),
    **settings: object,
) -> Resource:
    """The network filter; `routes` is its `rds` or `route_config`, `first` and `before_router` are extra filters."""
    fault = extension("envoy.filters.http.fault", f"{_FILTERS}.fault.v3.HTTPFault")
    cors = extension("envoy.filters.http.cors", f"{_FILTERS}.cors.v3.Cors")
    router = extension("envoy.filters.http.router", f"{_FILTERS}.router.v3.Router")
    return extension(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        stat_prefix=stat_prefix,
        **routes,
        http_filters=[*first, message_filter(), _grpc_stats(), fault, cors, *before_router, router],
        access_log=[*access_logs],
        stream_idle_timeout="0s",
        proxy_100_continue=True,
        normalize_path=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        upgrade_configs=[{"upgrade_type": "websocket"}],
        **settings,
    )


def client_certificate_details(*, cert: bool = False) -> Resource:
    """What goes into `x-forwarded-client-cert`; a gateway also forwards the certificate itself."""
    details = {"subject": True, "dns": True, "uri": True}
    return {**details, "cert": True} if cert else details


def listener(
    name: str, ip: str, port: int, filter_chains: Sequence[Resource], **settings: object
) -> Resource:
    """A listener at `ip:port`."""
    return typed(
        "envoy.config.listener.v3.Listener",
        name=name,
        address=address(ip, port),
        filter_chains=[*filter_chains],
        **settings,
    )


def route_configuration(name: str, virtual_hosts: Sequence[Resource], **settings: object) -> Resource:
    """A route configuration; clusters are not validated, so that a route may name one that comes later."""
    return typed(
        "envoy.config.route.v3.RouteConfiguration",
        name=name,
        virtual_hosts=[*virtual_hosts],
        validate_clusters=False,
        max_direct_response_body_size_bytes=1 << 20,
        **settings,
    )


def virtual_host(
    name: str, domains: Sequence[str], routes: Sequence[Resource], *, counts_attempts: bool = True
) -> Resource:
    """A virtual host; if `counts_attempts`, the callee learns which try it is (`x-envoy-attempt-count`)."""
    host: Resource = {"name": name, "domains": [*domains], "routes": [*routes]}
    return {**host, "include_request_attempt_count": True} if counts_attempts else host


def grpc_web() -> Resource:
    """The filter that turns gRPC-Web into gRPC."""
    return extension("envoy.filters.http.grpc_web", f"{_FILTERS}.grpc_web.v3.GrpcWeb")


def tls_inspector() -> Resource:
    """The listener filter that recognises TLS and its server name."""
    return extension(
        "envoy.filters.listener.tls_inspector",
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        initial_read_buffer_size=512,
    )


def _grpc_stats() -> Resource:
    return extension(
        "envoy.filters.http.grpc_stats",
        f"{_FILTERS}.grpc_stats.v3.FilterConfig",
        emit_filter_state=True,
        stats_for_all_methods=False,
    )
