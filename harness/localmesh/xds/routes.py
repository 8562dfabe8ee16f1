"""Routes of a virtual host: what a VirtualService asks for, or straight to the Service.

Source: istio/istio `pilot/pkg/networking/core/route/route.go`. The order is that of the VirtualService; nothing is
sorted by specificity, and what comes after a rule that takes everything is left out. `max_grpc_timeout` is left out
too: it is deprecated, Envoy warns of it on every load, and it matters to deadlines of gRPC clients only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.localmesh.kinds.istio.virtualservice import (
    DirectResponse,
    Fault,
    HeaderOperations,
    HttpRoute,
    Match,
    Percentage,
    Redirect,
    Rewrite,
    WeightedDestination,
)
from harness.localmesh.xds import names, registry
from harness.localmesh.xds.match import everything, route_match, takes_everything
from harness.localmesh.xds.model import Mesh, Resource, VirtualService
from harness.localmesh.xds.proto import duration, typed
from harness.localmesh.xds.retry import retry_policy

_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_AUTHORITY = ("host", ":authority")


@dataclass(frozen=True)
class Caller:
    """From where a VirtualService is looked at: `gateway` is "mesh" or "namespace/name", `port` the port called."""

    mesh: Mesh
    labels: Mapping[str, str]
    namespace: str
    gateways: frozenset[str]
    port: int


def service_route(cluster: str) -> Resource:
    """The route to a Service for which there is no VirtualService: no timeout, Istio's default retries."""
    return {
        "name": "default",
        "match": everything(),
        "route": {"cluster": cluster, "timeout": "0s", "retry_policy": retry_policy(None)},
    }


def rule_routes(rule: VirtualService, caller: Caller) -> list[Resource]:
    """The routes of `rule` as `caller` sees them; one per alternative of each `match`."""
    made: list[Resource] = []
    for http in rule.spec.http:
        for match in http.match or (None,):
            if match is not None and not _applies(rule, match, caller):
                continue
            made.append(_route(rule, http, match, caller))
            if takes_everything(made[-1]["match"]):
                return made
    return made


def _applies(rule: VirtualService, match: Match, caller: Caller) -> bool:
    """Whether `match` can hold for requests of `caller` at all: what depends on the proxy is decided here."""
    return (
        (match.port is None or match.port == caller.port)
        and (not match.gateways or bool(registry.bound_gateways(rule, match.gateways) & caller.gateways))
        and registry.carries(caller.labels, match.source_labels)
        and match.source_namespace in ("", caller.namespace)
    )


def _route(rule: VirtualService, http: HttpRoute, match: Match | None, caller: Caller) -> Resource:
    path = f"/apis/networking.istio.io/v1/namespaces/{rule.namespace}/virtual-service/{rule.name}"
    route: Resource = {
        "name": ".".join(filter(None, (http.name, match.name if match else ""))),
        "match": route_match(match) if match else everything(),
        "metadata": {"filter_metadata": {"istio": {"config": path}}},
    }
    if http.redirect is not None:
        route["redirect"] = _redirect(http.redirect)
    elif http.direct_response is not None:
        route["direct_response"] = _direct_response(http.direct_response)
    else:
        route["route"] = _action(rule, http, caller)
        if http.fault is not None:
            route["typed_per_filter_config"] = {"envoy.filters.http.fault": _fault(http.fault)}
    single = http.route[0].headers if len(http.route) == 1 else None
    for headers in filter(None, (http.headers, single)):
        for field, value in _header_fields(headers.request, headers.response):
            route.setdefault(field, []).extend(value)
    return route


def _action(rule: VirtualService, http: HttpRoute, caller: Caller) -> Resource:
    action: Resource = {
        **_destinations(rule, http.route, caller),
        "timeout": duration(http.timeout or 0.0),
    }
    if (policy := retry_policy(http.retries)) is not None:
        action["retry_policy"] = policy
    if http.rewrite is not None:
        action.update(_rewrite(http.rewrite))
    if authority := _authority(http.headers.request):
        action["host_rewrite_literal"] = authority
    return action


