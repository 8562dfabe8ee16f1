"""DestinationRule: subsets, connection pools, outlier detection, load balancing and TLS of a destination."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import field

from harness.localmesh.kinds.istio.values import (
    Count,
    Duration,
    Labels,
    Problem,
    Unsigned,
    WholePercent,
    host_problems,
    label_problems,
    repeated,
)
from harness.localmesh.kinds.parse import Kind


class TcpPool(Kind):
    """Limits of connections; 0 is Istio's "no limit"."""

    max_connections: Count = 0
    connect_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    max_connection_duration: Duration | None = None


class HttpPool(Kind):
    """Limits of requests; 0 is Istio's "no limit"."""

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0
    idle_timeout: Duration | None = None


class ConnectionPool(Kind):
    """Circuit breakers and lifetimes of connections."""

    tcp: TcpPool | None = None
    http: HttpPool | None = None


class OutlierDetection(Kind):
    """When a host is ejected; what is unset is Envoy's default (5 answers 5xx, 10s, 30s, 10 percent)."""

    consecutive_5xx_errors: Unsigned | None = field(default=None, name="consecutive5xxErrors")
    consecutive_gateway_errors: Unsigned | None = None
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Unsigned | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: WholePercent = 0
    min_health_percent: WholePercent = 0


class Tls(Kind):
    """How connections to the destination are made, when that is not left to auto mTLS."""

    mode: Literal["DISABLE", "ISTIO_MUTUAL"]


class LoadBalancer(Kind):
    """How a host is chosen."""

    simple: Literal["UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM"] = "UNSPECIFIED"


class TrafficPolicy(Kind):
    """The policy of a destination; that of a subset replaces it block by block."""

    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    load_balancer: LoadBalancer | None = None
    tls: Tls | None = None


class Subset(Kind):
    """The workloads of the destination that carry `labels`."""

    name: str
    labels: Labels = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Kind):
    """The spec of a DestinationRule."""

    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()


def problems(spec: DestinationRule) -> Iterator[Problem]:
    """What Istio's webhook holds against `spec`."""
    yield from host_problems("host", spec.host)
    yield from _policy_problems("trafficPolicy", spec.traffic_policy)
    if twice := repeated([subset.name for subset in spec.subsets]):
        yield "subsets", f"the subset {twice!r} stands there twice"
    for index, subset in enumerate(spec.subsets):
        yield from label_problems(f"subsets[{index}].name", subset.name)
        yield from _policy_problems(f"subsets[{index}].trafficPolicy", subset.traffic_policy)


def _policy_problems(field: str, policy: TrafficPolicy | None) -> Iterator[Problem]:
    if policy is None:
        return
    if policy == TrafficPolicy():
        yield field, "a traffic policy must have at least one field"
    if (pool := policy.connection_pool) is None:
        return
    if pool == ConnectionPool():
        yield f"{field}.connectionPool", "a connection pool must have tcp or http settings"
    for name in msgspec.structs.fields(pool):
        part = getattr(pool, name.name)
        if part is not None and part == type(part)():
            yield f"{field}.connectionPool.{name.name}", "at least one setting must be given"
