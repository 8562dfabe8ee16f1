"""Faults in the caller's sidecar, by the `fault` of a VirtualService: for what the caller's own program sees. Pure.

The fault filter acts before the router, so retries and timeouts of that route never see it (Istio's API: "timeouts or
retries will not be enabled when faults are enabled on the client side"). A route that carries either is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from harness.changes import Create, Edit, Manifest, Patch, ref_of
from harness.errors import HarnessError
from harness.faults.fault import Fault, made
from harness.scene import Scene

_MESH = "mesh"  # the gateway that stands for all sidecars


def host_of(fault: Fault, scene: Scene) -> str:
    """The name under which callers know the target.

    Raises:
        HarnessError: not exactly one Service selects its pods.
    """
    if len(scene.services) != 1:
        found = ", ".join(scene.services) or "none"
        raise HarnessError(
            f"{fault} needs the one name under which callers know {scene.target}, but the Services that select its "
            f"pods are: {found}; put the fault at the callee."
        )
    return f"{scene.services[0]}.{scene.target.namespace}.svc.cluster.local"


def on_route(
    fault: Fault, scene: Scene, body: Mapping[str, Any], match: Mapping[str, Any], name: tuple[str, ...]
) -> Create | Patch:
    """Puts the fault on the way to the target: a route of our own, or a Patch of the one that is there.

    Args:
        fault: who asks.
        scene: the target, with its Services and the VirtualServices of the mesh.
        body: the `fault` of an HTTPRoute.
        match: which requests, as an HTTPMatchRequest; empty for all.
        name: of what is created.

    Raises:
        HarnessError: it cannot be done without harm to what is there; says why.
    """
    host = host_of(fault, scene)
    found = [item for item in scene.routes if _routes(item, host, scene.target.namespace)]
    if not found:
        there = {"route": [{"destination": {"host": host}}]}
        aimed = {"match": [dict(match)]} if match else {}
        http = [{**aimed, "fault": dict(body), **there}, *([there] if match else [])]
        spec = {"hosts": [host], "http": http}
        return Create(made(scene, "networking.istio.io/v1", "VirtualService", name, spec))
    if len(found) > 1:
        names = ", ".join(str(ref_of(item)) for item in found)
        raise HarnessError(
            f"{fault} cannot choose among the routes to {host}: {names}; put it at the callee."
        )
    [item] = found
    _need_plain(fault, item, aimed=bool(match))
    edits = (Edit(("spec", "http", index, "fault"), dict(body)) for index in range(len(item["spec"]["http"])))
    return Patch(ref_of(item), tuple(edits))


def _need_plain(fault: Fault, item: Manifest, *, aimed: bool) -> None:
    """Refuses routes on which the fault would hide a policy, or could not be made."""
    ref, routes = ref_of(item), item["spec"].get("http") or ()
    if not routes:
        raise HarnessError(f"{fault} cannot be put on {ref}: it has no HTTP route; put it at the callee.")
    if aimed:
        raise HarnessError(
            f"{fault} cannot be aimed at some requests on {ref}, which is not ours; put it at the callee."
        )
    for index, route in enumerate(routes):
        where = f"{ref} spec.http[{index}]"
        if policies := [name for name in ("retries", "timeout") if name in route]:
            raise HarnessError(
                f"{where} carries {' and '.join(policies)}, which would never see {fault}: Envoy's fault filter acts "
                "before the router; put it at the callee."
            )
        if unfit := [name for name in ("fault", "redirect", "directResponse") if name in route]:
            raise HarnessError(
                f"{where} has a {unfit[0]} already, so {fault} would do nothing else; put it at the callee."
            )


def _routes(item: Manifest, host: str, namespace: str) -> bool:
    """Whether the VirtualService tells sidecars how to reach `host`, a Service of that namespace."""
    spec, home = item["spec"], item["metadata"]["namespace"]
    if _MESH not in (spec.get("gateways") or [_MESH]):
        return False
    name = host.partition(".")[0]
    short = {name} if home == namespace else set()
    known = {*short, f"{name}.{namespace}", f"{name}.{namespace}.svc", host}
    return any(given in known or fnmatch(host, given) for given in spec.get("hosts") or ())
