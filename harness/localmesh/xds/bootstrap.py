"""The static part of an Envoy's configuration, as pilot-agent would write it.

Source: istio/istio `tools/packaging/common/envoy_bootstrap.json`, `pkg/bootstrap/config.go`. Differences: there is no
pilot-agent between Envoy and istiod's part, the admin interface is a unix socket, and the Prometheus listener asks for
a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.localmesh.xds.http import virtual_host
from harness.localmesh.xds.match import everything
from harness.localmesh.xds.model import Proxy, Resource
from harness.localmesh.xds.proto import XDS_CLUSTER, address, duration, extension, typed, xds

STATS_PORT = 15090
"""Where Istio's sidecars serve /stats/prometheus."""

FLUSH_INTERVAL = 0.5
"""Seconds until a histogram's values can be scraped; counters can be at once."""

_STATS_PATH = "/stats/prometheus"
_STATS_CLUSTER = "prometheus_stats"

# Istio ends the names of clusters and connection managers with ";", so that they can be told from the series'
# name.
_TAGS = {
    "cluster_name": r"^cluster\.((.+?);\.)",
    "http_conn_manager_prefix": r"^http\.((.+?);\.)",
    "tcp_prefix": r"^tcp\.((.*?)\.)\w+?$",
    "response_code": r"_rq(_(\d{3}))$",
    "response_code_class": r"_rq(_(\dxx))$",
    "authz_enforce_result": r"rbac(\.(allowed|denied))",
    "authz_dry_run_action": r"(\.istio_dry_run_(allow|deny)_)",
    "authz_dry_run_result": r"(\.shadow_(allowed|denied))",
}

# What Istio always keeps (istio/istio `pkg/bootstrap/config.go`).
_PREFIXES = ("cluster_manager", "listener_manager", "server.", "istio")
_SUFFIXES = ("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied")
_REGEXES = (
    r"vhost\..*\.route\..*",
    # The mesh's own: how far a proxy has its routes.
    r"http\..*\.rds\..*\.(update_(success|failure|rejected|attempt)|version_text)",
)

OBSERVED = (
    r".*\.outlier_detection\..*",
    r".*\.upstream_rq_(retry|pending|active|timeout|per_try_timeout).*",
    r".*\.upstream_rq_\d(xx|\d\d)",
    r".*\.upstream_cx_(active|total|overflow|pool_overflow|connect_fail|connect_timeout|none_healthy|max_requests)",
    r".*\.upstream_cx_(destroy.*|http\d_total)",
    r".*\.circuit_breakers\.default\..*",
    r".*\.membership_(healthy|total)",
    r".*\.fault\..*",
    r".*\.ssl\.(handshake|fail_verify.*|connection_error)",
)
"""What Istio's documentation tells people to keep besides (proxyStatsMatcher) in order to see retries, ejections,
circuit breakers, timeouts and faults; the mesh's own MeshConfig has them.

Not all of a cluster's connection series: its two histograms alone are 40 lines for each cluster, and twice a second
40 sidecars with them took a quarter of a core to write and another to read.
"""


@dataclass(frozen=True)
class Stats:
    """Which of Envoy's own series are kept besides those that Istio always keeps: by prefix, suffix or regex."""

    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    regexes: tuple[str, ...] = OBSERVED


def bootstrap(
    proxy: Proxy,
    *,
    admin_socket: Path,
    xds_socket: Path,
    stats_token: str,
    stats_port: int = STATS_PORT,
    stats: Stats | None = None,
) -> Resource:
    """The bootstrap of `proxy`, to be started with `--use-dynamic-base-id --drain-strategy immediate`.

    The admin interface answers at `admin_socket` (mode 0600), the configuration comes from `xds_socket` (both
    at most 107 characters). At `stats_port` of the proxy's address, GET /stats/prometheus is answered to
    requests with `Authorization: Bearer <stats_token>` and everything else with 401; whoever writes the
    bootstrap keeps it from others' eyes. Connections to other pods come from the pod's own address, as in a
    cluster, so that the callee sees who calls (`source.ip`).
    """
    admin = {"pipe": {"path": str(admin_socket), "mode": 0o600}}
    ip = proxy.listen if proxy.gateway else proxy.workload.ip
    return {
        "node": _node(proxy),
        "admin": {"address": admin},
        "dynamic_resources": {"ads_config": _ads(), "cds_config": xds(), "lds_config": xds()},
        "static_resources": {
            "clusters": [
                _pipe_cluster(_STATS_CLUSTER, admin),
                _pipe_cluster(XDS_CLUSTER, {"pipe": {"path": str(xds_socket)}}) | _http2(),
            ],
            "listeners": [_stats_listener(ip, stats_port, stats_token)],
        },
        "cluster_manager": {"upstream_bind_config": {"source_address": {"address": ip, "port_value": 0}}},
        "stats_config": _stats(stats or Stats()),
        "stats_flush_interval": duration(FLUSH_INTERVAL),
        "layered_runtime": {"layers": [{"name": "global config", "static_layer": _runtime()}]},
        "overload_manager": {"resource_monitors": [_connection_limit()]},
    }


def _node(proxy: Proxy) -> Resource:
    workload = proxy.workload
    return {
        "id": proxy.node,
        "cluster": f"{workload.canonical_service}.{workload.namespace}",
        "metadata": {
            "NAME": workload.name,
            "NAMESPACE": workload.namespace,
            "WORKLOAD_NAME": workload.owner,
            "SERVICE_ACCOUNT": workload.service_account,
            "LABELS": dict(sorted(workload.labels.items())),
        },
    }


def _pipe_cluster(name: str, pipe: Resource) -> Resource:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe}}]}],
        },
    }


def _ads() -> Resource:
    return {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
    }


def _http2() -> Resource:
    """For the cluster of the xDS server."""
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = typed(kind, explicit_http_config={"http2_protocol_options": {}})
    return {"typed_extension_protocol_options": {kind: options}}


def _stats_listener(ip: str, port: int, token: str) -> Resource:
    allowed = {
        "match": {
            "path": _STATS_PATH,
            "headers": [
                {"name": ":method", "string_match": {"exact": "GET"}},
                {"name": "authorization", "string_match": {"exact": f"Bearer {token}"}},
            ],
        },
        "route": {"cluster": _STATS_CLUSTER},
    }
    refused = {"match": everything(), "direct_response": {"status": 401}}
    router = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="stats",
        route_config={"virtual_hosts": [virtual_host("backend", ["*"], [allowed, refused])]},
        http_filters=[router],
    )
    return {"name": "stats", "address": address(ip, port), "filter_chains": [{"filters": [manager]}]}


def _stats(kept: Stats) -> Resource:
    patterns = [
        *({"prefix": prefix} for prefix in (*_PREFIXES, *kept.prefixes)),
        *({"suffix": suffix} for suffix in (*_SUFFIXES, *kept.suffixes)),
        *({"safe_regex": {"regex": regex}} for regex in (*_REGEXES, *kept.regexes)),
    ]
    return {
        "use_all_default_tags": False,
        "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _TAGS.items()],
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    }


def _runtime() -> Resource:
    return {
        # Istio sets this because of envoyproxy/envoy issue 45212: rings were not rebuilt after batched updates.
        "envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": False,
        "envoy.reloadable_features.http_reject_path_with_fragment": False,
        "re2.max_program_size.error_level": 32768,
    }


def _connection_limit() -> Resource:
    """No limit in practice; without one Envoy warns at every start."""
    return extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=2**31 - 1,
    )
