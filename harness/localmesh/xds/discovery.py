"""Where a cluster's hosts come from: EDS, DNS, or the host that each request names.

DNS clusters are of Envoy's newer form (`envoy.clusters.dns`) with istiod's settings, as Envoy warns of the older
one. A ServiceEntry with `resolution: NONE` is for istiod an ORIGINAL_DST cluster: requests go on to the address
that the client connected to. An explicit proxy knows no such address but the request's host, so

- HTTP ports, and hosts with a wildcard, look up each request's host (`dynamic_forward_proxy`);
- TCP and TLS ports, and those with a `targetPort`, go to the ServiceEntry's address, or its host looked up.

Source: istio/istio `pilot/pkg/networking/core/cluster.go` (convertResolution), `cluster_builder.go` (buildCluster).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from harness.localmesh.kinds.istio.destinationrule import Subset, TrafficPolicy
from harness.localmesh.xds.endpoints import assignment, is_eds, localities, of_subset
from harness.localmesh.xds.hosts import is_ip, is_wildcard
from harness.localmesh.xds.model import Endpoint, Locality, Resource, Service, ServicePort
from harness.localmesh.xds.proto import duration, extension, xds

_DNS_REFRESH = 60.0
_DNS_JITTER = 0.1
_FAMILY = "V4_ONLY"


def is_forwarded(service: Service, port: ServicePort, *, gateway: bool) -> bool:
    """Whether the host of each request is looked up."""
    if not keeps_address(service, gateway=gateway):
        return False
    return is_wildcard(service.host) or (port.is_http and not port.target)


def keeps_address(service: Service, *, gateway: bool) -> bool:
    """Whether requests are for the address that the client itself has chosen (istiod: ORIGINAL_DST)."""
    return service.resolution == "PASSTHROUGH" and not is_eds(service, gateway=gateway)


def eds_fields(name: str) -> Resource:
    """Hosts by EDS, under the cluster's own name."""
    return {"type": "EDS", "eds_cluster_config": {"eds_config": xds(), "service_name": name}}


def dns_fields(
    name: str,
    service: Service,
    found: Sequence[Endpoint],
    subset: Subset | None,
    policy: TrafficPolicy,
    *,
    client: tuple[str, str],
    mode: str,
    by_mesh: bool,
) -> Resource | None:
    """Hosts `found` by DNS, those of `subset`; None when there are none.

    istiod applies `failoverPriority` to the cluster of the whole port only, and takes the first of several hosts
    for DNS_ROUND_ROBIN. Where `distribute` leaves even that out, Envoy wants the cluster to be one of many hosts.
    """
    if service.resolution == "DNS_ROUND_ROBIN":
        found = found[:1]
    if subset is not None:
        policy = _without_failover_priority(policy)
    groups = localities(of_subset(found, subset), policy, client, by_mesh=by_mesh)
    if not groups:
        return None
    single = service.resolution == "DNS_ROUND_ROBIN" and [len(group.members) for group in groups] == [1]
    config = extension(
        "envoy.clusters.dns",
        "envoy.extensions.clusters.dns.v3.DnsCluster",
        dns_refresh_rate=duration(_DNS_REFRESH),
        dns_jitter=duration(_DNS_JITTER),
        respect_dns_ttl=True,
        dns_lookup_family=_FAMILY,
        typed_dns_resolver_config=_resolver(),
        **({"all_addresses_in_single_endpoint": True} if single else {}),
    )
    return {"cluster_type": config, "load_assignment": assignment(name, groups, mode)}


def _without_failover_priority(policy: TrafficPolicy) -> TrafficPolicy:
    balancer = policy.load_balancer
    setting = balancer.locality_lb_setting if balancer else None
    if balancer is None or setting is None or not setting.failover_priority:
        return policy
    # `failover` alone would count; beside `failoverPriority` it still does, after what is left out here.
    left = msgspec.structs.replace(setting, failover_priority=(), enabled=bool(setting.failover))
    return msgspec.structs.replace(
        policy, load_balancer=msgspec.structs.replace(balancer, locality_lb_setting=left)
    )


def standing_in(service: Service, port: ServicePort) -> Endpoint:
    """What the client would have connected to, for TCP ports: the ServiceEntry's address, else its host."""
    single = [item for item in service.addresses if is_ip(item)]
    target = port.target if isinstance(port.target, int) else 0
    return replace(
        _NOWHERE,
        address=single[0] if single else service.host,
        port=target or port.number,
        workload=service.entry,
        namespace=service.namespace,
    )


_NOWHERE = Endpoint("", 0, {}, Locality(), 0, mtls=False, identity="", ready=True, workload="", namespace="")


def forwarding_fields() -> Resource:
    """Hosts by the request, looked up when they are asked for."""
    config = extension(
        "envoy.clusters.dynamic_forward_proxy",
        "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        dns_cache_config=dns_cache(),
        # Envoy insists on names in certificates otherwise, even where there is no TLS.
        allow_insecure_cluster_options=True,
    )
    return {"cluster_type": config, "lb_policy": "CLUSTER_PROVIDED"}


def dns_cache() -> Resource:
    """The `dns_cache_config` that clusters of looked-up hosts share with the filter of their listeners."""
    return {
        "name": "dynamic_forward_proxy_cache",
        "dns_lookup_family": _FAMILY,
        "typed_dns_resolver_config": _resolver(),
    }


def _resolver() -> Resource:
    return extension(
        "envoy.network.dns_resolver.cares",
        "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        udp_max_queries=100,
    )
