"""The Services of the mesh with their endpoints, as istiod's service registries see them.

A Kubernetes Service selects pods, and WorkloadEntries of its namespace; a ServiceEntry is one Service for each
of its hosts, whose endpoints are its own, the pods and WorkloadEntries it selects, or (resolved by DNS) its
host.
Source: istio/istio `pilot/pkg/serviceregistry/serviceentry/conversion.go`,
`pilot/pkg/serviceregistry/kube/conversion.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from harness.localmesh.kinds import istio
from harness.localmesh.xds import authn
from harness.localmesh.xds.hosts import is_ip
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import (
    CLUSTER_ID,
    ROOT_NAMESPACE,
    Endpoint,
    Locality,
    Mesh,
    Named,
    Resolution,
    Service,
    ServiceEntry,
    ServicePort,
    Workload,
    WorkloadEntry,
    spiffe,
)

_RESOLUTIONS: dict[str, Resolution] = {
    "NONE": "PASSTHROUGH",
    "STATIC": "CLIENT_SIDE",
    "DNS": "DNS",
    "DNS_ROUND_ROBIN": "DNS_ROUND_ROBIN",
}
N = TypeVar("N", bound=Named)

_TLS_MODE = "security.istio.io/tlsMode"
_LOCALITY = "istio-locality"

_PROTOCOLS = {
    **{name: name for name in ("http", "http2", "grpc", "grpc-web", "tcp", "https", "tls", "mongo")},
    **dict.fromkeys(("mysql", "redis"), "tcp"),
}
"""What istiod makes of a protocol's name; MySQL and Redis are plain TCP, as their filters are off by default
(istio/istio `pkg/config/protocol/instance.go`, `pilot/pkg/features/xds.go`)."""
_OF_KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_WELL_KNOWN = frozenset({25, 53, 3306, 27017})
"""Ports where the server speaks first: never HTTP unless it is said."""


def port_protocol(name: str, app_protocol: str, number: int) -> str:
    """The protocol of a Kubernetes Service's port, "" where nothing declares one.

    Its appProtocol says it, else its name, each up to the first dash (istio/istio `pkg/config/kube/conversion.go`,
    ConvertProtocol).
    """
    if app_protocol in _OF_KUBERNETES:
        return _OF_KUBERNETES[app_protocol]
    said = (app_protocol or name).lower()
    if said.startswith("grpc-web"):
        return "grpc-web"
    return _PROTOCOLS.get(said.partition("-")[0], "tcp" if number in _WELL_KNOWN else "")


def entry_services(entry: ServiceEntry) -> list[Service]:
    """The Services of a ServiceEntry: one for each host."""
    spec = entry.spec
    ports = tuple(
        ServicePort(port.name, port.number, port.target_port or 0, _PROTOCOLS.get(port.protocol.lower(), ""))
        for port in spec.ports
    )
    return [
        Service(
            host=host,
            name=host,
            namespace=entry.namespace,
            created=entry.created,
            ports=ports,
            addresses=tuple(_bare(address) for address in spec.addresses),
            selector=spec.workload_selector.labels if spec.workload_selector else {},
            resolution=_RESOLUTIONS[spec.resolution],
            export_to=frozenset(spec.export_to),
            external=spec.location == "MESH_EXTERNAL",
            accounts=tuple(spec.subject_alt_names),
            kubernetes=False,
            entry=entry.name,
        )
        for host in spec.hosts
    ]


def _bare(address: str) -> str:
    """A CIDR of one address is that address."""
    if "/" not in address:
        return address
    network = ipaddress.ip_network(address, strict=False)
    return str(network.network_address) if network.num_addresses == 1 else address


class Population:
    """The workloads of the mesh, to be found by label: pods and WorkloadEntries."""

    def __init__(self, workloads: Iterable[Workload], entries: Iterable[WorkloadEntry]) -> None:
        self._pods: dict[str, list[Workload]] = {}
        self._by_label: dict[tuple[str, str, str], list[Workload]] = {}
        for workload in sorted(workloads, key=lambda pod: (pod.ip, pod.name)):
            self._pods.setdefault(workload.namespace, []).append(workload)
            for label in workload.labels.items():
                self._by_label.setdefault((workload.namespace, *label), []).append(workload)
        self.named = {(pod.namespace, pod.name): pod for pods in self._pods.values() for pod in pods}
        """Every pod, by namespace and name."""
        self._entries: dict[str, list[WorkloadEntry]] = {}
        for entry in by_age(entries):
            self._entries.setdefault(entry.namespace, []).append(entry)

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[Workload]:
        """The pods of `namespace` that carry `selector`, by address; none for an empty selector."""
        if not selector:
            return []
        lists = [self._by_label.get((namespace, *label), []) for label in selector.items()]
        return [pod for pod in min(lists, key=len) if selector.items() <= pod.labels.items()]

    def entries(self, namespace: str, selector: Mapping[str, str]) -> list[WorkloadEntry]:
        """The WorkloadEntries of `namespace` that carry `selector`, oldest first; none for an empty selector."""
        if not selector:
            return []
        return [
            entry
            for entry in self._entries.get(namespace, ())
            if selector.items() <= entry_labels(entry).items()
        ]


def by_age(objects: Iterable[N]) -> list[N]:
    """`objects`, oldest first, then by name and namespace, as istiod sorts."""
    return sorted(objects, key=lambda item: (item.created, item.name, item.namespace, item.uid))


def entry_labels(entry: WorkloadEntry) -> dict[str, str]:
    """The labels of a WorkloadEntry: those of its spec and of its metadata, which win."""
    return {**entry.spec.labels, **entry.labels}


def endpoints(
    memo: Memo, mesh: Mesh, population: Population, service: Service, port: ServicePort
) -> tuple[Endpoint, ...]:
    """Where `port` of `service` is served, ready or not: its own endpoints first, then pods by address."""
    pods = population.selected(service.namespace, service.selector)
    # A headless Service leaves its WorkloadEntries out, in istiod too.
    picks = not service.kubernetes or service.resolution == "CLIENT_SIDE"
    entries = population.entries(service.namespace, service.selector) if picks else []
    policies = memo(_disabling, memo, mesh.peer_authentications, service.namespace)
    if service.kubernetes:
        return memo(_selected, service, port, policies, len(pods), *pods, *entries)
    entry = _entry_of(memo, mesh, service)
    return memo(_of_entry, service, port, entry, policies, len(pods), *pods, *entries)


def _disabling(memo: Memo, policies: Sequence[authn.Policy], namespace: str) -> tuple[authn.Policy, ...]:
    """Those that count in `namespace`, or none if none of them can disable mTLS; the same tuple until they change.

    Endpoints depend on nothing else of PeerAuthentication, and most changes of it concern no endpoint.
    """
    own = [item for item in policies if item.namespace in (namespace, ROOT_NAMESPACE)]
    return memo(_these, *own) if any(map(authn.disables, own)) else ()


def _these(*policies: authn.Policy) -> tuple[authn.Policy, ...]:
    return policies


def _entry_of(memo: Memo, mesh: Mesh, service: Service) -> ServiceEntry:
    known = memo(_by_name, mesh.service_entries)
    return known[service.namespace, service.entry]


def _by_name(entries: Sequence[ServiceEntry]) -> dict[tuple[str, str], ServiceEntry]:
    return {(entry.namespace, entry.name): entry for entry in entries}


def _selected(
    service: Service, port: ServicePort, policies: Sequence[authn.Policy], pods: int, *chosen: object
) -> tuple[Endpoint, ...]:
    found = []
    for item in chosen:
        if isinstance(item, Workload):
            number = _pod_port(service, port, item)
            # Of pods that are not ready, istiod tells Kubernetes Services only.
            if number is not None and (service.kubernetes or (item.ready and not item.terminating)):
                found.append(_pod(item, number, policies, service))
        elif isinstance(item, WorkloadEntry) and (
            service.resolution != "CLIENT_SIDE" or is_ip(item.spec.address)
        ):
            number = _entry_port(port, item.spec)
            if number is not None:
                named = (item.namespace, item.name)
                found.append(_entry(item.spec, entry_labels(item), named, number, policies))
    return tuple(found)


def _of_entry(
    service: Service,
    port: ServicePort,
    entry: ServiceEntry,
    policies: Sequence[authn.Policy],
    pods: int,
    *chosen: object,
) -> tuple[Endpoint, ...]:
    spec = entry.spec
    by_dns = service.resolution in ("DNS", "DNS_ROUND_ROBIN")
    if spec.workload_selector is not None:
        return _selected(service, port, policies, pods, *chosen)
    if not spec.endpoints and by_dns:
        target = port.target if isinstance(port.target, int) else 0
        where = Locality()
        return (
            Endpoint(
                *(service.host, target or port.number, augmented({}, where), where, 0, False, "", True),
                *(entry.name, entry.namespace),
            ),
        )
    return tuple(
        _entry(item, item.labels, (entry.namespace, f"{entry.name}-{index}"), number, policies)
        for index, item in enumerate(spec.endpoints)
        if (number := _entry_port(port, item)) is not None
    )


def _entry_port(port: ServicePort, entry: istio.WorkloadEntry) -> int | None:
    """The entry's port behind `port`; None when that targets a name which is none of the entry's ports."""
    if isinstance(port.target, str):
        return entry.ports.get(port.target)
    return entry.ports.get(port.name) or port.target or port.number


def _pod(pod: Workload, number: int, policies: Sequence[authn.Policy], service: Service) -> Endpoint:
    takes_mtls = pod.sidecar and authn.mode(policies, pod.namespace, pod.labels, number) != "DISABLE"
    return Endpoint(
        address=pod.ip,
        port=number,
        labels=augmented(pod.labels, pod.locality),
        locality=pod.locality,
        weight=0,
        mtls=takes_mtls,
        identity=pod.identity,
        ready=pod.ready or service.publish_not_ready,
        workload=pod.owner,
        namespace=pod.namespace,
        pod=pod,
        sidecar=pod.sidecar,
    )


def _entry(
    spec: istio.WorkloadEntry,
    labels: Mapping[str, str],
    named: tuple[str, str],
    number: int,
    policies: Sequence[authn.Policy],
) -> Endpoint:
    """The endpoint that a WorkloadEntry (or an endpoint of a ServiceEntry) is; `named` is its namespace and name."""
    namespace, name = named
    account = spec.service_account
    locality = Locality.read(spec.locality or labels.get(_LOCALITY, "").replace(".", "/"))
    sidecar = labels.get(_TLS_MODE, "istio" if account else "disabled") == "istio"
    return Endpoint(
        address=spec.address,
        port=number,
        labels=augmented(labels, locality),
        locality=locality,
        weight=spec.weight or 0,
        mtls=sidecar and authn.mode(policies, namespace, labels, number) != "DISABLE",
        identity=spiffe(namespace, account) if account else "",
        ready=True,
        workload=name,
        namespace=namespace,
        sidecar=sidecar,
    )


def augmented(labels: Mapping[str, str], locality: Locality) -> dict[str, str]:
    """`labels` with those that Istio adds for the topology (`pilot/pkg/serviceregistry/util/label`)."""
    topology = {
        "topology.kubernetes.io/region": locality.region,
        "topology.kubernetes.io/zone": locality.zone,
        "topology.istio.io/subzone": locality.subzone,
        "topology.istio.io/cluster": CLUSTER_ID,
    }
    return {**labels, **{name: value for name, value in topology.items() if value}}


def _pod_port(service: Service, port: ServicePort, pod: Workload) -> int | None:
    """The pod's port behind `port`; that of a ServiceEntry is first looked for by name, as in WorkloadEntries."""
    named = None if service.kubernetes else dict(pod.ports).get(port.name)
    return named or target_port(port, pod)


def target_port(port: ServicePort, workload: Workload) -> int | None:
    """The workload's port behind a Service's; None when the workload has no port of that name."""
    if isinstance(port.target, int):
        return port.target or port.number
    return dict(workload.ports).get(port.target)


def inbound_ports(
    services: Iterable[Service], workload: Workload
) -> Iterator[tuple[int, Service, ServicePort]]:
    """The ports of `workload` that Services lead to, as (its port, Service, the Service's port).

    The Services come by age and host (istio/istio `pilot/pkg/model/context.go`, SetServiceTargets).
    """
    found = [service for service in services if _leads_to(service, workload)]
    for service in sorted(found, key=lambda item: (item.created, item.host)):
        for port in service.ports:
            if (number := _pod_port(service, port, workload)) is not None:
                yield number, service, port


def _leads_to(service: Service, workload: Workload) -> bool:
    return (
        bool(service.selector)
        and service.namespace == workload.namespace
        and service.selector.items() <= workload.labels.items()
        # A ServiceEntry selects pods that are ready only, also for their own side.
        and (service.kubernetes or workload.ready)
    )
