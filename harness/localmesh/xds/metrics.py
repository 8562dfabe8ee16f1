"""Istio's standard metrics from Envoy's stats access loggers, with Istio's labels in Istio's order.

A plain Envoy has no `istio.stats` filter; what that filter counts, and the value of each label, is written down here in
the terms of access logs. Envoy prints the names with the prefix `envoy_`, which is taken off when they are scraped.
Source: envoyproxy/envoy `contrib/istio/filters/http/istio_stats/source/istio_stats.cc`.

Differences from Istio:

- a connection's bytes are counted when it ends, not every five seconds (`reportingInterval` is refused): what an access
  log says of an open connection are totals, and a stats logger can only add. It is opened when the callee is reached,
  and counts with the flags of that moment; one that reaches nobody is opened and closed at its end, as in Istio.
- at the callee's side of a connection only the certificate tells who calls: there is no metadata exchange over TCP, so
  all labels of the source but its principal are "unknown" (its namespace is filled in from that when it is scraped).
- messages of gRPC: see `messages`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from harness.localmesh.kinds.istio.cel import printed
from harness.localmesh.xds.messages import NAME as MESSAGES
from harness.localmesh.xds.messages import messages_counted
from harness.localmesh.xds.model import Resource, Service, Telemetry, Workload
from harness.localmesh.xds.overrides import Override, Side, overrides
from harness.localmesh.xds.proto import extension, typed
from harness.localmesh.xds.telemetry import DESTINATION, FIELDS, PEER, UNKNOWN, identity

PEER_LABELS = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
)
"""The labels of all metrics, and the only ones of gRPC's messages."""

