"""Clusters (CDS) of a proxy.

There is one for each Service port and each subset of it, one for each port of the workload's own program (see
`inbound_clusters`), and istiod's two for what the mesh does not know.

Differences from istiod, whose reason is that traffic is not captured but comes by an explicit proxy, which knows
host and port of a request and no original destination:

- PassthroughCluster looks up the request's host, and ServiceEntries with `resolution: NONE` do (see `discovery`);
- headless Services use EDS (see `endpoints.is_eds`), PASSTHROUGH is RANDOM (see `loadbalancing`).

Source: istio/istio `pilot/pkg/networking/core/cluster.go`, `cluster_builder.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.istio.destinationrule import Subset, TrafficPolicy
from harness.localmesh.xds import names, telemetry
from harness.localmesh.xds.discovery import (
    dns_cache,
    dns_fields,
    eds_fields,
    forwarding_fields,
    is_forwarded,
    keeps_address,
    standing_in,
)
from harness.localmesh.xds.endpoints import is_eds, whereabouts
from harness.localmesh.xds.inbound_clusters import inbound_clusters
from harness.localmesh.xds.loadbalancing import balancing_fields
from harness.localmesh.xds.model import Endpoint, MeshConfig, Resource, Service, ServicePort
from harness.localmesh.xds.policy import (
    NOTHING,
    endpoint_tls_mode,
    locality_setting,
    passes_through,
    policy_for,
)
from harness.localmesh.xds.pools import passthrough_options, pool_fields, protocol, protocol_options
from harness.localmesh.xds.proto import duration, typed
from harness.localmesh.xds.rules import Rule
from harness.localmesh.xds.tls import Peer, automatic_fields, client_sockets, with_proxy_protocol
from harness.localmesh.xds.view import View

__all__ = ["clusters", "dns_cache"]

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_NONE: tuple[Endpoint, ...] = ()


def clusters(view: View) -> dict[str, Resource]:
    """All clusters of the proxy by name, in istiod's order: outbound ones, those for the unknown, inbound ones."""
    made = dict(view.shared(_outbound, view.rules, view.served, view.namespace_mtls_modes, view.config))
    made[names.BLACK_HOLE] = view.memo(_black_hole, view.config.connect_timeout)
    if not view.proxy.gateway:
        made[names.PASSTHROUGH] = view.memo(_passthrough, view.config.connect_timeout)
        for cluster in inbound_clusters(view):
            made[cluster["name"]] = cluster
    return made


def _outbound(view: View) -> dict[str, Resource]:
    """Of several clusters of one name the first, as in istiod."""
    made: dict[str, Resource] = {}
    gateway, config = view.proxy.gateway, view.config
    for service in view.services:
        rule = view.destination_rule(service)
        by_port = [view.endpoints(service, port) for port in service.ports]
        identities = view.identities(service)
        mode = _mtls_mode(view, service)
        wanted = _wants_endpoints(service, rule)
        for port, found in zip(service.ports, by_port, strict=True):
            client = ("", "")
            if service.resolution in ("DNS", "DNS_ROUND_ROBIN"):
                client = whereabouts(view.proxy, rule, port, by_mesh=config.locality_enabled)
            members = found if wanted else _NONE
            for cluster in view.memo(
                _of_port, service, port, rule, config, gateway, mode, identities, members, *client
            ):
                made.setdefault(cluster["name"], cluster)
    return made


def _mtls_mode(view: View, service: Service) -> str:
    """The mode that auto mTLS goes by: that of the Service's namespace; "" where there is no auto mTLS.

    To callers STRICT is as PERMISSIVE, so that going from one to the other changes no cluster.
    """
    if service.external or not view.config.auto_mtls:
        return ""
    return "DISABLE" if view.namespace_mtls_mode(service.namespace) == "DISABLE" else "PERMISSIVE"


def _wants_endpoints(service: Service, rule: Rule | None) -> bool:
    """Whether clusters, and not only their assignments, depend on the endpoints."""
    if service.resolution != "CLIENT_SIDE":
        return True
    policies = (
        (rule.spec.traffic_policy, *(item.traffic_policy for item in rule.spec.subsets)) if rule else ()
    )
    return any(passes_through(policy) for policy in policies)


@dataclass(frozen=True)
class _Upstream:
    """What one outbound cluster is for."""

    service: Service
    port: ServicePort
    rule: Rule | None
    subset: Subset | None
    policy: TrafficPolicy
    gateway: bool
    config: MeshConfig

    @property
    def name(self) -> str:
        subset = self.subset.name if self.subset else ""
        return names.outbound_cluster(self.port.number, subset, self.service.host)

    @property
    def own_policy(self) -> TrafficPolicy | None:
        """The policy as it stands in the subset or in the rule, not merged."""
        if self.subset is not None:
            return self.subset.traffic_policy
        return self.rule.spec.traffic_policy if self.rule else None


