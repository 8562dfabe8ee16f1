"""Questions about the mesh: which workloads a Service has, and which rule or policy applies where.

Each answer is istiod's, given the same objects; the oldest object wins where two say different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.localmesh.kinds.istio import virtualservice
from harness.localmesh.kinds.istio.destinationrule import Subset, TrafficPolicy
from harness.localmesh.xds import names
from harness.localmesh.xds.model import (
    ROOT_NAMESPACE,
    TRUST_DOMAIN,
    DestinationRule,
    Mesh,
    Named,
    Service,
    ServicePort,
    VirtualService,
    Workload,
)

MESH_GATEWAY = virtualservice.MESH

N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Upstream:
    """What an outbound cluster stands for: a port of a Service, narrowed to a subset by `labels`.

    `backends` are all workloads of the Service, ready or not and of any subset, by address.
    """

    service: Service
    port: ServicePort
    subset: str
    labels: Mapping[str, str]
    policy: TrafficPolicy
    backends: tuple[Workload, ...]

    @property
    def name(self) -> str:
        """The cluster's name."""
        return names.outbound_cluster(self.port.number, self.subset, self.service.host)


def by_age(objects: Iterable[N]) -> list[N]:
    """`objects`, oldest first."""
    return sorted(objects, key=lambda item: (item.created, item.name, item.namespace, item.uid))


