"""Istio's standard HTTP metrics from Envoy's stats access logger.

A plain Envoy has neither `istio.stats` nor metadata exchange, so:

- the access logger counts `istio_requests_total` and measures `istio_request_duration_milliseconds`, with Istio's
  labels in Istio's order (Envoy prints the names with the prefix `envoy_`; an unknown value is an empty label);
- what the caller knows of the callee comes from the metadata of the chosen endpoint and of the cluster;
- what the callee knows of the caller comes in the header `x-envoy-peer-metadata`, which every caller's proxy
  overwrites and every callee's proxy takes off. Name and purpose are Istio's; the content (fields joined by ";") is
  our own, where Istio sends a serialized protobuf.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.localmesh.xds.model import (
    Endpoint,
    Resource,
    Service,
    ServicePort,
    Workload,
    canonical_revision,
    canonical_service,
)
from harness.localmesh.xds.proto import extension

CLUSTER_ID = "Kubernetes"

_HEADER = "x-envoy-peer-metadata"
_ID_HEADER = "x-envoy-peer-metadata-id"
_PEER = "peer"
_DESTINATION = "destination"
_UNKNOWN = "unknown"
_FIELDS = (
    "workload",
    "canonical_service",
    "canonical_revision",
    "workload_namespace",
    "app",
    "version",
    "cluster",
)
_GRPC = "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"


def endpoint_metadata(endpoint: Endpoint) -> Resource:
    """What a caller learns about an endpoint when it picks it: Istio's own key, and the fields of the labels."""
    service = canonical_service(endpoint.labels, endpoint.workload)
    revision = canonical_revision(endpoint.labels)
    known = "" if revision == "latest" else revision
    istio = ";".join((endpoint.workload, endpoint.namespace, service, known, CLUSTER_ID))
    peer = {
        "workload": endpoint.workload,
        "canonical_service": service,
        "canonical_revision": revision,
        "workload_namespace": endpoint.namespace,
        "app": endpoint.labels.get("app", ""),
        "version": endpoint.labels.get("version", ""),
        "cluster": CLUSTER_ID,
    }
    return {"istio": {"workload": istio}, _PEER: peer}


def cluster_metadata(services: Iterable[tuple[Service, ServicePort]]) -> Resource:
    """The Services of a cluster; the first one gives the labels `destination_service*`."""
    listed = [
        {"host": service.host, "name": service.name, "namespace": service.namespace}
        for service, _ in services
    ]
    if not listed:
        return {}
    return {"istio": {"services": listed}, _DESTINATION: _service(listed[0])}


def black_hole_metadata() -> Resource:
    """The metadata of a route that refuses: Istio counts such requests under BlackHoleCluster."""
    return {_DESTINATION: {"service_name": "BlackHoleCluster"}}


def announcement(workload: Workload) -> list[Resource]:
    """The headers by which a proxy tells the callee's who calls; they replace whatever the program has sent."""
    values = {
        _ID_HEADER: f"sidecar~{workload.ip}~{workload.name}.{workload.namespace}",
        _HEADER: ";".join(_identity(workload)[field] for field in _FIELDS),
    }
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def peer_filter() -> Resource:
    """The filter that moves the caller's announcement into metadata, so that the program never sees it."""
    rules = [
        {
            "header": _HEADER,
            "on_header_present": {
                "metadata_namespace": _PEER,
                "key": field,
                "regex_value_rewrite": {
                    "pattern": {"regex": f"^(?:[^;]*;){{{index}}}([^;]*)(?:;.*)?$"},
                    "substitution": r"\1",
                },
            },
            "remove": index == len(_FIELDS) - 1,
        }
        for index, field in enumerate(_FIELDS)
    ]
    rules.append(
        {
            "header": _ID_HEADER,
            "on_header_present": {"metadata_namespace": _PEER, "key": "id"},
            "remove": True,
        }
    )
    return extension(
        "envoy.filters.http.header_to_metadata",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        request_rules=rules,
    )


def source_log(workload: Workload) -> Resource:
    """The logger of a sidecar's outbound side and of a gateway: `reporter="source"`."""
    labels = {
        **_own("source", workload),
        **_theirs("destination", "UPSTREAM_HOST"),
        "source_principal": "%UPSTREAM_LOCAL_URI_SAN%",
        "destination_principal": "%UPSTREAM_PEER_URI_SAN%",
    }
    return _log("source", labels, connection_security_policy=_UNKNOWN)


def destination_log(workload: Workload, *, mutual_tls: bool) -> Resource:
    """The logger of a sidecar's inbound side: `reporter="destination"`."""
    labels = {
        **_theirs("source", "DYNAMIC"),
        **_own("destination", workload),
        "source_principal": "%DOWNSTREAM_PEER_URI_SAN%" if mutual_tls else _UNKNOWN,
        "destination_principal": "%DOWNSTREAM_LOCAL_URI_SAN%" if mutual_tls else _UNKNOWN,
    }
    return _log("destination", labels, connection_security_policy="mutual_tls" if mutual_tls else "none")


def _identity(workload: Workload) -> dict[str, str]:
    return {
        "workload": workload.owner,
        "canonical_service": workload.canonical_service,
        "canonical_revision": workload.canonical_revision,
        "workload_namespace": workload.namespace,
        "app": workload.labels.get("app", ""),
        "version": workload.labels.get("version", ""),
        "cluster": CLUSTER_ID,
    }


def _service(service: Mapping[str, str]) -> dict[str, str]:
    return {
        "service": service["host"],
        "service_name": service["name"],
        "service_namespace": service["namespace"],
    }


def _own(side: str, workload: Workload) -> dict[str, str]:
    return {f"{side}_{field}": value or _UNKNOWN for field, value in _identity(workload).items()}


def _theirs(side: str, place: str) -> dict[str, str]:
    return {f"{side}_{field}": f"%METADATA({place}:{_PEER}:{field})%" for field in _FIELDS}


def _log(reporter: str, labels: Mapping[str, str], *, connection_security_policy: str) -> Resource:
    values = {
        **labels,
        "reporter": reporter,
        "destination_service": f"%METADATA(CLUSTER:{_DESTINATION}:service)%",
        "destination_service_name": _either("service_name"),
        "destination_service_namespace": f"%METADATA(CLUSTER:{_DESTINATION}:service_namespace)%",
        "request_protocol": f"%CEL({_GRPC} ? 'grpc' : 'http')%",
        "response_code": "%RESPONSE_CODE%",
        "grpc_response_status": "%RESP(grpc-status)%%TRAILER(grpc-status)%",
        "response_flags": "%RESPONSE_FLAGS%",
        "connection_security_policy": connection_security_policy,
    }
    tags = [{"name": label, "value_format": values[label]} for label in LABELS]
    return extension(
        "envoy.access_loggers.stats",
        "envoy.extensions.access_loggers.stats.v3.Config",
        stats_scope={"prefix": "istio"},
        counters=[{"stat": {"name": "requests_total", "tags": tags}, "value_fixed": 1}],
        histograms=[
            {
                "stat": {"name": "request_duration_milliseconds", "tags": tags},
                "unit": "Milliseconds",
                "value_format": "%DURATION%",
            }
        ],
    )


def _either(field: str) -> str:
    cluster, route = (f"METADATA({place}:{_DESTINATION}:{field})" for place in ("CLUSTER", "ROUTE"))
    return f"%{cluster}%%{route}%"


LABELS = (
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
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
"""The labels of Istio's HTTP metrics, in Istio's order (istio/proxy `istio_stats.cc`)."""
