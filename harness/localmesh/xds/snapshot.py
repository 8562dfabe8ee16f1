"""The whole configuration of one proxy."""

from __future__ import annotations

from harness.localmesh.xds.clusters import clusters
from harness.localmesh.xds.endpoints import endpoints
from harness.localmesh.xds.gateway import gateway_listeners
from harness.localmesh.xds.gateway_routes import gateway_routes
from harness.localmesh.xds.inbound import inbound_listeners
from harness.localmesh.xds.model import Mesh, Proxy, Snapshot
from harness.localmesh.xds.outbound import outbound_listeners
from harness.localmesh.xds.secrets import secrets
from harness.localmesh.xds.view import View, Views
from harness.localmesh.xds.virtualhosts import outbound_routes


def snapshot(mesh: Mesh, proxy: Proxy) -> Snapshot:
    """What istiod would send to `proxy` for `mesh`: pure, and the same for the same objects in any order."""
    return translated(Views(mesh).of(proxy))


def translated(view: View) -> Snapshot:
    """The configuration of the proxy whose view it is."""
    if view.proxy.gateway:
        listeners, routes = gateway_listeners(view), gateway_routes(view)
    else:
        listeners = {**view.own(inbound_listeners), **outbound_listeners(view)}
        routes = outbound_routes(view)
    return Snapshot(
        clusters=clusters(view),
        endpoints=endpoints(view),
        listeners=listeners,
        routes=routes,
        secrets=secrets(view),
    )