def carries(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether `labels` has everything that `selector` asks for."""
    return selector.items() <= labels.items()


def fqdn(host: str, namespace: str) -> str:
    """The full name of a host as written in a rule of `namespace`: only a name without dots is a short one."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.{TRUST_DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Whether `pattern`, a host or a wildcard, covers `host`, which may be a wildcard too."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def backends(mesh: Mesh, service: Service) -> tuple[Workload, ...]:
    """The workloads that `service` selects, ready or not, by address."""
    if not service.selector:
        return ()
    found = sorted(
        (
            workload
            for workload in mesh.workloads
            if workload.namespace == service.namespace and carries(workload.labels, service.selector)
        ),
        key=lambda workload: (workload.ip, workload.name),
    )
    return tuple(found)


def target_port(port: ServicePort, workload: Workload) -> int | None:
    """The workload's port behind a Service's; None when the workload has no port of that name."""
    if isinstance(port.target, int):
        return port.target
    return dict(workload.ports).get(port.target)


def http_ports(service: Service) -> list[ServicePort]:
    """The ports that carry HTTP: all that are not declared TCP (the local mesh does not sniff)."""
    return [port for port in service.ports if port.protocol != "tcp"]


def inbound_ports(mesh: Mesh, workload: Workload) -> dict[int, list[tuple[Service, ServicePort]]]:
    """The ports of a workload's inbound side, declared or targeted by a Service, with the Services behind each."""
    ports: dict[int, list[tuple[Service, ServicePort]]] = {number: [] for _, number in workload.ports}
    for service in sorted(mesh.services, key=lambda service: service.host):
        if workload.namespace != service.namespace or not service.selector:
            continue
        if carries(workload.labels, service.selector):
            for port in service.ports:
                if (number := target_port(port, workload)) is not None:
                    ports.setdefault(number, []).append((service, port))
    return dict(sorted(ports.items()))


def upstreams(mesh: Mesh, namespace: str) -> Iterator[Upstream]:
    """Every outbound cluster that a proxy in `namespace` gets, by Service, port, and subset as written."""
    for service in sorted(mesh.services, key=lambda service: service.host):
        policy, subsets = destination_rule(mesh, service.host, namespace, service.namespace)
        workloads = backends(mesh, service)
        for port in http_ports(service):
            yield Upstream(service, port, "", {}, policy, workloads)
            for subset in subsets.values():
                merged = _merged(policy, subset.traffic_policy)
                yield Upstream(service, port, subset.name, subset.labels, merged, workloads)


def destination_rule(
    mesh: Mesh, host: str, client_namespace: str, service_namespace: str
) -> tuple[TrafficPolicy, dict[str, Subset]]:
    """The policy and the subsets for `host`: of the client's namespace, else the Service's, else the root.

    In one namespace the most specific host counts; rules for the same host are merged, the oldest first.
    """
    for namespace in dict.fromkeys((client_namespace, service_namespace, ROOT_NAMESPACE)):
        rules = [rule for rule in by_age(mesh.destination_rules) if rule.namespace == namespace]
        hosts = {rule.uid: fqdn(rule.spec.host, namespace) for rule in rules}
        if best := most_specific(host, hosts.values()):
            return _combined([rule for rule in rules if hosts[rule.uid] == best])
    return TrafficPolicy(), {}


def most_specific(host: str, patterns: Iterable[str]) -> str | None:
    """The pattern that covers `host` most closely: the host itself, then the longest wildcard."""
    fitting = [pattern for pattern in patterns if covers(pattern, host)]
    return max(fitting, key=lambda pattern: (pattern == host, len(pattern)), default=None)


def _combined(rules: Sequence[DestinationRule]) -> tuple[TrafficPolicy, dict[str, Subset]]:
    policies = [rule.spec.traffic_policy for rule in rules if rule.spec.traffic_policy is not None]
    subsets: dict[str, Subset] = {}
    for rule in rules:
        for subset in rule.spec.subsets:
            subsets.setdefault(subset.name, subset)
    return (policies[0] if policies else TrafficPolicy()), subsets


def _merged(policy: TrafficPolicy, own: TrafficPolicy | None) -> TrafficPolicy:
    if own is None:
        return policy
    return TrafficPolicy(
        connection_pool=own.connection_pool or policy.connection_pool,
        outlier_detection=own.outlier_detection or policy.outlier_detection,
        load_balancer=own.load_balancer or policy.load_balancer,
        tls=own.tls or policy.tls,
    )


def bound_gateways(rule: VirtualService, gateways: Iterable[str] | None = None) -> set[str]:
    """The gateways of `rule`, or those given: "mesh" and "namespace/name"."""
    given = rule.spec.gateways if gateways is None else gateways
    return {
        name if name == MESH_GATEWAY or "/" in name else f"{rule.namespace}/{name}"
        for name in given or (MESH_GATEWAY,)
    }


def virtual_service(mesh: Mesh, host: str) -> VirtualService | None:
    """The VirtualService of sidecars for `host`: the most specific host, the oldest for the same one."""
    candidates: dict[str, VirtualService] = {}
    for rule in by_age(mesh.virtual_services):
        if MESH_GATEWAY in bound_gateways(rule):
            for written in rule.spec.hosts:
                candidates.setdefault(fqdn(written, rule.namespace), rule)
    best = most_specific(host, candidates)
    return candidates[best] if best else None


def mtls_mode(mesh: Mesh, workload: Workload, port: int) -> str:
    """The effective mode of a workload's port: STRICT, PERMISSIVE or DISABLE.

    A policy for the workload beats one for its namespace beats one for the mesh; UNSET inherits; port levels are
    keyed by the workload's port. A policy with a selector in the root namespace is ignored, as in istiod.
    """
    inherited = namespace_mtls_mode(mesh, workload.namespace)
    if workload.namespace == ROOT_NAMESPACE:
        return inherited
    for policy in by_age(mesh.peer_authentications):
        wanted = policy.spec.selector.match_labels
        if policy.namespace == workload.namespace and wanted and carries(workload.labels, wanted):
            if policy.spec.mtls.mode != "UNSET":
                inherited = policy.spec.mtls.mode
            level = policy.spec.port_level_mtls.get(str(port))
            return level.mode if level is not None and level.mode != "UNSET" else inherited
    return inherited


def namespace_mtls_mode(mesh: Mesh, namespace: str) -> str:
    """The mode of a namespace as a whole, which is what clients' clusters depend on."""
    for scope in dict.fromkeys((namespace, ROOT_NAMESPACE)):
        for policy in by_age(mesh.peer_authentications):
            if policy.namespace == scope and not policy.spec.selector.match_labels:
                if policy.spec.mtls.mode != "UNSET":
                    return policy.spec.mtls.mode
                break
    return "PERMISSIVE"
