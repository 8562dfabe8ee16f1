"""What Telemetry resources change of Istio's metrics: which are dropped, and which labels are set or removed.

The resources of the mesh, of the namespace and of the workload are read one after the other; what is said later beats
what was said earlier, metric by metric and label by label. An override that disables all metrics of a side takes them
away until a later one speaks of that side again. Prometheus is the only provider that admission takes, so `providers`
changes nothing here.
Source: istio/istio `pilot/pkg/model/telemetry.go` (mergeMetrics, generateStatsConfig); envoyproxy/envoy
`contrib/istio/filters/http/istio_stats` (drops and labels by name; a name that no metric has is without effect).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.localmesh.kinds.istio.telemetry import MetricsOverride, TagOverride
from harness.localmesh.xds.model import Telemetry

Side = Literal["CLIENT", "SERVER"]
"""Which end of a request a proxy is at: the caller's (and the gateway's) or the callee's."""

METRICS = {
    "REQUEST_COUNT": "requests_total",
    "REQUEST_DURATION": "request_duration_milliseconds",
    "REQUEST_SIZE": "request_bytes",
    "RESPONSE_SIZE": "response_bytes",
    "TCP_OPENED_CONNECTIONS": "tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "tcp_connections_closed_total",
    "TCP_SENT_BYTES": "tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "tcp_received_bytes_total",
    "GRPC_REQUEST_MESSAGES": "request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "response_messages_total",
}
"""The names of the metrics in Telemetry, with those that follow "istio_" in Prometheus."""


@dataclass(frozen=True)
class Override:
    """What becomes of one metric; `tags` are the labels that are removed (None) or set to a CEL expression."""

    dropped: bool = False
    tags: Mapping[str, str | None] = field(default_factory=dict)


def overrides(telemetries: Iterable[Telemetry], side: Side) -> Mapping[str, Override] | None:
    """What `telemetries`, the most specific last, change at `side`, by the metric's name in Prometheus.

    None when no metric is left.
    """
    said: dict[str, list[MetricsOverride]] = {}
    off = False
    for item in _at(telemetries, side):
        off = bool(_is_for_all(item) and item.disabled)
        if not off:
            for name in _names(item):
                said.setdefault(name, []).append(item)
    if off:
        return None
    # Istio keeps a metric's two names apart until here; sorted, the one in capitals comes first.
    made: dict[str, Override] = {}
    for name, items in sorted(said.items()):
        made[METRICS.get(name, name)] = _joined(made.get(METRICS.get(name, name), Override()), items)
    return made


def _at(telemetries: Iterable[Telemetry], side: Side) -> Iterable[MetricsOverride]:
    for telemetry in telemetries:
        for metrics in telemetry.spec.metrics:
            for item in metrics.overrides:
                if item.match is None or item.match.mode in ("CLIENT_AND_SERVER", side):
                    yield item


def _is_for_all(item: MetricsOverride) -> bool:
    match = item.match
    return match is None or (match.custom_metric is None and match.metric in (None, "ALL_METRICS"))


def _names(item: MetricsOverride) -> Sequence[str]:
    if item.match is None or _is_for_all(item):
        return tuple(METRICS)
    return (item.match.custom_metric or item.match.metric or "",)


def _joined(before: Override, items: Sequence[MetricsOverride]) -> Override:
    disabled = [item.disabled for item in items if item.disabled is not None]
    tags: dict[str, TagOverride] = {}
    for item in items:
        tags |= item.tag_overrides
    changed = {
        name: None if tag.operation == "REMOVE" else tag.value for name, tag in sorted(tags.items()) if name
    }
    return Override(before.dropped or bool(disabled and disabled[-1]), {**before.tags, **changed})
