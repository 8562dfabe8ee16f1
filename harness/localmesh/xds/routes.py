"""Routes of a virtual host: what a VirtualService asks for, or straight to the Service.

Source: istio/istio `pilot/pkg/networking/core/route/route.go`. The order is that of the VirtualService; nothing is
sorted by specificity, and what comes after a rule that takes everything is left out. istiod's `max_grpc_timeout` is
left out too: it is deprecated, Envoy warns of it on every load, and it matters to deadlines of gRPC clients only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.istio.destinationrule import ConsistentHash
from harness.localmesh.kinds.istio.virtualservice import Destination, HttpRoute, Match
from harness.localmesh.xds import cors, faults, names
from harness.localmesh.xds.action import Place, route_action
from harness.localmesh.xds.answers import direct_response, redirect_action
from harness.localmesh.xds.hashing import destination_hash, hash_policy
from harness.localmesh.xds.headers import header_changes
from harness.localmesh.xds.match import everything, route_match, takes_everything
from harness.localmesh.xds.model import Resource, VirtualService
from harness.localmesh.xds.retry import retry_policy
from harness.localmesh.xds.view import View


@dataclass(frozen=True)
class Caller:
    """From where a VirtualService is looked at.

    Attributes:
        view: what the proxy sees.
        gateways: the names that `gateways` of a match may have: "mesh", or those of the Gateways ("namespace/name").
        port: the port called; at a gateway that of the Gateway's server.
        tls: whether the connection comes by TLS (at a gateway), which makes "https" the scheme.
    """

    view: View
    gateways: frozenset[str]
    port: int
    tls: bool = False

    def hash_of(self, destination: Destination) -> ConsistentHash | None:
        """The consistent hash by which the destination's hosts are chosen."""
        service = self.view.service(destination.host)
        rule = None if service is None else self.view.destination_rule(service)
        return destination_hash(rule, destination)


def service_route(cluster: str, hashed: ConsistentHash | None = None) -> Resource:
    """The route to a Service for which there is no VirtualService: no timeout, Istio's default retries.

    `hashed` makes hosts be chosen by it; unlike in a VirtualService's route, retries go elsewhere all the same.
    """
    _, port, _, host = cluster.split("|")
    action: Resource = {"cluster": cluster, "timeout": "0s", "retry_policy": retry_policy(None)}
    if hashed is not None and (policy := hash_policy(hashed)) is not None:
        action["hash_policy"] = [policy]
    operation = f"{names.bracketed(host)}:{port}/*"
    return {"name": "default", "match": everything(), "route": action, "decorator": {"operation": operation}}


def rule_routes(rule: VirtualService, caller: Caller) -> list[Resource]:
    """The routes of `rule`, whose names are full, as `caller` sees them: one per alternative of each `match`.

    The list and its routes are shared between all callers to whom they are the same: nobody may change them.
    """
    view, spec = caller.view, rule.spec
    matches = [match for http in spec.http for match in http.match]
    keys = {key for match in matches for key in match.source_labels}
    labels = frozenset(item for item in view.workload.labels.items() if item[0] in keys)
    namespace = view.namespace if any(match.source_namespace for match in matches) else ""
    ports = frozenset(_ports_taken(spec.http, view)) if view.proxy.gateway else frozenset()
    hashes = [caller.hash_of(item.destination) for http in spec.http for item in http.route]
    place = view.memo(Place, caller.port, caller.gateways, caller.tls, labels, namespace, ports)
    return view.memo(_rule_routes, rule, place, *hashes)


def _ports_taken(https: Sequence[HttpRoute], view: View) -> Iterator[tuple[str, int]]:
    """For a gateway: the hosts among the destinations that have one port only, which needs not be written, with it.

    A sidecar's destination without a port is at the port called, as istiod looks for Services at that port only.
    """
    for http in https:
        places = [item.destination for item in http.route] + [item.destination for item in http.mirrors]
        for destination in places if http.mirror is None else [*places, http.mirror]:
            service = view.service(destination.host)
            if service is not None and len(service.ports) == 1:
                yield destination.host, service.ports[0].number


def _rule_routes(rule: VirtualService, place: Place, *hashes: ConsistentHash | None) -> list[Resource]:
    rest = iter(hashes)
    made: list[Resource] = []
    for http in rule.spec.http:
        own = [next(rest) for _ in http.route]
        for match in http.match or (None,):
            if match is None or place.admits(match):
                made.append(_route(rule, http, match, place, own))
                if takes_everything(made[-1]["match"]):
                    return made
    return made


def _route(
    rule: VirtualService,
    http: HttpRoute,
    match: Match | None,
    place: Place,
    hashes: Sequence[ConsistentHash | None],
) -> Resource:
    path = f"/apis/networking.istio.io/v1/namespaces/{rule.namespace}/virtual-service/{rule.name}"
    route: Resource = {
        "match": route_match(match) if match else everything(),
        "metadata": {"filter_metadata": {"istio": {"config": path}}},
        **header_changes(http.headers),
    }
    if name := http.name + (f".{match.name}" if match and match.name else ""):
        route["name"] = name
    if match and match.stat_prefix:
        route["stat_prefix"] = match.stat_prefix
    if http.redirect is not None:
        route["redirect"] = redirect_action(http.redirect, place.port, tls=place.tls)
    elif http.direct_response is not None:
        route["direct_response"] = direct_response(http.direct_response)
    else:
        route["route"] = route_action(http, place, hashes)
        if len(http.route) == 1:
            for field, values in header_changes(http.route[0].headers).items():
                route[field] = [*route.get(field, ()), *values]
    route["decorator"] = {"operation": _operation(route, rule.name, place.port)}
    if filters := _filters(http):
        route["typed_per_filter_config"] = filters
    return route


def _filters(http: HttpRoute) -> Resource:
    filters: Resource = {}
    if http.fault is not None and (fault := faults.http_fault(http.fault)) is not None:
        filters[faults.FILTER] = fault
    if http.cors_policy is not None:
        filters[cors.FILTER] = cors.cors_policy(http.cors_policy)
    return filters


def _operation(route: Resource, rule: str, port: int) -> str:
    """What traces call it: the only destination, or the VirtualService, and the path."""
    match = route["match"]
    if "path" in match:
        path = match["path"]
    else:
        path = f"{match['prefix']}*" if "prefix" in match else match["safe_regex"]["regex"]
    if cluster := route.get("route", {}).get("cluster"):
        _, number, _, host = cluster.split("|")
        return f"{host}:{number}{path}"
    return f"{rule}:{port}{path}"
