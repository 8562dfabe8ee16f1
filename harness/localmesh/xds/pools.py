"""Connection pools: circuit breakers, timeouts and the protocol of connections to a cluster.

istiod never leaves Envoy's own limits (1,024 connections, 3 retries) in force: what is not set is unlimited.
Source: istio/istio `pilot/pkg/networking/core/cluster_traffic_policy.go` (applyConnectionPool, applyRetryBudget,
shouldH2Upgrade), `cluster_builder.go` (setUpstreamProtocol).
"""

from __future__ import annotations

from typing import Literal

from harness.localmesh.kinds.istio.destinationrule import ConnectionPool, HttpPool, TcpPool, TrafficPolicy
from harness.localmesh.xds.model import Resource, ServicePort
from harness.localmesh.xds.proto import duration, typed

Protocol = Literal["http1", "http2", "client"]
"""What is spoken to a cluster; "client": what the client speaks."""

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_UNLIMITED = 2**32 - 1
_CONFIG: dict[Protocol, Resource] = {
    "http1": {"explicit_http_config": {"http_protocol_options": {}}},
    "http2": {"explicit_http_config": {"http2_protocol_options": {}}},
    "client": {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}},
}
_PASSTHROUGH_IDLE = 300.0


def protocol(port: ServicePort, pool: ConnectionPool | None, *, sidecar: bool, outbound: bool) -> Protocol:
    """What is spoken to `port`; a sidecar passes on the client's own protocol where the port's is undeclared."""
    http = (pool and pool.http) or HttpPool()
    if http.use_client_protocol:
        return "client"
    if port.is_http2:
        return "http2"
    if port.protocol == "" and sidecar:
        return "client"
    return "http2" if outbound and http.h2_upgrade_policy == "UPGRADE" else "http1"


def pool_fields(policy: TrafficPolicy, connect_timeout: float) -> Resource:
    """Connect timeout (in seconds, unless the policy has its own), keepalive and circuit breakers."""
    pool = policy.connection_pool or ConnectionPool()
    tcp = pool.tcp or TcpPool()
    fields: Resource = {
        "connect_timeout": duration(tcp.connect_timeout or connect_timeout),
        "circuit_breakers": {"thresholds": [_thresholds(policy, tcp, pool.http or HttpPool())]},
    }
    if tcp.tcp_keepalive is not None:
        fields["upstream_connection_options"] = {"tcp_keepalive": _keepalive(tcp)}
    return fields


def _thresholds(policy: TrafficPolicy, tcp: TcpPool, http: HttpPool) -> Resource:
    made: Resource = {
        "max_connections": tcp.max_connections or _UNLIMITED,
        "max_pending_requests": http.http1_max_pending_requests or _UNLIMITED,
        "max_requests": http.http2_max_requests or _UNLIMITED,
        "max_retries": http.max_retries or _UNLIMITED,
    }
    if (budget := policy.retry_budget) is not None:
        percent = 20.0 if budget.percent is None else budget.percent
        made["retry_budget"] = {
            "budget_percent": {"value": percent},
            "min_retry_concurrency": budget.min_retry_concurrency or 3,
        }
    return made


def _keepalive(tcp: TcpPool) -> Resource:
    """Whole seconds, as istiod cuts them; without settings the system's own."""
    made: Resource = {}
    if keepalive := tcp.tcp_keepalive:
        if keepalive.probes:
            made["keepalive_probes"] = keepalive.probes
        if keepalive.time is not None:
            made["keepalive_time"] = int(keepalive.time)
        if keepalive.interval is not None:
            made["keepalive_interval"] = int(keepalive.interval)
    return made


def protocol_options(pool: ConnectionPool | None, spoken: Protocol, automatic: Resource) -> Resource:
    """The cluster's `typed_extension_protocol_options`, or nothing where all is default.

    `automatic` are `auto_sni` and `auto_san_validation`, where TLS wants them.
    """
    http = (pool and pool.http) or HttpPool()
    common = _common((pool and pool.tcp) or TcpPool(), http)
    if not common and not automatic and spoken == "http1" and not http.max_concurrent_streams:
        return {}
    config = _CONFIG[spoken]
    if spoken == "http2" and http.max_concurrent_streams:
        streams = {"max_concurrent_streams": http.max_concurrent_streams}
        config = {"explicit_http_config": {"http2_protocol_options": streams}}
    options = typed(OPTIONS, **config)
    if common or (pool and pool.http and http.max_concurrent_streams):
        options["common_http_protocol_options"] = common
    if automatic:
        options["upstream_http_protocol_options"] = automatic
    return {"typed_extension_protocol_options": {OPTIONS: options}}


def _common(tcp: TcpPool, http: HttpPool) -> Resource:
    common: Resource = {}
    idle = tcp.idle_timeout if http.idle_timeout is None else http.idle_timeout
    if idle is not None:
        common["idle_timeout"] = duration(idle)
    if http.max_requests_per_connection:
        common["max_requests_per_connection"] = http.max_requests_per_connection
    if tcp.max_connection_duration is not None:
        common["max_connection_duration"] = duration(tcp.max_connection_duration)
    return common


def passthrough_options() -> Resource:
    """The protocol options of clusters for what the mesh does not know: the client's protocol, idle for 5 min."""
    common = {"idle_timeout": duration(_PASSTHROUGH_IDLE)}
    options = typed(OPTIONS, **_CONFIG["client"], common_http_protocol_options=common)
    return {"typed_extension_protocol_options": {OPTIONS: options}}
