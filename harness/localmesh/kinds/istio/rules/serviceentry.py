"""What Istio's CRD and webhook hold against a ServiceEntry or a WorkloadEntry (`ValidateServiceEntry`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.localmesh.kinds.istio.rules.common import (
    each,
    export_problems,
    host_problems,
    is_address,
    is_name,
    label_problems,
    namespace_of,
    partial_wildcard,
    repeated,
    selector_problems,
    subnet_problems,
    tag_problems,
)
from harness.localmesh.kinds.istio.serviceentry import ServiceEntry, WorkloadEntry
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

_DNS = ("DNS", "DNS_ROUND_ROBIN")
_HEAVIEST = 1_000_000  # Envoy adds weights up to at most 2^32
_ALLOCATE = "networking.istio.io/enable-autoallocate-ip"


def problems(spec: ServiceEntry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    if spec.workload_selector is not None:
        yield from selector_problems("workloadSelector.labels", spec.workload_selector.labels)
        if spec.endpoints:
            yield "endpoints", "only one of endpoints and workloadSelector can be given"
    if not spec.hosts or len(spec.hosts) > 256:
        yield "hosts", "a service entry must have at least one host, and at most 256"
    for index, host in enumerate(spec.hosts):
        if host == "*":
            yield f"hosts[{index}]", '"*" is no host of a service entry'
        else:
            yield from host_problems(f"hosts[{index}]", host)
    for index, address in enumerate(spec.addresses):
        yield from subnet_problems(f"addresses[{index}]", address)
        if "/" in address and spec.resolution in _DNS:
            yield f"addresses[{index}]", f"a CIDR block is not allowed with resolution {spec.resolution}"
    yield from _port_problems(spec)
    asked = spec.resolution == "NONE" and any(host.startswith("*") for host in spec.hosts)
    for index, port in enumerate(spec.ports):
        if asked and port.target_port not in (None, port.number):
            why = "the local mesh goes where the request asks for and cannot change the port"
            yield f"ports[{index}].targetPort", f"{why}; leave it out or name the hosts without a wildcard"
    yield from _endpoint_problems(spec)
    yield from export_problems(spec.export_to, namespace_of(manifest), nobody=True)


def workload_problems(spec: WorkloadEntry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of a WorkloadEntry that Istio would not take, each with the reason."""
    yield from _workload_problems(spec, None, named=True)


def warnings(spec: ServiceEntry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    for index, host in enumerate(spec.hosts):
        if partial_wildcard(host):
            yield f"hosts[{index}]", f"{host!r} has a wildcard in a part of a label"
    if spec.resolution == "NONE" and spec.workload_selector is not None:
        yield "workloadSelector", "should not be given with resolution NONE"
    labels = manifest["metadata"].get("labels") or {}
    allocated = spec.resolution != "NONE" and str(labels.get(_ALLOCATE)).lower() != "false"
    for index, port in enumerate(spec.ports):
        if not spec.addresses and not allocated and port.protocol in ("", "TCP"):
            yield f"ports[{index}]", "a TCP port needs addresses when none is allocated"
    connections = any(port.protocol and not port.protocol.http for port in spec.ports)
    if spec.resolution in _DNS and spec.addresses and len(spec.hosts) > 1 and connections:
        yield "hosts", "there should be one host when there are addresses and TCP ports"


def _port_problems(spec: ServiceEntry) -> Iterator[Problem]:
    for index, port in enumerate(spec.ports):
        yield from label_problems(f"ports[{index}].name", port.name)
    names: Iterable[str] = (port.name for port in spec.ports)
    if (twice := repeated(names)) is not None:
        yield "ports", f"the name {twice!r} stands there twice"
    if (number := repeated(port.number for port in spec.ports)) is not None:
        yield "ports", f"the number {number} stands there twice"
    mixed = any(not (port.protocol.http or port.protocol.tls) for port in spec.ports)
    if spec.resolution != "NONE" and len(spec.hosts) > 1 and mixed:
        yield (
            "hosts",
            "several hosts can share HTTP and TLS ports only, for in others nothing tells them apart",
        )


def _endpoint_problems(spec: ServiceEntry) -> Iterator[Problem]:
    ports = {port.name for port in spec.ports}
    if spec.resolution == "NONE" and spec.endpoints:
        yield "endpoints", "must not be given with resolution NONE"
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        yield "endpoints", "there can be one endpoint at most with resolution DNS_ROUND_ROBIN"
    if spec.resolution in _DNS and not spec.endpoints:
        for index, host in enumerate(spec.hosts):
            if not is_name(host):
                yield (
                    f"hosts[{index}]",
                    f"{host!r} cannot be looked up; without wildcards, or with endpoints, it could",
                )
    named = spec.resolution in _DNS
    yield from each("endpoints", (_workload_problems(one, ports, named=named) for one in spec.endpoints))


def _workload_problems(entry: WorkloadEntry, ports: set[str] | None, *, named: bool) -> Iterator[Problem]:
    """`ports` are the names the service's ports have, if known; `named` allows a host name for an address."""
    if entry.address.startswith("unix://"):
        yield "address", "the local mesh has no Unix sockets to reach; write an IP address"
    elif not is_address(entry.address) and not (named and is_name(entry.address)):
        kinds = "an IP address or a host name" if named else "an IP address"
        yield "address", f"{entry.address!r} is not {kinds}"
    for name in entry.ports:
        yield from label_problems(f"ports[{name}]", name)
        if ports is not None and name not in ports:
            yield f"ports[{name}]", "the service entry has no port of this name"
    yield from tag_problems("labels", entry.labels)
    if entry.weight > _HEAVIEST:
        yield "weight", f"can be at most {_HEAVIEST} in the local mesh"
