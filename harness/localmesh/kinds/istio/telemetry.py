"""Telemetry: the metrics, access logs and traces of workloads."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.selectors import Selector
from harness.localmesh.kinds.istio.values import Duration, Percent
from harness.localmesh.kinds.parse import Kind

WorkloadMode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
Metric = Literal[
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
]


class ProviderRef(Kind):
    """A provider of the mesh's, by name."""

    name: Annotated[str, Meta(min_length=1)]


class LogMatch(Kind):
    """The side of the workload that logs, or traces."""

    mode: WorkloadMode = "CLIENT_AND_SERVER"


class LogFilter(Kind):
    """A CEL expression; what it is false for is not logged."""

    expression: str = ""


class AccessLogging(Kind):
    """Who logs where; `disabled` of None inherits."""

    match: LogMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


class MetricSelector(Kind):
    """The metric an override is for, and at which side; no name means all of them."""

    metric: Metric | None = None
    custom_metric: Annotated[str, Meta(min_length=1)] | None = None
    mode: WorkloadMode = "CLIENT_AND_SERVER"


class TagOverride(Kind):
    """What becomes of a label: removed, or set to the value of a CEL expression."""

    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str = ""


class MetricsOverride(Kind):
    """Metrics that are switched off, or have other labels."""

    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = field(default_factory=dict)


class Metrics(Kind):
    """The metrics for some providers (none named: the mesh's)."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverride, ...] = ()
    reporting_interval: Duration | None = None


class Tracing(Kind):
    """Whose requests are traced, and who gets the spans; None inherits."""

    match: LogMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: Percent | None = None
    disable_span_reporting: bool | None = None
    enable_istio_tags: bool | None = None
    use_request_id_for_trace_sampling: bool | None = None


class Telemetry(Kind):
    """The spec of a Telemetry; workload over namespace over mesh, block by block."""

    selector: Selector = Selector()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()
    tracing: tuple[Tracing, ...] = ()
