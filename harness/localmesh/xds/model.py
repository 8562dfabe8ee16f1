"""What the translation reads: the mesh as istiod sees it, and the proxy it is asked to configure.

Everything here is a frozen value; `snapshot` is a pure function of a `Mesh` and a `Proxy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.localmesh.kinds import istio

TRUST_DOMAIN = "cluster.local"
ROOT_NAMESPACE = "istio-system"

Resource = dict[str, Any]
"""One xDS resource as JSON, with its `@type`."""


@dataclass(frozen=True)
class Named:
    """An Istio object of the mesh: where it lives, when it was made, and its parsed spec.

    `created` orders objects of one kind (the oldest PeerAuthentication of a scope wins, as in istiod); `uid` breaks
    ties.
    """

    name: str
    namespace: str
    created: str
    uid: str


@dataclass(frozen=True)
class VirtualService(Named):
    """A VirtualService."""

    spec: istio.VirtualService


@dataclass(frozen=True)
class DestinationRule(Named):
    """A DestinationRule."""

    spec: istio.DestinationRule


@dataclass(frozen=True)
class PeerAuthentication(Named):
    """A PeerAuthentication."""

    spec: istio.PeerAuthentication


@dataclass(frozen=True)
class Gateway(Named):
    """A Gateway (networking.istio.io)."""

    spec: istio.Gateway


@dataclass(frozen=True)
class EnvoyFilter(Named):
    """An EnvoyFilter of the one pattern the mesh takes."""

    spec: istio.EnvoyFilter


@dataclass(frozen=True)
class ServicePort:
    """One port of a Service; `target` is a number or the name of a container port; `protocol` as istiod selects it.

    istiod takes the protocol from `appProtocol`, then from the port's name up to the first dash; here it is one of
    "http", "http2", "grpc", "tcp", and "" where istiod would sniff.
    """

    name: str
    number: int
    target: int | str
    protocol: str


@dataclass(frozen=True)
class Service:
    """A Kubernetes Service."""

    name: str
    namespace: str
    cluster_ip: str
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str]

    @property
    def host(self) -> str:
        """The fully qualified name, as it stands in cluster names."""
        return f"{self.name}.{self.namespace}.svc.{TRUST_DOMAIN}"


@dataclass(frozen=True)
class Workload:
    """A pod: `ip` is the address its sidecar listens on, `app_ip` the one its program listens on.

    For a pod without a sidecar both are the same. `ports` are its container ports as (name, number); `owner` is the
    name istiod gives the workload: that of the Deployment, not of the ReplicaSet or the pod.
    """

    name: str
    namespace: str
    owner: str
    ip: str
    app_ip: str
    labels: Mapping[str, str]
    service_account: str
    ports: tuple[tuple[str, int], ...]
    ready: bool
    sidecar: bool

    @property
    def identity(self) -> str:
        """The SPIFFE identity in its certificate."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def canonical_service(self) -> str:
        """Istio's canonical service: the label of that name, else `app`, else the workload's name."""
        labels = self.labels
        return (
            labels.get("service.istio.io/canonical-name")
            or labels.get("app.kubernetes.io/name")
            or labels.get("app")
            or self.owner
        )

    @property
    def canonical_revision(self) -> str:
        """Istio's canonical revision: the label of that name, else `version`, else "latest"."""
        labels = self.labels
        return (
            labels.get("service.istio.io/canonical-revision")
            or labels.get("app.kubernetes.io/version")
            or labels.get("version")
            or "latest"
        )


@dataclass(frozen=True)
class Proxy:
    """The Envoy to configure.

    `secrets` are the resources "default", its certificate and key, and "ROOTCA", what it trusts. A gateway listens on
    `listen`, the address of its Service, and has no program of its own.
    """

    workload: Workload
    secrets: Mapping[str, Resource] = field(repr=False)
    listen: str
    gateway: bool = False

    @property
    def node(self) -> str:
        """Its node id, as pilot-agent makes it."""
        kind = "router" if self.gateway else "sidecar"
        workload = self.workload
        where = f"{workload.namespace}.svc.{TRUST_DOMAIN}"
        return f"{kind}~{workload.ip}~{workload.name}.{workload.namespace}~{where}"


@dataclass(frozen=True)
class Mesh:
    """Everything the translation depends on; a workload gets traffic when it is ready and a Service selects it."""

    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    envoy_filters: tuple[EnvoyFilter, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The whole configuration of one proxy, by resource name, in the order Envoy gets it."""

    clusters: Mapping[str, Resource]
    endpoints: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    secrets: Mapping[str, Resource] = field(repr=False)
