"""The whole configuration of one proxy."""

from __future__ import annotations

from harness.localmesh.xds import registry
from harness.localmesh.xds.clusters import clusters
from harness.localmesh.xds.endpoints import endpoints
from harness.localmesh.xds.gateway import gateway_listeners, gateway_routes
from harness.localmesh.xds.inbound import inbound_listeners
from harness.localmesh.xds.model import Mesh, Proxy, Snapshot
from harness.localmesh.xds.outbound import outbound_listeners, outbound_routes


def snapshot(mesh: Mesh, proxy: Proxy) -> Snapshot:
    """What istiod would send to `proxy` for `mesh`: pure, and the same for the same objects in any order."""
    if proxy.gateway:
        listeners, routes = gateway_listeners(mesh, proxy), gateway_routes(mesh, proxy)
    else:
        listeners = {**inbound_listeners(mesh, proxy), **outbound_listeners(proxy)}
        routes = outbound_routes(mesh, proxy)
    upstreams = [*registry.upstreams(mesh, proxy.workload.namespace)]
    return Snapshot(
        clusters=clusters(mesh, proxy, upstreams),
        endpoints=endpoints(mesh, upstreams),
        listeners=listeners,
        routes=routes,
        secrets=proxy.secrets,
    )
