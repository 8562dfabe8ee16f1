"""Endpoints (EDS): the ready workloads behind each outbound cluster."""

from __future__ import annotations

from collections.abc import Iterable

from harness.localmesh.xds import registry, telemetry
from harness.localmesh.xds.model import Mesh, Resource, Workload
from harness.localmesh.xds.proto import address, typed
from harness.localmesh.xds.registry import Upstream

_MTLS = {"envoy.transport_socket_match": {"tlsMode": "istio"}}


def endpoints(mesh: Mesh, upstreams: Iterable[Upstream]) -> dict[str, Resource]:
    """The load assignment of each outbound cluster, by the cluster's name."""
    return {upstream.name: _assignment(mesh, upstream) for upstream in upstreams}


def _assignment(mesh: Mesh, upstream: Upstream) -> Resource:
    hosts = []
    for workload in upstream.backends:
        port = registry.target_port(upstream.port, workload)
        if workload.ready and port is not None and registry.carries(workload.labels, upstream.labels):
            hosts.append(_endpoint(mesh, workload, port))
    locality = [{"lb_endpoints": hosts, "load_balancing_weight": len(hosts)}] if hosts else []
    return typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment", cluster_name=upstream.name, endpoints=locality
    )


def _endpoint(mesh: Mesh, workload: Workload, port: int) -> Resource:
    mtls = workload.sidecar and registry.mtls_mode(mesh, workload, port) != "DISABLE"
    metadata = telemetry.endpoint_metadata(workload)
    return {
        "endpoint": {"address": address(workload.ip, port)},
        "metadata": {"filter_metadata": {**metadata, **_MTLS} if mtls else metadata},
        "load_balancing_weight": 1,
    }
