"""What proxies tell each other about themselves, for the labels of Istio's metrics (`metrics`).

A plain Envoy has no metadata exchange, so:

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
PEER = "peer"
"""The metadata with the fields of the other end: of an endpoint, or of a request that comes in."""

DESTINATION = "destination"
"""The metadata of a cluster or a route with the Service that it stands for."""

UNKNOWN = "unknown"
"""What Istio writes for a value that is not there."""

FIELDS = (
    "workload",
    "canonical_service",
    "canonical_revision",
    "workload_namespace",
    "app",
    "version",
    "cluster",
)
"""What there is to know of a workload, besides its identity."""


def endpoint_metadata(endpoint: Endpoint) -> Resource:
    """What a caller learns about an endpoint when it picks it: Istio's own key, and the fields of the labels.

    With Istio an endpoint's `app` and `version` come in its sidecar's answers; without a sidecar they are unknown.
    """
    service = canonical_service(endpoint.labels, endpoint.workload)
    revision = canonical_revision(endpoint.labels)
    known = "" if revision == "latest" else revision
    istio = ";".join((endpoint.workload, endpoint.namespace, service, known, CLUSTER_ID))
    peer = {
        "workload": endpoint.workload,
        "canonical_service": service,
        "canonical_revision": revision,
        "workload_namespace": endpoint.namespace,
        "cluster": CLUSTER_ID,
    }
    told = ("app", "version") if endpoint.sidecar else ()
    known_labels = {label: endpoint.labels[label] for label in told if endpoint.labels.get(label)}
    return {"istio": {"workload": istio}, PEER: peer | known_labels}


def cluster_metadata(services: Iterable[tuple[Service, ServicePort]]) -> Resource:
    """The Services of a cluster; the first one gives the labels `destination_service*`."""
    listed = [
        {"host": service.host, "name": service.name, "namespace": service.namespace}
        for service, _ in services
    ]
    if not listed:
        return {}
    return {"istio": {"services": listed}, DESTINATION: _service(listed[0])}


def elsewhere_metadata(name: str) -> Resource:
    """The metadata of a route or a cluster for no Service: Istio counts what goes there under that name."""
    return {DESTINATION: {"service_name": name}}


def announcement(workload: Workload) -> list[Resource]:
    """The headers by which a proxy tells the callee's who calls; they replace whatever the program has sent."""
    values = {
        _ID_HEADER: f"sidecar~{workload.ip}~{workload.name}.{workload.namespace}",
        _HEADER: ";".join(identity(workload)[field] for field in FIELDS),
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
                "metadata_namespace": PEER,
                "key": field,
                "regex_value_rewrite": {
                    "pattern": {"regex": f"^(?:[^;]*;){{{index}}}([^;]*)(?:;.*)?$"},
                    "substitution": r"\1",
                },
            },
            "remove": index == len(FIELDS) - 1,
        }
        for index, field in enumerate(FIELDS)
    ]
    rules.append(
        {
            "header": _ID_HEADER,
            "on_header_present": {"metadata_namespace": PEER, "key": "id"},
            "remove": True,
        }
    )
    return extension(
        "envoy.filters.http.header_to_metadata",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        request_rules=rules,
    )


def identity(workload: Workload) -> dict[str, str]:
    """The fields of `workload`."""
    return {
        "workload": workload.owner,
        "canonical_service": workload.canonical_service,
        "canonical_revision": workload.canonical_revision,
        "workload_namespace": workload.namespace,
        "app": workload.labels.get("app") or UNKNOWN,
        "version": workload.labels.get("version") or UNKNOWN,
        "cluster": CLUSTER_ID,
    }


def _service(service: Mapping[str, str]) -> dict[str, str]:
    return {
        "service": service["host"],
        "service_name": service["name"],
        "service_namespace": service["namespace"],
    }
