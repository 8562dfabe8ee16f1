"""A DestinationRule's traffic policy as fields of an Envoy cluster.

Source: istio/istio `pilot/pkg/networking/core/cluster_traffic_policy.go`.
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.destinationrule import (
    ConnectionPool,
    HttpPool,
    LoadBalancer,
    OutlierDetection,
    TcpPool,
)
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import duration, typed

CONNECT_TIMEOUT = 10.0
"""Istio's default, in seconds (meshConfig.connectTimeout)."""

_UNLIMITED = 2**32 - 1
_LB = {"ROUND_ROBIN": "ROUND_ROBIN", "RANDOM": "RANDOM"}
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def pool_fields(pool: ConnectionPool | None, *, http2: bool) -> Resource:
    """The connect timeout, the circuit breakers (unlimited unless set) and the protocol options of a cluster."""
    tcp = (pool and pool.tcp) or TcpPool()
    http = (pool and pool.http) or HttpPool()
    fields: Resource = {
        "connect_timeout": duration(tcp.connect_timeout or CONNECT_TIMEOUT),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": tcp.max_connections or _UNLIMITED,
                    "max_pending_requests": http.http1_max_pending_requests or _UNLIMITED,
                    "max_requests": http.http2_max_requests or _UNLIMITED,
                    "max_retries": http.max_retries or _UNLIMITED,
                }
            ]
        },
    }
    if options := _protocol_options(tcp, http, http2):
        fields["typed_extension_protocol_options"] = {_OPTIONS: options}
    return fields


def _protocol_options(tcp: TcpPool, http: HttpPool, http2: bool) -> Resource:
    common: Resource = {}
    if idle := http.idle_timeout or tcp.idle_timeout:
        common["idle_timeout"] = duration(idle)
    if http.max_requests_per_connection:
        common["max_requests_per_connection"] = http.max_requests_per_connection
    if tcp.max_connection_duration:
        common["max_connection_duration"] = duration(tcp.max_connection_duration)
    if not common and not http2:
        return {}
    version = "http2_protocol_options" if http2 else "http_protocol_options"
    options = typed(_OPTIONS, explicit_http_config={version: {}})
    return {**options, "common_http_protocol_options": common} if common else options


def balancing_fields(balancer: LoadBalancer | None, detection: OutlierDetection | None) -> Resource:
    """How hosts are chosen (LEAST_REQUEST unless set) and when one is ejected."""
    fields: Resource = {
        "lb_policy": _LB.get(balancer.simple, "LEAST_REQUEST") if balancer else "LEAST_REQUEST",
        "common_lb_config": {},
    }
    if detection is not None:
        # Istio switches panic off (0) as soon as there is outlier detection: few pods per service make panic common.
        fields["common_lb_config"] = {"healthy_panic_threshold": {"value": detection.min_health_percent}}
        fields["outlier_detection"] = _outlier(detection)
    return fields


def _outlier(detection: OutlierDetection) -> Resource:
    out: Resource = {"enforcing_success_rate": 0}
    if (errors := detection.consecutive_5xx_errors) is not None:
        out["consecutive_5xx"] = errors
        out["enforcing_consecutive_5xx"] = 100 if errors else 0
    if (errors := detection.consecutive_gateway_errors) is not None:
        out["consecutive_gateway_failure"] = errors
        out["enforcing_consecutive_gateway_failure"] = 100 if errors else 0
    if detection.interval:
        out["interval"] = duration(detection.interval)
    if detection.base_ejection_time:
        out["base_ejection_time"] = duration(detection.base_ejection_time)
    if detection.max_ejection_percent:
        out["max_ejection_percent"] = detection.max_ejection_percent
    if detection.split_external_local_origin_errors:
        out["split_external_local_origin_errors"] = True
        out["enforcing_local_origin_success_rate"] = 0
        if (errors := detection.consecutive_local_origin_failures) is not None:
            out["consecutive_local_origin_failure"] = errors
            out["enforcing_consecutive_local_origin_failure"] = 100 if errors else 0
    return out
