"""What the translation reads: the mesh as istiod sees it, and the proxy it is asked to configure.

Everything here is a frozen value; the translation is a pure function of a `Mesh` and a `Proxy`. Values are
compared by what they hold; the translation's memory (`memo`) recognises them by identity, so who builds a
`Mesh` after each change should hand over unchanged objects as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.localmesh.kinds import istio
from harness.localmesh.kinds.istio.meshconfig import ExtensionProvider

TRUST_DOMAIN = "cluster.local"
ROOT_NAMESPACE = "istio-system"
CLUSTER_ID = "Kubernetes"
UNSPECIFIED = "0.0.0.0"  # noqa: S104 - nothing is bound to it: istiod writes it for "no address"

Resource = dict[str, Any]
"""One xDS resource as JSON, with its `@type`."""

Resolution = Literal["CLIENT_SIDE", "DNS", "DNS_ROUND_ROBIN", "PASSTHROUGH"]
"""How the addresses of a Service are found, in istiod's words (`pilot/pkg/model/service.go`): from its
endpoints (EDS), by DNS, or not
at all because the caller's own address is used (headless Services and ServiceEntries with `resolution:
NONE`)."""

OutboundMode = Literal["ALLOW_ANY", "REGISTRY_ONLY"]


@dataclass(frozen=True)
class Named:
    """An Istio object of the mesh: where it lives, when it was made, and its parsed spec.

    `created` orders objects of one kind (the oldest PeerAuthentication of a scope wins, as in istiod); `uid`
    breaks ties.
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
class Gateway(Named):
    """A Gateway (networking.istio.io)."""

    spec: istio.Gateway


@dataclass(frozen=True)
class ServiceEntry(Named):
    """A ServiceEntry."""

    spec: istio.ServiceEntry


@dataclass(frozen=True)
class WorkloadEntry(Named):
    """A WorkloadEntry; the labels of its metadata count beside those of its spec and win."""

    spec: istio.WorkloadEntry
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sidecar(Named):
    """A Sidecar."""

    spec: istio.Sidecar


@dataclass(frozen=True)
class PeerAuthentication(Named):
    """A PeerAuthentication."""

    spec: istio.PeerAuthentication


@dataclass(frozen=True)
class AuthorizationPolicy(Named):
    """An AuthorizationPolicy; `dry_run` is Istio's annotation `istio.io/dry-run`."""

    spec: istio.AuthorizationPolicy
    dry_run: bool = False


@dataclass(frozen=True)
class Telemetry(Named):
    """A Telemetry."""

    spec: istio.Telemetry


@dataclass(frozen=True)
class EnvoyFilter(Named):
    """An EnvoyFilter of the one pattern the mesh takes."""

    spec: istio.EnvoyFilter


@dataclass(frozen=True)
class ServicePort:
    """One port of a Service; `target` is a number or the name of a container port.

    istiod takes the protocol from `appProtocol`, then from the port's name up to the first dash; here it is
    one of "http", "http2", "grpc", "grpc-web", "tcp", "tls", "https", "mongo", and "" where istiod would
    sniff. `target` is 0 where a ServiceEntry names none: its endpoints' own port counts, else `number`.
    """

    name: str
    number: int
    target: int | str
    protocol: str

    @property
    def is_http(self) -> bool:
        """Whether istiod routes it by HTTP; a port of undeclared protocol is HTTP here, nothing is sniffed."""
        return self.protocol in ("", "http", "http2", "grpc", "grpc-web")

    @property
    def is_http2(self) -> bool:
        """Whether its requests go upstream by HTTP/2."""
        return self.protocol in ("http2", "grpc", "grpc-web")

    @property
    def is_tls(self) -> bool:
        """Whether it is routed by SNI."""
        return self.protocol in ("https", "tls")


@dataclass(frozen=True)
class Service:
    """A Service as istiod sees it: a Kubernetes Service, or one host of a ServiceEntry.

    Attributes:
        host: the fully qualified name, as it stands in cluster names.
        name: of the Kubernetes Service; of a ServiceEntry the host, as in istiod.
        addresses: the cluster IPs, or the addresses of the ServiceEntry (CIDR or single ones); none for a
        headless Service.
        selector: which pods (and WorkloadEntries) are its endpoints; empty for none.
        export_to: namespaces that see it, with "." and "*" as written; empty means all.
        external: outside the mesh (`location: MESH_EXTERNAL`): no mTLS by default.
        accounts: subject alternative names its endpoints must have (`subjectAltNames`).
        kubernetes: a Kubernetes Service, which beats a ServiceEntry of the same host and namespace.
        entry: the name of the ServiceEntry, "" for a Kubernetes Service.
    """

    host: str
    name: str
    namespace: str
    created: str
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    resolution: Resolution = "CLIENT_SIDE"
    export_to: frozenset[str] = frozenset()
    external: bool = False
    accounts: tuple[str, ...] = ()
    kubernetes: bool = True
    entry: str = ""
    publish_not_ready: bool = False

    @property
    def address(self) -> str:
        """Its first address, or 0.0.0.0 when it has none, as in istiod."""
        return self.addresses[0] if self.addresses else UNSPECIFIED

    @property
    def headless(self) -> bool:
        """A Kubernetes Service without a cluster IP."""
        return self.kubernetes and not self.addresses

    def port(self, number: int) -> ServicePort | None:
        """Its port of that number."""
        return next((port for port in self.ports if port.number == number), None)

    def named_port(self, name: str) -> ServicePort | None:
        """Its port of that name."""
        return next((port for port in self.ports if port.name == name), None)


@dataclass(frozen=True)
class Locality:
    """Where something runs; the parts are "" when unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def read(cls, text: str) -> Locality:
        """From Istio's notation "region/zone/subzone", of which the end may be missing."""
        return cls(*(text.split("/", 2) if text else ()))

    def __str__(self) -> str:
        """Istio's notation, without empty parts at the end."""
        return "/".join((self.region, self.zone, self.subzone)).rstrip("/")


@dataclass(frozen=True)
class Workload:
    """A pod: `ip` is the address its sidecar listens on, `app_ip` the one its program listens on.

    For a pod without a sidecar both are the same. `ports` are its container ports as (name, number); `owner`
    is the name istiod gives the workload: that of the Deployment, not of the ReplicaSet or the pod.
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
    locality: Locality = Locality()
    terminating: bool = False

    @property
    def identity(self) -> str:
        """The SPIFFE identity in its certificate."""
        return spiffe(self.namespace, self.service_account)

    @property
    def canonical_service(self) -> str:
        """Istio's canonical service: the label of that name, else `app`, else the workload's name."""
        return canonical_service(self.labels, self.owner)

    @property
    def canonical_revision(self) -> str:
        """Istio's canonical revision: the label of that name, else `version`, else "latest"."""
        return canonical_revision(self.labels)


def spiffe(namespace: str, service_account: str) -> str:
    """The SPIFFE identity of a service account."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}"


def canonical_service(labels: Mapping[str, str], name: str) -> str:
    """Istio's canonical service of what carries `labels` and is called `name`."""
    return (
        labels.get("service.istio.io/canonical-name")
        or labels.get("app.kubernetes.io/name")
        or labels.get("app")
        or name
    )


def canonical_revision(labels: Mapping[str, str]) -> str:
    """Istio's canonical revision of what carries `labels`."""
    return (
        labels.get("service.istio.io/canonical-revision")
        or labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest"
    )


@dataclass(frozen=True)
class Endpoint:
    """Where one port of a Service is served (istiod's `IstioEndpoint`).

    Attributes:
        address: an IP address, or a host name for a Service resolved by DNS.
        port: the port there.
        labels: what subsets choose by: those of the pod and Istio's for its topology.
        locality: where it runs.
        weight: its share within the locality; 0 is Istio's default, 1.
        mtls: whether it takes mTLS of the mesh (it has a sidecar, and no workload policy disables it for the
        port).
        identity: the SPIFFE identity of its service account (with or without a sidecar to prove it), "" for none.
        ready: whether it is to get requests.
        workload: what it is called: the owner of the pod, or the name of the WorkloadEntry (or ServiceEntry).
        namespace: its namespace.
        pod: the pod behind it; None for a WorkloadEntry and the like.
        sidecar: whether it speaks mTLS of the mesh at all (label `security.istio.io/tlsMode`).
    """

    address: str
    port: int
    labels: Mapping[str, str]
    locality: Locality
    weight: int
    mtls: bool
    identity: str
    ready: bool
    workload: str
    namespace: str
    pod: Workload | None = None
    sidecar: bool = False


@dataclass(frozen=True)
class MeshConfig:
    """The settings of Istio's MeshConfig that the local mesh has, with their defaults; durations in seconds."""

    outbound_mode: OutboundMode = "ALLOW_ANY"
    auto_mtls: bool = True
    connect_timeout: float = 10.0
    access_log: bool = False
    access_log_json: bool = False
    locality_enabled: bool = True
    stats_prefixes: tuple[str, ...] = ()
    stats_suffixes: tuple[str, ...] = ()
    stats_regexps: tuple[str, ...] = ()
    certificate_lifetime: float = 86_400.0
    certificate_grace: float = 0.5
    drain_duration: float = 5.0
    tracers: tuple[ExtensionProvider, ...] = ()
    default_tracer: str = ""


@dataclass(frozen=True)
class Credential:
    """Certificates of a Secret, as PEM; what is not there is ""."""

    name: str
    namespace: str
    certificate: str
    key: str = field(repr=False)
    authority: str


@dataclass(frozen=True)
class Proxy:
    """The Envoy to configure.

    `secrets` are the SDS resources by name: "default", its certificate and key, and "ROOTCA", what it trusts;
    for a gateway and for `credentialName` also "kubernetes://name" and "kubernetes://name-cacert". A gateway
    listens on `listen`, the address of its Service, and has no program of its own.
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
    """Everything the translation depends on; a workload gets traffic when it is ready and a Service selects it.

    `services` are the Kubernetes Services; those of the ServiceEntries are worked out.
    """

    config: MeshConfig = MeshConfig()
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    service_entries: tuple[ServiceEntry, ...] = ()
    workload_entries: tuple[WorkloadEntry, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    authorization_policies: tuple[AuthorizationPolicy, ...] = ()
    telemetries: tuple[Telemetry, ...] = ()
    envoy_filters: tuple[EnvoyFilter, ...] = ()
    credentials: tuple[Credential, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The whole configuration of one proxy, by resource name, in the order Envoy gets it."""

    clusters: Mapping[str, Resource]
    endpoints: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    secrets: Mapping[str, Resource] = field(repr=False)
