"""The builtin kinds as structs: what the local mesh acts on, and what it takes because it does no harm.

A field that is in no struct is refused: Kubernetes does not know it, or the local mesh would have to emulate it and
does not. Field names and types: the Kubernetes API reference, v1.32. A status is whatever its writer says.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from harness.localmesh.kinds.meta import Free, IntOrString, Metadata, Natural, Positive, Selector
from harness.localmesh.kinds.parse import Kind
from harness.localmesh.kinds.pod import PodSpec, PodTemplate

LoopbackAddress = Annotated[str, Meta(pattern=r"^(127\.\d{1,3}\.\d{1,3}\.\d{1,3})?$")]


class RollingUpdate(Kind):
    """strategy.rollingUpdate: numbers of pods, or percentages like "25%"."""

    max_surge: IntOrString = "25%"
    max_unavailable: IntOrString = "25%"


class Strategy(Kind):
    """The strategy of a Deployment."""

    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Kind):
    """The spec of a Deployment."""

    selector: Selector
    template: PodTemplate
    replicas: int = 1
    min_ready_seconds: Natural = 0
    revision_history_limit: Natural = 10
    progress_deadline_seconds: Natural = 600
    paused: bool = False
    strategy: Strategy = Strategy()


class ReplicaSetSpec(Kind):
    """The spec of a ReplicaSet."""

    selector: Selector
    template: PodTemplate
    replicas: int = 1
    min_ready_seconds: Natural = 0


class ServicePort(Kind):
    """ports[*] of a Service; TCP only."""

    port: int
    name: str = ""
    protocol: Literal["TCP"] = "TCP"
    target_port: IntOrString = 0
    app_protocol: str = ""
    # accepted, without effect here
    node_port: int = 0


class ServiceSpec(Kind):
    """The spec of a Service."""

    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    session_affinity: Literal["None"] = "None"
    # accepted, without effect here
    allocate_load_balancer_node_ports: bool = True
    external_traffic_policy: str = ""
    internal_traffic_policy: Literal["Cluster"] = "Cluster"
    ip_families: tuple[Literal["IPv4"], ...] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack"] = "SingleStack"


class _Object(Kind):
    api_version: str
    kind: str
    metadata: Metadata = Metadata()
    status: Free = field(default_factory=dict)


class Custom(_Object):
    """What every custom resource shares with the builtin kinds."""


class Namespace(_Object):
    """A Namespace."""

    spec: Free = field(default_factory=dict)


class NodeSpec(Kind):
    """The spec of a Node; a cordon keeps new pods away."""

    unschedulable: bool = False
    # refused unless empty (see `rules`)
    taints: tuple[Free, ...] = ()
    # accepted, without effect here
    pod_cidr: str = field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = field(default=(), name="podCIDRs")
    provider_id: str = field(default="", name="providerID")


class Node(_Object):
    """A Node."""

    spec: NodeSpec = NodeSpec()


class Pod(_Object, kw_only=True):
    """A Pod."""

    spec: PodSpec


class Service(_Object, kw_only=True):
    """A Service."""

    spec: ServiceSpec


class Deployment(_Object, kw_only=True):
    """A Deployment."""

    spec: DeploymentSpec


class ReplicaSet(_Object, kw_only=True):
    """A ReplicaSet."""

    spec: ReplicaSetSpec


class ServiceAccount(_Object):
    """A ServiceAccount."""

    # accepted, without effect here
    automount_service_account_token: bool = True
    image_pull_secrets: tuple[Free, ...] = ()
    secrets: tuple[Free, ...] = ()


class ConfigMap(_Object):
    """A ConfigMap; `binaryData` is base64."""

    data: dict[str, str] = field(default_factory=dict)
    binary_data: dict[str, str] = field(default_factory=dict)
    immutable: bool = False


class Secret(_Object):
    """A Secret; `data` is base64."""

    data: dict[str, str] = field(default_factory=dict)
    string_data: dict[str, str] = field(default_factory=dict)
    immutable: bool = False
    type: str = "Opaque"


class EndpointSlice(_Object, kw_only=True):
    """An EndpointSlice."""

    address_type: Literal["IPv4"]
    endpoints: tuple[Free, ...] = ()
    ports: tuple[Free, ...] = ()


class Endpoints(_Object):
    """The Endpoints of a Service."""

    subsets: tuple[Free, ...] = ()


class DisruptionBudgetSpec(Kind):
    """The spec of a PodDisruptionBudget: numbers of pods, or percentages like "25%"."""

    min_available: IntOrString | UnsetType = UNSET
    max_unavailable: IntOrString | UnsetType = UNSET
    selector: Selector | UnsetType = UNSET
    unhealthy_pod_eviction_policy: Literal["IfHealthyBudget", "AlwaysAllow"] = "IfHealthyBudget"


class PodDisruptionBudget(_Object):
    """A PodDisruptionBudget."""

    spec: DisruptionBudgetSpec = DisruptionBudgetSpec()


class LeaseSpec(Kind):
    """The spec of a Lease."""

    holder_identity: str = ""
    lease_duration_seconds: Positive | UnsetType = UNSET
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: Natural = 0


class Lease(_Object):
    """A Lease."""

    spec: LeaseSpec = LeaseSpec()


class Event(_Object):
    """An Event of the core group."""

    involved_object: Free = field(default_factory=dict)
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    source: Free = field(default_factory=dict)
    first_timestamp: str = ""
    last_timestamp: str = ""
    event_time: str = ""
    action: str = ""
    related: Free = field(default_factory=dict)
    series: Free = field(default_factory=dict)
    reporting_component: str = ""
    reporting_instance: str = ""


KINDS: dict[str, type[_Object]] = {
    kind.__name__: kind
    for kind in (
        Namespace,
        Node,
        Pod,
        Service,
        Deployment,
        ReplicaSet,
        ServiceAccount,
        ConfigMap,
        Secret,
        EndpointSlice,
        Endpoints,
        PodDisruptionBudget,
        Lease,
        Event,
    )
}
"""Every builtin kind by its name."""


class Condition(msgspec.Struct):
    """status.conditions[*]: what the controllers read of it."""

    type: str
    status: str


class ContainerStatus(msgspec.Struct, rename="camel"):
    """status.containerStatuses[*]: what tables and controllers read of it."""

    name: str = ""
    ready: bool = False
    restart_count: Natural = 0


class Status(msgspec.Struct, rename="camel"):
    """A status, whoever writes it: what the controllers read has its type, the rest is the writer's."""

    conditions: list[Condition] = field(default_factory=list)
    container_statuses: list[ContainerStatus] = field(default_factory=list)
    phase: str = ""
    pod_ip: LoopbackAddress = field(default="", name="podIP")
    replicas: Natural = 0
    ready_replicas: Natural = 0
    available_replicas: Natural = 0
    updated_replicas: Natural = 0
    observed_generation: Natural = 0
    disruptions_allowed: Natural = 0
    current_healthy: Natural = 0
    desired_healthy: Natural = 0
    expected_pods: Natural = 0
    disrupted_pods: dict[str, str] = field(default_factory=dict)