def _of_port(  # noqa: PLR0917 - the memory knows arguments by their place
    service: Service,
    port: ServicePort,
    rule: Rule | None,
    config: MeshConfig,
    gateway: bool,
    mode: str,
    identities: frozenset[str],
    found: tuple[Endpoint, ...],
    where: str,
    labels: str,
) -> tuple[Resource, ...]:
    """The cluster of the port, and those of its subsets; none where DNS has nothing to look up."""
    made = []
    for subset in (None, *(rule.spec.subsets if rule else ())):
        policy = policy_for(rule, port.number, subset)
        upstream = _Upstream(service, port, rule, subset, policy, gateway, config)
        hosts = _hosts(upstream, found, (where, labels))
        if hosts is not None:
            made.append(_cluster(upstream, hosts, _mode(mode, upstream, found), identities))
        elif subset is None:
            break
    return tuple(made)


def _hosts(upstream: _Upstream, found: Sequence[Endpoint], client: tuple[str, str]) -> Resource | None:
    """The fields that say where hosts come from; None when DNS has none to look up."""
    service, port, rule = upstream.service, upstream.port, upstream.rule
    if is_eds(service, gateway=upstream.gateway):
        return eds_fields(upstream.name)
    if is_forwarded(service, port, gateway=upstream.gateway):
        return forwarding_fields()
    kept = keeps_address(service, gateway=upstream.gateway) or passes_through(upstream.policy)
    return dns_fields(
        upstream.name,
        service,
        [standing_in(service, port)] if keeps_address(service, gateway=upstream.gateway) else found,
        None if kept else upstream.subset,
        upstream.policy,
        client=client,
        mode=endpoint_tls_mode(rule, port.number, upstream.subset),
        by_mesh=upstream.config.locality_enabled,
    )


def _mode(mode: str, upstream: _Upstream, found: Sequence[Endpoint]) -> str:
    """`mode`; where the client chooses the endpoint, mTLS is for a Service all of whose endpoints have a sidecar."""
    if mode and (upstream.service.resolution == "PASSTHROUGH" or passes_through(upstream.own_policy)):
        return mode if found and all(endpoint.sidecar for endpoint in found) else "DISABLE"
    return mode


def _cluster(upstream: _Upstream, hosts: Resource, mode: str, identities: frozenset[str]) -> Resource:
    policy, rule = upstream.policy, upstream.rule
    pool, config = policy.connection_pool, upstream.config
    spoken = protocol(upstream.port, pool, sidecar=not upstream.gateway, outbound=True)
    peer = Peer(
        cluster=upstream.name,
        identities=identities,
        http2=spoken == "http2",
        mode=mode,
        registered=not upstream.service.kubernetes,
        may_use_credentials=upstream.gateway or (rule is not None and rule.selector is not None),
    )
    kept = keeps_address(upstream.service, gateway=upstream.gateway) or passes_through(policy)
    sockets = client_sockets(policy.tls, peer, by_endpoint=not kept)
    provided = hosts.get("lb_policy") == "CLUSTER_PROVIDED"
    setting = locality_setting(policy, by_mesh=config.locality_enabled)
    return typed(
        _CLUSTER,
        name=upstream.name,
        alt_stat_name=f"{upstream.name};",
        metadata={"filter_metadata": _metadata(upstream)},
        **hosts,
        **balancing_fields(policy, setting, chooses=not provided),
        **pool_fields(policy, config.connect_timeout),
        **protocol_options(pool, spoken, automatic_fields(policy.tls, peer)),
        **with_proxy_protocol(sockets, policy.proxy_protocol),
    )


def _metadata(upstream: _Upstream) -> Resource:
    metadata = telemetry.cluster_metadata([(upstream.service, upstream.port)])
    istio = dict(metadata["istio"])
    if upstream.rule is not None:
        istio["config"] = upstream.rule.config
        if upstream.policy.tls and upstream.policy.tls.mode in ("SIMPLE", "MUTUAL"):
            istio["alpn_override"] = "false"
    if upstream.subset is not None:
        istio["subset"] = upstream.subset.name
    elif upstream.service.external:
        istio["external"] = True
    return {**metadata, "istio": istio}


def _black_hole(connect_timeout: float) -> Resource:
    return typed(
        _CLUSTER,
        name=names.BLACK_HOLE,
        alt_stat_name=f"{names.BLACK_HOLE};",
        type="STATIC",
        connect_timeout=duration(connect_timeout),
        metadata={"filter_metadata": telemetry.elsewhere_metadata(names.BLACK_HOLE)},
    )


def _passthrough(connect_timeout: float) -> Resource:
    return typed(
        _CLUSTER,
        name=names.PASSTHROUGH,
        alt_stat_name=f"{names.PASSTHROUGH};",
        metadata={"filter_metadata": telemetry.elsewhere_metadata(names.PASSTHROUGH)},
        **pool_fields(NOTHING, connect_timeout),
        **passthrough_options(),
        **forwarding_fields(),
    )
