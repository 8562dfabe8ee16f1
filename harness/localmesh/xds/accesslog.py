"""Access logs in Istio's formats, to the sidecar's standard output (`kubectl logs POD -c istio-proxy`).

MeshConfig's `accessLogFile` switches them on for the mesh; a Telemetry with `accessLogging` that names the provider
"envoy" decides for its workloads instead. One that names none goes on with the provider of a less specific one; when
there is none either it has no effect, and MeshConfig decides (as with istiod without `defaultProviders`).
Source: istio/istio `pilot/pkg/model/telemetry.go` (mergeLogs), `telemetry_logging.go`,
`pilot/pkg/networking/core/accesslog.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.localmesh.kinds.istio.telemetry import AccessLogging
from harness.localmesh.xds.model import MeshConfig, Resource, Telemetry
from harness.localmesh.xds.overrides import Side
from harness.localmesh.xds.proto import extension, typed

PROVIDER = "envoy"
"""The only provider of access logs, which is built in."""

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

_CEL = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"


def access_logs(
    config: MeshConfig, telemetries: Sequence[Telemetry], side: Side, *when: Resource
) -> list[Resource]:
    """The loggers of a proxy at that side of requests, for what passes every filter of `when`.

    `telemetries` apply to it, the most specific last.
    """
    chosen = _chosen(telemetries, side)
    if chosen is None:
        return [_logger(config, when)] if config.access_log else []
    if chosen.disabled:
        return []
    expression = chosen.filter.expression if chosen.filter else ""
    return [_logger(config, (*when, _evaluated(expression)) if expression else when)]


def all_of(filters: Sequence[Resource]) -> Resource:
    """The filter that passes what all of `filters`, one or more, pass."""
    return filters[0] if len(filters) == 1 else {"and_filter": {"filters": [*filters]}}


def _chosen(telemetries: Sequence[Telemetry], side: Side) -> AccessLogging | None:
    """The last entry for this side that speaks of the provider, with the filter of the last that names it.

    None when no entry for this side names the provider.
    """
    chosen, named, inherited = None, None, False
    for item in (item for telemetry in telemetries for item in telemetry.spec.access_logging):
        names = any(provider.name == PROVIDER for provider in item.providers)
        # A provider is handed on by entries for the other side, too.
        inherited = inherited or names
        if inherited and (item.match is None or item.match.mode in ("CLIENT_AND_SERVER", side)):
            chosen = item
            named = item if names else named
    if chosen is None or named is None:
        return None
    return AccessLogging(disabled=chosen.disabled, filter=named.filter)


def _evaluated(expression: str) -> Resource:
    cel = {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": typed(_CEL, expression=expression),
    }
    return {"extension_filter": cel}


def _logger(config: MeshConfig, when: Sequence[Resource]) -> Resource:
    log_format: Resource = (
        {"json_format": dict(_FIELDS), "json_format_options": {"sort_properties": False}}
        if config.access_log_json
        else {"text_format_source": {"inline_string": _TEXT}}
    )
    made = extension("envoy.access_loggers.file", _FILE, path="/dev/stdout", log_format=log_format)
    return {**made, "filter": all_of(when)} if when else made
