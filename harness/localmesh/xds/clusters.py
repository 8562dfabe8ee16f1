"""Clusters (CDS): one per Service port and subset, one per port of the workload's own program, and BlackHoleCluster.

PassthroughCluster is left out: the local mesh lets nothing out of the mesh.
Source: istio/istio `pilot/pkg/networking/core/cluster.go`, `cluster_builder.go`.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.localmesh.xds import names, registry, telemetry
from harness.localmesh.xds.model import Mesh, Proxy, Resource
from harness.localmesh.xds.policy import CONNECT_TIMEOUT, balancing_fields, pool_fields
from harness.localmesh.xds.proto import address, duration, typed, xds
from harness.localmesh.xds.registry import Upstream
from harness.localmesh.xds.tls import auto_mtls, client_socket

_CLUSTER = "envoy.config.cluster.v3.Cluster"


def clusters(mesh: Mesh, proxy: Proxy, upstreams: Iterable[Upstream]) -> dict[str, Resource]:
    """All clusters of `proxy` by name: the outbound ones in the order given, then the inbound ones."""
    made = [_outbound(mesh, proxy, upstream) for upstream in upstreams]
    made.append(_black_hole())
    if not proxy.gateway:
        made += [_inbound(mesh, proxy, port) for port in registry.inbound_ports(mesh, proxy.workload)]
    return {cluster["name"]: cluster for cluster in made}


def _outbound(mesh: Mesh, proxy: Proxy, upstream: Upstream) -> Resource:
    policy = upstream.policy
    http2 = upstream.port.protocol in ("http2", "grpc")
    metadata = telemetry.cluster_metadata([(upstream.service, upstream.port)])
    metadata["istio"]["default_original_port"] = upstream.port.number
    if upstream.subset:
        metadata["istio"]["subset"] = upstream.subset
    return typed(
        _CLUSTER,
        name=upstream.name,
        alt_stat_name=upstream.name + ";",
        type="EDS",
        eds_cluster_config={
            "eds_config": xds(),
            "service_name": upstream.name,
        },
        metadata={"filter_metadata": metadata},
        **pool_fields(policy.connection_pool, http2=http2),
        **balancing_fields(policy.load_balancer, policy.outlier_detection),
        **_security(mesh, proxy, upstream, http2=http2),
    )


def _security(mesh: Mesh, proxy: Proxy, upstream: Upstream, *, http2: bool) -> Resource:
    """The transport sockets: as the DestinationRule says, else auto mTLS unless the namespace has it disabled."""
    tls = upstream.policy.tls
    if tls is not None and tls.mode == "DISABLE":
        return {}
    identities = sorted({workload.identity for workload in upstream.backends if workload.sidecar})
    socket = client_socket(upstream.name, identities, http2=http2)
    if tls is not None:
        return {"transport_socket": socket}
    if registry.namespace_mtls_mode(mesh, upstream.service.namespace) == "DISABLE":
        return {}
    return {"transport_socket_matches": auto_mtls(socket)}


def _inbound(mesh: Mesh, proxy: Proxy, port: int) -> Resource:
    """The workload's own program; of a DestinationRule for its Service only the connection pool applies here."""
    services = registry.inbound_ports(mesh, proxy.workload)[port]
    namespace = proxy.workload.namespace
    pool = None
    if services:
        policy, _ = registry.destination_rule(mesh, services[0][0].host, namespace, namespace)
        pool = policy.connection_pool
    name = names.inbound_cluster(port)
    return typed(
        _CLUSTER,
        name=name,
        alt_stat_name=name + ";",
        type="STATIC",
        lb_policy="ROUND_ROBIN",
        load_assignment={
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(proxy.workload.app_ip, port)}}]}
            ],
        },
        metadata={"filter_metadata": telemetry.cluster_metadata(services)},
        **pool_fields(pool, http2=any(port.protocol in ("http2", "grpc") for _, port in services)),
    )


def _black_hole() -> Resource:
    return typed(
        _CLUSTER,
        name=names.BLACK_HOLE,
        alt_stat_name=names.BLACK_HOLE + ";",
        type="STATIC",
        connect_timeout=duration(CONNECT_TIMEOUT),
    )
