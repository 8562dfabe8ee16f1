"""The builtin kinds as structs: what the local mesh acts on, and what it takes because it does no harm.

A field that is in no struct is refused: Kubernetes does not know it, or the local mesh would have to emulate it and
does not. Field names and types: the Kubernetes API reference, v1.32. A status is whatever its writer says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from harness.localmesh.kinds.parse import Kind

Free = dict[str, Any]
"""A part that has no effect here and is therefore not looked into."""

IntOrString = int | str
LoopbackAddress = Annotated[str, Meta(pattern=r"^(127\.\d{1,3}\.\d{1,3}\.\d{1,3})?$")]
Replicas = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class OwnerReference(Kind):
    """metadata.ownerReferences[*]."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(Kind):
    """metadata, of every kind."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int = 0
    # accepted, without effect here
    managed_fields: tuple[Free, ...] = ()
    self_link: str = ""


class Selector(Kind):
    """A label selector."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[SelectorExpression, ...] = ()


class SelectorExpression(Kind):
    """matchExpressions[*]."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class EnvVar(Kind):
    """containers[*].env[*], plain values only."""

    name: str
    value: str = ""


class ContainerPort(Kind):
    """containers[*].ports[*]; TCP only."""

    container_port: int
    name: str = ""
    protocol: Literal["TCP"] = "TCP"


class Container(Kind):
    """containers[*]."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    liveness_probe: Free | None = None
    readiness_probe: Free | None = None
    startup_probe: Free | None = None
    lifecycle: Free = field(default_factory=dict)
    # accepted, without effect here
    image_pull_policy: str = ""
    resources: Free = field(default_factory=dict)
    security_context: Free = field(default_factory=dict)
    termination_message_path: str = ""
    termination_message_policy: str = ""
    volume_mounts: tuple[Free, ...] = ()


class Optional(Kind):
    """A volume from a Secret or ConfigMap that need not be there; here it never is."""

    optional: Literal[True]
    # accepted, without effect here
    secret_name: str = ""
    name: str = ""
    items: tuple[Free, ...] = ()
    default_mode: int = 0


class Volume(Kind):
    """volumes[*], as far as a program without one does as well: empty ones, and those that may be missing."""

    name: str
    empty_dir: Free | None = None
    secret: Optional | None = None
    config_map: Optional | None = None


class PodSpec(Kind):
    """The spec of a pod."""

    containers: tuple[Container, ...]
    node_name: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    restart_policy: Literal["Always"] = "Always"
    service_account: str = ""
    service_account_name: str = ""
    termination_grace_period_seconds: int = 30
    # accepted, without effect here
    affinity: Free = field(default_factory=dict)
    automount_service_account_token: bool = True
    dns_policy: str = ""
    enable_service_links: bool = True
    image_pull_secrets: tuple[Free, ...] = ()
    preemption_policy: str = ""
    priority: int = 0
    priority_class_name: str = ""
    scheduler_name: str = ""
    security_context: Free = field(default_factory=dict)
    tolerations: tuple[Free, ...] = ()
    topology_spread_constraints: tuple[Free, ...] = ()
    volumes: tuple[Volume, ...] = ()


class PodTemplate(Kind):
    """The template of a Deployment or ReplicaSet."""

    spec: PodSpec
    metadata: Metadata = Metadata()


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
    min_ready_seconds: int = 0
    paused: bool = False
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600
    strategy: Strategy = Strategy()


class ReplicaSetSpec(Kind):
    """The spec of a ReplicaSet."""

    selector: Selector
    template: PodTemplate
    replicas: int = 1
    min_ready_seconds: int = 0


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
    """The spec of a node; `kubectl cordon` sets `unschedulable`."""

    unschedulable: bool = False


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
    """A ConfigMap."""

    data: dict[str, str] = field(default_factory=dict)
    binary_data: dict[str, str] = field(default_factory=dict)


class Secret(_Object):
    """A Secret; `data` is base64."""

    data: dict[str, str] = field(default_factory=dict)
    string_data: dict[str, str] = field(default_factory=dict)
    type: str = "Opaque"


class EndpointSlice(_Object, kw_only=True):
    """An EndpointSlice."""

    address_type: Literal["IPv4"]
    endpoints: tuple[Free, ...] = ()
    ports: tuple[Free, ...] = ()


class LeaseSpec(Kind):
    """The spec of a Lease."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0


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
        Lease,
        Event,
    )
}
"""Every builtin kind by its name."""


class Condition(msgspec.Struct):
    """status.conditions[*]: what the controllers read of it."""

    type: str
    status: str


class Status(msgspec.Struct, rename="camel"):
    """A status, whoever writes it: what the controllers read has its type, the rest is the writer's."""

    conditions: list[Condition] = field(default_factory=list)
    phase: str = ""
    pod_ip: LoopbackAddress = field(default="", name="podIP")
    replicas: Replicas = 0
    ready_replicas: Replicas = 0