def _destinations(rule: VirtualService, route: tuple[WeightedDestination, ...], caller: Caller) -> Resource:
    if len(route) == 1:
        action: Resource = {"cluster": _cluster(rule, route[0], caller)}
        if authority := _authority(route[0].headers.request):
            action["host_rewrite_literal"] = authority
        return action
    return {"weighted_clusters": {"clusters": [_share(rule, item, caller) for item in route if item.weight]}}


def _share(rule: VirtualService, item: WeightedDestination, caller: Caller) -> Resource:
    share: Resource = {"name": _cluster(rule, item, caller), "weight": item.weight}
    share.update(_header_fields(item.headers.request, item.headers.response))
    if authority := _authority(item.headers.request):
        share["host_rewrite_literal"] = authority
    return share


def _cluster(rule: VirtualService, item: WeightedDestination, caller: Caller) -> str:
    """The cluster of a destination; one that does not exist is named all the same, and answers 503 NC, as in Istio."""
    destination = item.destination
    host = registry.fqdn(destination.host, rule.namespace)
    service = next((service for service in caller.mesh.services if service.host == host), None)
    port = caller.port
    if destination.port is not None:
        port = destination.port.number
    elif service is not None and len(service.ports) == 1:
        port = service.ports[0].number
    return names.outbound_cluster(port, destination.subset, host)


def _rewrite(rewrite: Rewrite) -> Resource:
    fields: Resource = {}
    if rewrite.uri:
        fields["prefix_rewrite"] = rewrite.uri
    if (regex := rewrite.uri_regex_rewrite) is not None:
        fields["regex_rewrite"] = {"pattern": {"regex": regex.match}, "substitution": regex.rewrite}
    if rewrite.authority:
        fields["host_rewrite_literal"] = rewrite.authority
    return fields


def _redirect(redirect: Redirect) -> Resource:
    given = {
        "path_redirect": redirect.uri,
        "host_redirect": redirect.authority,
        "scheme_redirect": redirect.scheme,
        "port_redirect": redirect.port,
    }
    fields = {name: value for name, value in given.items() if value}
    return {**fields, "response_code": _REDIRECTS[redirect.redirect_code]}


def _direct_response(response: DirectResponse) -> Resource:
    body = {"body": {"inline_string": response.body.string}} if response.body is not None else {}
    return {"status": response.status, **body}


def _fault(fault: Fault) -> Resource:
    fields: Resource = {}
    if fault.delay is not None:
        fields["delay"] = {
            "fixed_delay": duration(fault.delay.fixed_delay),
            "percentage": _fraction(fault.delay.percentage),
        }
    if fault.abort is not None:
        fields["abort"] = {
            "http_status": fault.abort.http_status,
            "percentage": _fraction(fault.abort.percentage),
        }
    return typed("envoy.extensions.filters.http.fault.v3.HTTPFault", **fields)


def _fraction(percentage: Percentage | None) -> Resource:
    if percentage is None:
        return {"numerator": 0, "denominator": "HUNDRED"}
    # Like istiod, which cuts off what a millionth cannot hold.
    return {"numerator": int(percentage.value * 10_000), "denominator": "MILLION"}


def _authority(operations: HeaderOperations) -> str:
    return next((value for name, value in operations.set.items() if name.lower() in _AUTHORITY), "")


def _header_fields(
    request: HeaderOperations, response: HeaderOperations
) -> Iterator[tuple[str, list[object]]]:
    for side, operations in (("request", request), ("response", response)):
        added = [
            *_options(operations.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
            *_options(operations.add, "APPEND_IF_EXISTS_OR_ADD"),
        ]
        removed = sorted(name for name in operations.remove if _plain(name))
        if added:
            yield f"{side}_headers_to_add", added
        if removed:
            yield f"{side}_headers_to_remove", [*removed]


def _options(headers: Mapping[str, str], action: str) -> Iterator[object]:
    for name, value in sorted(headers.items()):
        if _plain(name):
            yield {"header": {"key": name, "value": value}, "append_action": action}


def _plain(name: str) -> bool:
    """Pseudo-headers and the host are no headers to add or remove."""
    return not name.startswith(":") and name.lower() != "host"
