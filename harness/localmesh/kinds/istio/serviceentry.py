"""ServiceEntry and WorkloadEntry: services and hosts that Kubernetes does not know."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.selectors import WorkloadSelector
from harness.localmesh.kinds.istio.values import Labels, Port, Protocol, Unsigned
from harness.localmesh.kinds.parse import Kind


class ServicePort(Kind):
    """A port of the service; `protocol` "" leaves it to detection; endpoints listen at `target_port`."""

    number: Port
    name: str
    protocol: Protocol = Protocol("")
    target_port: Port | None = None


class WorkloadEntry(Kind):
    """A host of a service (also the spec of a WorkloadEntry): an IP address or, with DNS resolution, a name.

    `ports` are the host's own ports by the names of the service's; `locality` is "region/zone/subzone"; a `weight`
    of 0 is 1.
    """

    address: str = ""
    ports: dict[str, Port] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    locality: str = ""
    weight: Unsigned = 0
    service_account: str = ""


class ServiceEntry(Kind):
    """The spec of a ServiceEntry; its hosts are `endpoints`, or the workloads of its namespace that are selected."""

    hosts: tuple[str, ...]
    addresses: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    ports: Annotated[tuple[ServicePort, ...], Meta(max_length=256)] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] = "NONE"
    endpoints: Annotated[tuple[WorkloadEntry, ...], Meta(max_length=4096)] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
