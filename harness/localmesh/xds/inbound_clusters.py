"""Clusters of the inbound side: the workload's own program.

Differences from istiod, whose clusters keep the original destination of captured connections: these are STATIC at the
program's address, and there is one for every port that is declared or that a Service targets; one that no Service
leads to stands in the place of InboundPassthroughCluster and has its options.
Source: istio/istio `pilot/pkg/networking/core/cluster_builder.go` (buildInboundCluster).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.localmesh.xds import names, telemetry
from harness.localmesh.xds.model import Resource, Service, ServicePort
from harness.localmesh.xds.policy import NOTHING, policy_for
from harness.localmesh.xds.pools import passthrough_options, pool_fields, protocol, protocol_options
from harness.localmesh.xds.proto import address, typed
from harness.localmesh.xds.rules import Rule
from harness.localmesh.xds.view import View

_CLUSTER = "envoy.config.cluster.v3.Cluster"


def inbound_clusters(view: View) -> Iterator[Resource]:
    """The clusters of the ports of the workload's own program, by port."""
    for number, services in view.inbound_ports().items():
        # As in istiod, where a Sidecar leaves out the workload's own Service its DestinationRules are unknown here too.
        own = services[0][0] if services and view.service(services[0][0].host) is not None else None
        rule = view.destination_rule(own, inbound=True) if own else None
        timeout, ip = view.config.connect_timeout, view.workload.app_ip
        yield view.memo(_of_program, ip, number, rule, timeout, *(part for pair in services for part in pair))


def _of_program(ip: str, number: int, rule: Rule | None, connect_timeout: float, *parts: object) -> Resource:
    """The workload's own program; of the first Service's DestinationRule only the connection pool applies here.

    `parts` are the Services that lead to the port, each followed by its port.
    """
    services = [item for item in parts if isinstance(item, Service)]
    ports = [item for item in parts if isinstance(item, ServicePort)]
    name = names.inbound_cluster(number)
    policy = policy_for(rule, ports[0].number) if ports else NOTHING
    options = passthrough_options()
    metadata: Resource = {}
    if ports:
        spoken = protocol(ports[0], policy.connection_pool, sidecar=True, outbound=False)
        options = protocol_options(policy.connection_pool, spoken, {})
        metadata = {} if services[0].external else telemetry.cluster_metadata(_at_same_port(services, ports))
    if rule is not None and rule.spec.traffic_policy is not None and metadata:
        metadata = {**metadata, "istio": {**metadata["istio"], "config": rule.config}}
    return typed(
        _CLUSTER,
        name=name,
        alt_stat_name=f"{name};",
        type="STATIC",
        load_assignment={
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(ip, number)}}]}],
        },
        common_lb_config={},
        **({"metadata": {"filter_metadata": metadata}} if metadata else {}),
        **pool_fields(policy, connect_timeout),
        **options,
    )


def _at_same_port(
    services: Sequence[Service], ports: Sequence[ServicePort]
) -> list[tuple[Service, ServicePort]]:
    """The Services whose own port is that of the first one, one for each host."""
    found: dict[str, tuple[Service, ServicePort]] = {}
    for service, port in zip(services, ports, strict=True):
        if port.number == ports[0].number:
            found.setdefault(service.host, (service, port))
    return list(found.values())
