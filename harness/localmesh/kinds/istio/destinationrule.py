"""DestinationRule: subsets, connection pools, outlier detection, load balancing and TLS of a destination."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.selectors import Selector
from harness.localmesh.kinds.istio.values import (
    Count,
    Duration,
    DurationOrZero,
    Labels,
    Percent,
    Port,
    Unsigned,
    Unsigned64,
    WholePercent,
)
from harness.localmesh.kinds.parse import Kind


class TcpKeepalive(Kind):
    """Probes on idle connections; 0 and None leave a setting to the system."""

    probes: Unsigned = 0
    time: Duration | None = None
    interval: Duration | None = None


class TcpPool(Kind):
    """Limits of connections; 0 is Istio's "no limit", and an `idle_timeout` of 0 is none at all."""

    max_connections: Count = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: DurationOrZero | None = None


class HttpPool(Kind):
    """Limits of requests; 0 is Istio's "no limit"."""

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Count = 0


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
    """How connections to the destination are made, when that is not left to auto mTLS (ClientTLSSettings).

    Certificates come from the Secret `credential_name`.
    """

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None


class CookieAttribute(Kind):
    """One more attribute of the cookie, with its value."""

    name: str
    value: str = ""


class HttpCookie(Kind):
    """A cookie to hash; with a `ttl` it is set where it is missing, and 0 makes it a session cookie."""

    name: str
    path: str = ""
    ttl: DurationOrZero | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(Kind):
    """The ring and its least size; 0 is Istio's 1,024."""

    minimum_ring_size: Unsigned64 = 0


class Maglev(Kind):
    """The Maglev table and its size, a prime."""

    table_size: Unsigned64 = 0


class ConsistentHash(Kind):
    """What is hashed (one of the first four) and how (one of the last three, or the ring of 1,024)."""

    http_header_name: str | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: Unsigned64 = 0


class Distribute(Kind):
    """How callers in `from_` share their requests among localities: percent by locality, 100 in sum."""

    from_: str = field(default="", name="from")
    to: dict[str, Unsigned] = field(default_factory=dict)


class Failover(Kind):
    """The region whose hosts stand in when those of `from_` fail."""

    from_: str = field(default="", name="from")
    to: str = ""


class LocalityLbSetting(Kind):
    """Locality-aware balancing: either `distribute`, or `failover` and `failover_priority`.

    An `enabled` of None leaves the choice to the mesh (on).
    """

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class Warmup(Kind):
    """How the share of a new host grows: over `duration`, from `minimum_percent`, with `aggression`."""

    duration: Duration
    minimum_percent: Percent | None = None
    aggression: Annotated[float, Meta(ge=0)] | None = None


class LoadBalancer(Kind):
    """How a host is chosen: one of `simple` and `consistent_hash`.

    `warmup` takes the place of the older `warmup_duration_secs`.
    """

    simple: Literal["UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"] = (
        "UNSPECIFIED"
    )
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: LocalityLbSetting | None = None
    warmup: Warmup | None = None
    warmup_duration_secs: Duration | None = None


class PortSelector(Kind):
    """A port of the Service."""

    number: Port


class PortTrafficPolicy(Kind):
    """The policy of one port, which takes the place of the destination's own in full."""

    port: PortSelector | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    load_balancer: LoadBalancer | None = None
    tls: Tls | None = None


class ProxyProtocol(Kind):
    """The PROXY protocol header sent to the destination."""

    version: Literal["V1", "V2"] = "V1"


class RetryBudget(Kind):
    """How many retries may be in flight: `percent` of the requests (None: 20), but at least so many."""

    percent: Percent | None = None
    min_retry_concurrency: Unsigned = 0


class TrafficPolicy(Kind):
    """The policy of a destination; that of a subset replaces it block by block."""

    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    load_balancer: LoadBalancer | None = None
    tls: Tls | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Kind):
    """The workloads of the destination that carry `labels`."""

    name: str
    labels: Labels = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Kind):
    """The spec of a DestinationRule; with a `workload_selector` it speaks to these callers alone."""

    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: Selector | None = None
