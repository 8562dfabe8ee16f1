"""The spec of a pod as structs: what the local mesh acts on, and what it takes because it does no harm.

Field names, types and defaults: the Kubernetes API reference, v1.32.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType, field

from harness.localmesh.kinds.meta import Free, IntOrString, Metadata, Natural, Positive
from harness.localmesh.kinds.parse import Kind


class EnvVar(Kind):
    """containers[*].env[*], plain values only."""

    name: str
    value: str = ""


class ContainerPort(Kind):
    """containers[*].ports[*]; TCP only."""

    container_port: int
    name: str = ""
    protocol: Literal["TCP"] = "TCP"


class HttpHeader(Kind):
    """httpGet.httpHeaders[*]."""

    name: str
    value: str


class HttpGet(Kind):
    """httpGet of a probe: over plain HTTP, to the pod's own program."""

    port: IntOrString
    path: str = "/"
    scheme: Literal["HTTP"] = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(Kind):
    """tcpSocket of a probe, to the pod's own program."""

    port: IntOrString


class Probe(Kind):
    """readinessProbe, livenessProbe and startupProbe; a handler that runs a command or speaks gRPC is refused."""

    http_get: HttpGet | UnsetType = UNSET
    tcp_socket: TcpSocket | UnsetType = UNSET
    initial_delay_seconds: Natural = 0
    timeout_seconds: Positive = 1
    period_seconds: Positive = 10
    success_threshold: Positive = 1
    failure_threshold: Positive = 3


class Sleep(Kind):
    """lifecycle.preStop.sleep, in seconds."""

    seconds: Natural


class PreStop(Kind):
    """lifecycle.preStop: a sleep; a command cannot be run in a stand-in, and is refused."""

    sleep: Sleep


class Lifecycle(Kind):
    """containers[*].lifecycle."""

    pre_stop: PreStop | UnsetType = UNSET


class Container(Kind):
    """containers[*]."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | UnsetType = UNSET
    liveness_probe: Probe | UnsetType = UNSET
    startup_probe: Probe | UnsetType = UNSET
    lifecycle: Lifecycle | UnsetType = UNSET
    # accepted, without effect here
    image_pull_policy: str = ""
    resources: Free = field(default_factory=dict)
    security_context: Free = field(default_factory=dict)
    termination_message_path: str = ""
    termination_message_policy: str = ""
    volume_mounts: tuple[Free, ...] = ()


class EphemeralContainer(Kind):
    """ephemeralContainers[*]: put into a pod that runs, never changed, never started again."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    # accepted, without effect here
    image_pull_policy: str = ""
    resources: Free = field(default_factory=dict)
    security_context: Free = field(default_factory=dict)
    target_container_name: str = ""
    termination_message_path: str = ""
    termination_message_policy: str = ""


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
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    restart_policy: Literal["Always"] = "Always"
    service_account: str = ""
    service_account_name: str = ""
    termination_grace_period_seconds: Natural = 30
    # empty or refused: the scheduler knows nodes, their labels and cordons only (see `rules`)
    affinity: Free = field(default_factory=dict)
    topology_spread_constraints: tuple[Free, ...] = ()
    # accepted, without effect here; no node has a taint, so that there is nothing to tolerate
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
    volumes: tuple[Volume, ...] = ()


class PodTemplate(Kind):
    """The template of a Deployment or ReplicaSet."""

    spec: PodSpec
    metadata: Metadata = Metadata()
