"""Access logs in Istio's formats, to the sidecar's standard output (`kubectl logs POD -c istio-proxy`).

MeshConfig's `accessLogFile` switches them on for the mesh; a Telemetry with `accessLogging` decides for its
workloads instead.
Source: istio/istio `pilot/pkg/model/telemetry_logging.go`, `pilot/pkg/networking/core/accesslog.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from harness.localmesh.kinds.istio.telemetry import AccessLogging, ProviderRef
from harness.localmesh.xds.model import MeshConfig, Resource, Telemetry
from harness.localmesh.xds.proto import extension, typed

Side = Literal["CLIENT", "SERVER"]
"""Which end of a request a proxy is at: the caller's (and the gateway's) or the callee's."""

_FIELDS = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
_TEXT = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} {response_code_details} '
    '{connection_termination_details} "{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} '
    '{duration} {upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" '
    '"{upstream_host}" {upstream_cluster} {upstream_local_address} {downstream_local_address} '
    "{downstream_remote_address} {requested_server_name} {route_name}\n"
).format(**_FIELDS)


def access_logs(config: MeshConfig, telemetries: Sequence[Telemetry], side: Side) -> list[Resource]:
    """The loggers of a proxy at that side of requests; `telemetries` apply to it, the most specific last."""
    chosen = _chosen(telemetries, side)
    if chosen is None:
        return [_logger(config, "")] if config.access_log else []
    return [
        _logger(config, item.filter.expression if item.filter else "")
        for item in chosen
        if not item.disabled and item.providers
    ]


def _chosen(telemetries: Sequence[Telemetry], side: Side) -> Sequence[AccessLogging] | None:
    """What the most specific Telemetry that speaks of this side's log says; None when none does.

    One that names no provider has those of the less specific one (Istio's inheritance), the built-in one at
    last.
    """
    found: Sequence[AccessLogging] | None = None
    for telemetry in telemetries:
        fitting = [item for item in telemetry.spec.access_logging if _at(item, side)]
        if fitting:
            inherited = next((item.providers for item in found or () if item.providers), ())
            found = [_with_providers(item, inherited) for item in fitting]
    return found


def _at(item: AccessLogging, side: Side) -> bool:
    return item.match is None or item.match.mode in ("CLIENT_AND_SERVER", side)


def _with_providers(item: AccessLogging, inherited: tuple[ProviderRef, ...]) -> AccessLogging:
    providers = item.providers or inherited or (ProviderRef("envoy"),)
    return msgspec.structs.replace(item, providers=providers)


def _logger(config: MeshConfig, expression: str) -> Resource:
    log_format: Resource = (
        {"json_format": dict(_FIELDS)}
        if config.access_log_json
        else {"text_format_source": {"inline_string": _TEXT}}
    )
    made = extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path="/dev/stdout",
        log_format=log_format,
    )
    if expression:
        kind = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
        cel = {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": typed(kind, expression=expression),
        }
        made["filter"] = {"extension_filter": cel}
    return made
