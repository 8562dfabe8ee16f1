"""TCP and TLS Services as filter chains of an outbound listener, by `tcp` and `tls` routes of VirtualServices.

In a cluster the destination of a connection is the Service's address, which `destinationSubnets` are compared
with in Envoy. Here a program connects to an address of its own sidecar (`given`), so they are compared with
the Service's address when the listener is made.
Source: istio/istio `pilot/pkg/networking/core/tls.go`, `networkfilter.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.localmesh.kinds.istio.virtualservice import L4Match, RouteDestination, TlsMatch
from harness.localmesh.xds import names
from harness.localmesh.xds.hosts import matches
from harness.localmesh.xds.loggers import connection_logs
from harness.localmesh.xds.model import Resource, Service, ServicePort, VirtualService
from harness.localmesh.xds.proto import duration, extension
from harness.localmesh.xds.rules import Rule
from harness.localmesh.xds.view import View
from harness.localmesh.xds.virtualservices import MESH

_ANY = ""
"""Stands for all server names."""

CONNECT_TIMEOUT = "15s"
"""How long a TLS handshake with a client may take, as istiod has it."""


@dataclass(frozen=True)
class Chain:
    """One filter chain before it is known where it is used: by server name and destination; () means any."""

    filters: tuple[Resource, ...]
    server_names: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    config: str = ""

    @property
    def match(self) -> Resource:
        """What the chain is chosen by, besides the destination."""
        return {"server_names": sorted(self.server_names)} if self.server_names else {}

    def resource(self) -> Resource:
        """The chain as Envoy's."""
        made: Resource = {"filters": [*self.filters], "transport_socket_connect_timeout": CONNECT_TIMEOUT}
        if self.match:
            made["filter_chain_match"] = self.match
        if self.config:
            made["metadata"] = {"filter_metadata": {"istio": {"config": self.config}}}
        return made


def service_chains(view: View, service: Service, port: ServicePort) -> list[Chain]:
    """The chains for a TCP or TLS port of `service`, as istiod makes them, the one for everything last."""
    egress = view.scope.egress_for(port.number)
    rules = [
        rule
        for rule in (egress.virtual_services if egress else ())
        if (rule.spec.tls if port.is_tls else rule.spec.tcp)
        and any(matches(host, service.host) for host in rule.spec.hosts)
    ]
    chains = _tls_chains(view, port, rules) if port.is_tls else _tcp_chains(view, port, rules)
    if chains and (port.is_tls or not chains[-1].subnets):
        return chains
    rule = view.destination_rule(service)
    number = service.ports[0].number if len(service.ports) == 1 else port.number
    cluster = names.outbound_cluster(number, "", service.host)
    return [*chains, Chain(decoded(port, _to_cluster(view, cluster, rule, "")))]


def reached(chains: Iterable[Chain], addresses: Sequence[str]) -> list[Chain]:
    """Of `chains` those that connections to one of `addresses` can take: one for each server name.

    As in Envoy the narrowest subnet wins, and a chain without subnets takes what is left. Of two routes for one server
    name the first gets it; istiod's listener would have both, and Envoy refuse it as a whole.
    """
    chosen: list[Chain] = []
    taken: set[str] = set()
    for chain in sorted(chains, key=lambda item: -_narrowness(item, addresses)):
        if not chain.subnets or _narrowness(chain, addresses) >= 0:
            free = [name for name in chain.server_names or (_ANY,) if name.lower() not in taken]
            taken.update(name.lower() for name in free)
            if free:
                chosen.append(replace(chain, server_names=tuple(name for name in free if name != _ANY)))
    return chosen


def _narrowness(chain: Chain, addresses: Sequence[str]) -> int:
    """The length of the longest subnet of `chain` that holds one of `addresses`, -1 for none."""
    found = [-1]
    for subnet in chain.subnets:
        network = ipaddress.ip_network(subnet, strict=False)
        if any("/" not in item and ipaddress.ip_address(item) in network for item in addresses):
            found.append(network.prefixlen)
    return max(found)


def _tcp_chains(view: View, port: ServicePort, rules: Iterable[VirtualService]) -> list[Chain]:
    chains: list[Chain] = []
    for rule in rules:
        for route in rule.spec.tcp:
            matching = [match for match in route.match if applies(match, view, port.number, {MESH})]
            general = any(not match.destination_subnets for match in matching)
            filters = decoded(port, to_destinations(view, rule, route.route, port.number))
            if not route.match or general:
                return [*chains, Chain(filters, config=_config(rule))]
            subnets = [subnet for match in matching for subnet in match.destination_subnets]
            if subnets:
                chains.append(Chain(filters, subnets=tuple(subnets)))
    return chains


