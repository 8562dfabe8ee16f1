"""The table of every kind of object the API stores: one line adds a kind.

Names, short names and categories are those Kubernetes and Istio's own definitions register.
"""

from __future__ import annotations

from dataclasses import dataclass

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


@dataclass(frozen=True)
class Resource:
    """One served kind.

    `version` is the one objects are stored in and the preferred one; `also` are further versions under which
    the same objects are served, differing in `apiVersion` only. `fields` are the field selectors it takes
    besides `metadata.name` and `metadata.namespace`. Only the mesh writes `derived` objects; anybody may delete
    one, and the mesh makes it again.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    derived: bool = False

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version it is served in, the preferred one first."""
        return (self.version, *self.also)

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its stored objects."""
        return api_version(self.group, self.version)

    @property
    def qualified(self) -> str:
        """Its name in messages: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def builtin(self) -> bool:
        """Whether Kubernetes itself defines it; Istio's kinds are custom resources."""
        return not self.group.endswith("istio.io")

    @property
    def conditional(self) -> bool:
        """Whether it is replaced only by whoever names the resourceVersion to replace, as Kubernetes demands."""
        return not self.builtin or self.kind in ("Lease", "PodDisruptionBudget")

    @property
    def has_status(self) -> bool:
        """Whether `status` is written through a subresource of its own."""
        return "status" in self.subresources


def api_version(group: str, version: str) -> str:
    """`v1` for the core group, else `group/version`."""
    return f"{group}/{version}" if group else version


NAMESPACES = Resource(
    "", "v1", "namespaces", "Namespace", False, ("ns",), subresources=("status",), fields=("status.phase",)
)
NODES = Resource("", "v1", "nodes", "Node", False, ("no",), subresources=("status",))
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",))
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", short=("cm",))
SECRETS = Resource("", "v1", "secrets", "Secret", fields=("type",))
SERVICES = Resource(
    "", "v1", "services", "Service", short=("svc",), categories=("all",), subresources=("status",)
)
PODS = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    short=("po",),
    categories=("all",),
    subresources=("status", "log", "proxy", "eviction", "ephemeralcontainers"),
    fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
    ),
)
EVENTS = Resource(
    "",
    "v1",
    "events",
    "Event",
    short=("ev",),
    fields=(
        *(f"involvedObject.{name}" for name in _INVOLVED),
        "reason",
        "reportingComponent",
        "source.component",
        "type",
    ),
)
DEPLOYMENTS = Resource(
    "apps",
    "v1",
    "deployments",
    "Deployment",
    short=("deploy",),
    categories=("all",),
    subresources=("status", "scale"),
)
REPLICA_SETS = Resource(
    "apps",
    "v1",
    "replicasets",
    "ReplicaSet",
    short=("rs",),
    categories=("all",),
    subresources=("status", "scale"),
)
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", short=("ep",), derived=True)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", derived=True)
DISRUPTION_BUDGETS = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",), subresources=("status",)
)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")


def _istio(
    group: str,
    plural: str,
    kind: str,
    *short: str,
    version: str = "v1",
    also: tuple[str, ...] = ("v1beta1", "v1alpha3"),
) -> Resource:
    categories = ("istio-io", f"{group}-istio-io")
    return Resource(
        f"{group}.istio.io",
        version,
        plural,
        kind,
        True,
        short,
        categories,
        subresources=("status",),
        also=also,
    )


VIRTUAL_SERVICES = _istio("networking", "virtualservices", "VirtualService", "vs")
DESTINATION_RULES = _istio("networking", "destinationrules", "DestinationRule", "dr")
GATEWAYS = _istio("networking", "gateways", "Gateway", "gw")
SERVICE_ENTRIES = _istio("networking", "serviceentries", "ServiceEntry", "se")
WORKLOAD_ENTRIES = _istio("networking", "workloadentries", "WorkloadEntry", "we")
SIDECARS = _istio("networking", "sidecars", "Sidecar")
ENVOY_FILTERS = _istio("networking", "envoyfilters", "EnvoyFilter", version="v1alpha3", also=())
PEER_AUTHENTICATIONS = _istio(
    "security", "peerauthentications", "PeerAuthentication", "pa", also=("v1beta1",)
)
AUTHORIZATION_POLICIES = _istio(
    "security", "authorizationpolicies", "AuthorizationPolicy", "ap", also=("v1beta1",)
)
TELEMETRIES = _istio("telemetry", "telemetries", "Telemetry", "telemetry", also=("v1alpha1",))

# Kinds that Istio has and the mesh does not: they are served so that a write gets a sentence and not a 404.
_REFUSED = (
    _istio("security", "requestauthentications", "RequestAuthentication", "ra", also=("v1beta1",)),
    _istio("networking", "workloadgroups", "WorkloadGroup", "wg"),
    _istio("networking", "proxyconfigs", "ProxyConfig", version="v1beta1", also=()),
    _istio("extensions", "wasmplugins", "WasmPlugin", version="v1alpha1", also=()),
    _istio("extensions", "trafficextensions", "TrafficExtension", version="v1alpha1", also=()),
)

RESOURCES = (
    NAMESPACES,
    NODES,
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICES,
    PODS,
    EVENTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    ENDPOINTS,
    ENDPOINT_SLICES,
    DISRUPTION_BUDGETS,
    LEASES,
    VIRTUAL_SERVICES,
    DESTINATION_RULES,
    GATEWAYS,
    SERVICE_ENTRIES,
    WORKLOAD_ENTRIES,
    SIDECARS,
    ENVOY_FILTERS,
    PEER_AUTHENTICATIONS,
    AUTHORIZATION_POLICIES,
    TELEMETRIES,
    *_REFUSED,
)

_BY_PATH = {(r.group, version, r.plural): r for r in RESOURCES for version in r.versions}
_BY_KIND = {(api_version(r.group, version), r.kind): r for r in RESOURCES for version in r.versions}


def by_path(group: str, version: str, plural: str) -> Resource | None:
    """The resource served under that path, or None."""
    return _BY_PATH.get((group, version, plural))


def by_kind(api: str, kind: str) -> Resource | None:
    """The resource of objects with that `apiVersion` and `kind`, or None."""
    return _BY_KIND.get((api, kind))