REQUEST_LABELS = (
    *PEER_LABELS,
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
CONNECTION_LABELS = (*PEER_LABELS, "request_protocol", "response_flags", "connection_security_policy")

_STANDARD = frozenset(REQUEST_LABELS)
_TYPE = "request.headers['content-type']"
_IS_GRPC = (
    "'content-type' in request.headers && "
    f"({_TYPE} == 'application/grpc' || {_TYPE}.startsWith('application/grpc+'))"
)
_REQUEST: dict[str, Resource] = {
    "requests_total": {"value_fixed": 1},
    "request_duration_milliseconds": {"unit": "Milliseconds", "value_format": "%DURATION%"},
    "request_bytes": {"unit": "Bytes", "value_format": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"},
    "response_bytes": {"unit": "Bytes", "value_format": "%DOWNSTREAM_WIRE_BYTES_SENT%"},
}
_GRPC: dict[str, Resource] = {
    f"{name}_total": {"value_format": f"%METADATA(DYNAMIC:{MESSAGES}:{name})%"}
    for name in ("request_messages", "response_messages")
}
_OPENED: dict[str, Resource] = {"tcp_connections_opened_total": {"value_fixed": 1}}
_ENDED: dict[str, Resource] = {
    "tcp_connections_closed_total": {"value_fixed": 1},
    "tcp_sent_bytes_total": {"value_format": "%DOWNSTREAM_WIRE_BYTES_SENT%"},
    "tcp_received_bytes_total": {"value_format": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"},
}


def client_labels(workload: Workload, *, http: bool, gateway: bool) -> dict[str, str]:
    """The labels of the caller's sidecar, or of a gateway; only a sidecar takes the host asked for as the Service."""
    asked = () if gateway or not http else (("REQ", ":AUTHORITY"),)
    cluster = "CLUSTER", DESTINATION
    namespace = f"UPSTREAM_HOST:{PEER}:workload_namespace"
    return {
        "reporter": "source",
        **_own("source", workload),
        **_theirs("destination", "UPSTREAM_HOST"),
        "source_principal": _first(("UPSTREAM_LOCAL_URI_SAN", "")),
        "destination_principal": _first(("UPSTREAM_PEER_URI_SAN", "")),
        "destination_service": _first(_metadata(*cluster, "service"), *asked),
        "destination_service_name": _first(
            _metadata("ROUTE", DESTINATION, "service_name"), _metadata(*cluster, "service_name"), *asked
        ),
        "destination_service_namespace": _first(
            _metadata(*cluster, "service_namespace"), ("METADATA", namespace)
        ),
        "connection_security_policy": UNKNOWN,
    }


def server_labels(
    workload: Workload, service: Service | None, *, http: bool, mutual_tls: bool
) -> dict[str, str]:
    """The labels of the callee's sidecar, for calls of `service`; `mutual_tls` proves who calls."""
    host, name = (service.host, service.name) if service and not service.external else ("", "")
    strangers = {f"source_{field}": UNKNOWN for field in FIELDS} | {"source_canonical_revision": "latest"}
    return {
        "reporter": "destination",
        **(_theirs("source", "DYNAMIC") if http else strangers),
        **_own("destination", workload),
        "source_principal": _first(("DOWNSTREAM_PEER_URI_SAN", "")) if mutual_tls else UNKNOWN,
        "destination_principal": _first(("DOWNSTREAM_LOCAL_URI_SAN", "")) if mutual_tls else UNKNOWN,
        "destination_service": host or workload.canonical_service,
        "destination_service_name": name or workload.canonical_service,
        "destination_service_namespace": workload.namespace,
        "connection_security_policy": "mutual_tls" if mutual_tls else "none",
    }


def request_metrics(
    labels: Mapping[str, str], telemetries: Sequence[Telemetry], side: Side
) -> list[Resource]:
    """The loggers that count HTTP requests, as `telemetries` change them."""
    changed = overrides(telemetries, side)
    if changed is None:
        return []
    values = {
        **labels,
        "request_protocol": f"%CEL({_IS_GRPC} ? 'grpc' : 'http')%",
        "response_code": "%RESPONSE_CODE%",
        "grpc_response_status": "%GRPC_STATUS_NUMBER%",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    peers = {label: labels[label] for label in PEER_LABELS}
    ordered = {label: values[label] for label in REQUEST_LABELS}
    return [
        *_loggers(_REQUEST, ordered, changed),
        *_loggers(_GRPC, peers, changed, messages_counted()),
    ]


def connection_metrics(
    labels: Mapping[str, str], telemetries: Sequence[Telemetry], side: Side
) -> list[Resource]:
    """The loggers that count TCP connections, as `telemetries` change them.

    They need a log entry when the callee is reached (`flush_access_log_on_connected`).
    """
    changed = overrides(telemetries, side)
    if changed is None:
        return []
    values = {**labels, "request_protocol": "tcp", "response_flags": "%RESPONSE_FLAGS%"}
    ordered = {label: values[label] for label in CONNECTION_LABELS}
    return [
        *_loggers(_OPENED, ordered, changed, _opened()),
        *_loggers(_ENDED, ordered, changed, ended()),
    ]


def ended() -> Resource:
    """The access log filter that passes a TCP connection's last entry."""
    return {"log_type_filter": {"types": ["TcpConnectionEnd"]}}


def _opened() -> Resource:
    kind = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    alone = {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": typed(kind, expression="!has(upstream.local_address)"),
    }
    reached = {"log_type_filter": {"types": ["TcpUpstreamConnected"]}}
    unreached = {"and_filter": {"filters": [ended(), {"extension_filter": alone}]}}
    return {"or_filter": {"filters": [reached, unreached]}}


def _loggers(
    metrics: Mapping[str, Resource],
    labels: Mapping[str, str],
    changed: Mapping[str, Override],
    when: Resource | None = None,
) -> Iterable[Resource]:
    made: dict[str, list[Resource]] = {"counters": [], "histograms": []}
    unchanged = _tags(labels)
    for name, value in metrics.items():
        override = changed.get(name, Override())
        if not override.dropped:
            tags = _tags(_changed(labels, override)) if override.tags else unchanged
            stat = {"stat": {"name": name, "tags": tags}, **value}
            made["histograms" if "unit" in value else "counters"].append(stat)
    if any(made.values()):
        logger = extension(
            "envoy.access_loggers.stats",
            "envoy.extensions.access_loggers.stats.v3.Config",
            stats_scope={"prefix": "istio"},
            **made,
        )
        yield {**logger, "filter": when} if when else logger


def _tags(labels: Mapping[str, str]) -> list[Resource]:
    return [{"name": label, "value_format": text} for label, text in labels.items()]


def _changed(labels: Mapping[str, str], override: Override) -> Mapping[str, str]:
    """`labels` without the removed, with the set ones in their place and new ones at the end."""
    made = dict(labels)
    for label, expression in override.tags.items():
        if expression is None:
            made.pop(label, None)
        elif label in made or label not in _STANDARD:
            made[label] = _coalesced([("CEL", printed(expression)), _literal(UNKNOWN)])
    return made


def _own(side: str, workload: Workload) -> dict[str, str]:
    return {f"{side}_{field}": value for field, value in identity(workload).items()}


def _theirs(side: str, place: str) -> dict[str, str]:
    return {
        f"{side}_{field}": _first(
            _metadata(place, PEER, field), otherwise="latest" if field == "canonical_revision" else UNKNOWN
        )
        for field in FIELDS
    }


def _metadata(place: str, namespace: str, key: str) -> tuple[str, str]:
    return "METADATA", f"{place}:{namespace}:{key}"


@cache
def _first(*operators: tuple[str, str], otherwise: str = UNKNOWN) -> str:
    """The value of the first of the operators (command, parameter) that has one, or else a text."""
    return _coalesced([*operators, _literal(otherwise)])


def _literal(text: str) -> tuple[str, str]:
    return "CEL", f"'{text}'"


def _coalesced(operators: Iterable[tuple[str, str]]) -> str:
    listed = [{"command": command, **({"param": param} if param else {})} for command, param in operators]
    # A "%" would end the operator.
    text = json.dumps({"operators": listed}).replace("%", "\\u0025")
    return f"%COALESCE({text})%"
