"""Hash policies of routes: what of a request a DestinationRule's consistent hash is taken of.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (ConsistentHashToHashPolicy, hashForService,
HashForHTTPDestination).
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.destinationrule import ConsistentHash, HttpCookie, TrafficPolicy
from harness.localmesh.kinds.istio.virtualservice import Destination
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import duration
from harness.localmesh.xds.rules import Rule


def hash_policy(consistent: ConsistentHash) -> Resource | None:
    """Envoy's policy; None when only the kind of the ring is given, which hashes nothing."""
    if consistent.http_header_name is not None:
        return {"header": {"header_name": consistent.http_header_name}}
    if consistent.http_cookie is not None:
        return {"cookie": _cookie(consistent.http_cookie)}
    if consistent.use_source_ip is not None:
        return {"connection_properties": {"source_ip": consistent.use_source_ip}}
    if consistent.http_query_parameter_name is not None:
        return {"query_parameter": {"name": consistent.http_query_parameter_name}}
    return None


def service_hash(rule: Rule | None, port: int) -> ConsistentHash | None:
    """The hash for requests straight to `port` of the Service that `rule` is for."""
    policy = rule.spec.traffic_policy if rule else None
    return _of_port(policy, port) or _of_all(policy)


def destination_hash(rule: Rule | None, destination: Destination) -> ConsistentHash | None:
    """The hash for a destination of a VirtualService: the subset's before the host's, a port's before the general one.

    A port counts only where the destination names it.
    """
    if rule is None:
        return None
    port = destination.port.number if destination.port else None
    subsets = (item.traffic_policy for item in rule.spec.subsets if item.name == destination.subset)
    subset, policy = next(subsets, None), rule.spec.traffic_policy
    return _of_port(subset, port) or _of_all(subset) or _of_port(policy, port) or _of_all(policy)


def _of_all(policy: TrafficPolicy | None) -> ConsistentHash | None:
    return policy.load_balancer.consistent_hash if policy and policy.load_balancer else None


def _of_port(policy: TrafficPolicy | None, port: int | None) -> ConsistentHash | None:
    for setting in policy.port_level_settings if policy else ():
        if setting.port and setting.port.number == port:
            return setting.load_balancer.consistent_hash if setting.load_balancer else None
    return None


def _cookie(cookie: HttpCookie) -> Resource:
    fields: Resource = {"name": cookie.name}
    if cookie.ttl is not None:
        fields["ttl"] = duration(cookie.ttl)
    if cookie.path:
        fields["path"] = cookie.path
    if cookie.attributes:
        fields["attributes"] = [{"name": item.name, "value": item.value} for item in cookie.attributes]
    return fields