def _tls_chains(view: View, port: ServicePort, rules: Iterable[VirtualService]) -> list[Chain]:
    chains: dict[tuple[tuple[str, ...], tuple[str, ...]], Chain] = {}
    for rule in rules:
        for route in rule.spec.tls:
            for match in route.match:
                key = (match.sni_hosts, match.destination_subnets)
                if applies(match, view, port.number, {MESH}) and key not in chains:
                    filters = (to_destinations(view, rule, route.route, port.number),)
                    chains[key] = Chain(filters, *key, config=_config(rule))
    return list(chains.values())


def applies(match: L4Match | TlsMatch, view: View, port: int, gateways: set[str]) -> bool:
    """Whether `match` can hold for connections of the proxy at all."""
    return (
        (not match.gateways or bool(gateways & set(match.gateways)))
        and match.source_labels.items() <= view.workload.labels.items()
        and match.port in (None, 0, port)
        and match.source_namespace in ("", view.namespace)
    )


def _config(rule: VirtualService) -> str:
    return f"/apis/networking.istio.io/v1/namespaces/{rule.namespace}/virtual-service/{rule.name}"


def to_destinations(
    view: View, rule: VirtualService, route: Sequence[RouteDestination], port: int
) -> Resource:
    """The TCP proxy for a route at `port`, with the policy of the first destination's Service."""
    first = view.service(route[0].destination.host)
    policy = view.destination_rule(first) if first else None
    if len(route) == 1:
        return _to_cluster(view, _cluster(view, route[0], port), policy, route[0].destination.subset)
    clusters = [{"name": _cluster(view, item, port), "weight": item.weight} for item in route if item.weight]
    prefix = f"{rule.name}.{rule.namespace}"
    return _tcp_proxy(view, prefix, policy, "", weighted_clusters={"clusters": clusters})


def _cluster(view: View, item: RouteDestination, port: int) -> str:
    destination = item.destination
    service = view.service(destination.host)
    number = port
    if destination.port is not None:
        number = destination.port.number
    elif service is not None and len(service.ports) == 1:
        number = service.ports[0].number
    return names.outbound_cluster(number, destination.subset, destination.host)


def _to_cluster(view: View, cluster: str, rule: Rule | None, subset: str) -> Resource:
    return _tcp_proxy(view, cluster, rule, subset, cluster=cluster)


def _tcp_proxy(view: View, stat_prefix: str, rule: Rule | None, subset: str, **target: object) -> Resource:
    fields: Resource = {}
    policy = rule.spec.traffic_policy if rule else None
    if policy and policy.connection_pool and (pool := policy.connection_pool.tcp):
        if pool.idle_timeout:
            fields["idle_timeout"] = duration(pool.idle_timeout)
        if pool.max_connection_duration:
            fields["max_downstream_connection_duration"] = duration(pool.max_connection_duration)
    if rule and _by_source(rule, subset):
        fields["hash_policy"] = [{"source_ip": {}}]
    return tcp_proxy(stat_prefix, connection_logs(view, "CLIENT"), **target, **fields)


def _by_source(rule: Rule, subset: str) -> bool:
    """Whether the load balancer of the subset, or else of the rule, hashes the caller's address."""
    policies = [item.traffic_policy for item in rule.spec.subsets if item.name == subset]
    balancers = [item.load_balancer for item in (*policies, rule.spec.traffic_policy) if item]
    own = next((item for item in balancers if item), None)
    return bool(own and own.consistent_hash and own.consistent_hash.use_source_ip)


def decoded(port: ServicePort, proxy: Resource) -> tuple[Resource, ...]:
    """The filters of `port` that end with the TCP `proxy`: what MongoDB's clients say is counted before it."""
    if port.protocol != "mongo":
        return (proxy,)
    codec = extension(
        "envoy.filters.network.mongo_proxy",
        "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        stat_prefix=proxy["typed_config"]["stat_prefix"],
    )
    return codec, proxy


def tcp_proxy(stat_prefix: str, logs: Sequence[Resource], **settings: object) -> Resource:
    """The filter that passes bytes on; `logs` get an entry when the callee is reached, and one at the end."""
    if logs:
        settings = {
            **settings,
            "access_log": [*logs],
            "access_log_options": {"flush_access_log_on_connected": True},
        }
    return extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=stat_prefix,
        **settings,
    )
