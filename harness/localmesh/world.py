"""From the store's manifests to the values the translation reads.

An object that has not changed stays the very same value, so that the translation's memory recognises it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import is_
from typing import Any, TypeVar

from harness.localmesh.addresses import app_address
from harness.localmesh.admission import PROXY
from harness.localmesh.api.resources import (
    AUTHORIZATION_POLICIES,
    CONFIG_MAPS,
    DESTINATION_RULES,
    ENVOY_FILTERS,
    GATEWAYS,
    NODES,
    PEER_AUTHENTICATIONS,
    PODS,
    SECRETS,
    SERVICE_ENTRIES,
    SERVICES,
    SIDECARS,
    TELEMETRIES,
    VIRTUAL_SERVICES,
    WORKLOAD_ENTRIES,
    Resource,
)
from harness.localmesh.credentials import credential
from harness.localmesh.kinds import istio
from harness.localmesh.kinds.istio.meshconfig import NAMESPACE, is_mesh_config, mesh_config
from harness.localmesh.kinds.istio.rules.metadata import dry_run
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store
from harness.localmesh.workloads import HASH_LABEL, is_ready
from harness.localmesh.xds import model
from harness.localmesh.xds.services import port_protocol

N = TypeVar("N", bound=model.Named)
V = TypeVar("V")

_EXPORT_TO = "networking.istio.io/exportTo"
_HEADLESS = "None"


class World:
    """Reads the mesh from the store. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = -1
        self._mesh = model.Mesh()
        self._values: dict[str, dict[str, tuple[Any, Any]]] = {}
        self._lists: dict[str, tuple[Any, ...]] = {}
        self._changed: dict[str, tuple[int, ...]] = {}

    def mesh(self) -> model.Mesh:
        """Everything the translation depends on, as it is now; the same object when nothing of it has changed."""
        if self._revision == self._store.revision:
            return self._mesh
        self._revision = self._store.revision
        made = model.Mesh(
            config=self._config(),
            services=self._known(service, SERVICES),
            workloads=self._workloads(),
            virtual_services=self._istio(VIRTUAL_SERVICES, model.VirtualService, istio.VirtualService),
            destination_rules=self._istio(DESTINATION_RULES, model.DestinationRule, istio.DestinationRule),
            gateways=self._istio(GATEWAYS, model.Gateway, istio.Gateway),
            service_entries=self._istio(SERVICE_ENTRIES, model.ServiceEntry, istio.ServiceEntry),
            workload_entries=self._istio(WORKLOAD_ENTRIES, _workload_entry, istio.WorkloadEntry),
            sidecars=self._istio(SIDECARS, model.Sidecar, istio.Sidecar),
            peer_authentications=self._istio(
                PEER_AUTHENTICATIONS, model.PeerAuthentication, istio.PeerAuthentication
            ),
            authorization_policies=self._istio(
                AUTHORIZATION_POLICIES, _authorization_policy, istio.AuthorizationPolicy
            ),
            telemetries=self._istio(TELEMETRIES, model.Telemetry, istio.Telemetry),
            envoy_filters=self._istio(ENVOY_FILTERS, model.EnvoyFilter, istio.EnvoyFilter),
            credentials=self._credentials(),
        )
        if any(getattr(made, name) is not getattr(self._mesh, name) for name in made.__dataclass_fields__):
            self._mesh = made
        return self._mesh

    def _config(self) -> model.MeshConfig:
        known = self._known(config, CONFIG_MAPS, NAMESPACE, is_mesh_config)
        return known[0] if known else _DEFAULT

    def _credentials(self) -> tuple[model.Credential, ...]:
        made = self._known(credential, SECRETS)
        return self._kept("credentials", tuple(item for item in made if item is not None))

    def _workloads(self) -> tuple[model.Workload, ...]:
        def sources() -> Iterable[tuple[Any, ...]]:
            nodes = {node["metadata"]["name"]: node for node in self._store.list(NODES)}
            return [
                (pod, nodes.get(pod["spec"].get("nodeName", "")))
                for pod in self._store.list(PODS)
                if pod.get("status", {}).get("podIP")
            ]

        return self._read("workloads", (PODS, NODES), sources, workload)

    def _istio(self, resource: Resource, into: Callable[..., N], kind: type[istio.S]) -> tuple[N, ...]:
        def read(item: Manifest) -> N:
            metadata = item["metadata"]
            named = {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "created": metadata["creationTimestamp"],
                "uid": metadata["uid"],
                "spec": istio.spec_of(item, kind),
            }
            return into(**named) if isinstance(into, type) else into(item, **named)

        return self._known(read, resource)

    def _known(
        self,
        read: Callable[[Manifest], V],
        resource: Resource,
        namespace: str = "",
        where: Callable[[Manifest], bool] | None = None,
    ) -> tuple[V, ...]:
        """What `read` makes of each object of `resource`."""

        def sources() -> Iterable[tuple[Any, ...]]:
            return [(item,) for item in self._store.list(resource, namespace, where)]

        return self._read(resource.plural, (resource,), sources, read)

    def _read(
        self,
        kind: str,
        resources: Iterable[Resource],
        sources: Callable[[], Iterable[tuple[Any, ...]]],
        read: Callable[..., V],
    ) -> tuple[V, ...]:
        """What `read` makes of each of `sources` (manifests, the first of which has the uid).

        The sources are looked at only when any object of `resources` has changed, and read again only when one of the
        manifests is another object than the last time.
        """
        changed = tuple(map(self._store.changed, resources))
        if self._changed.get(kind) == changed:
            return self._lists[kind]
        before = self._values.get(kind, {})
        now: dict[str, tuple[Any, V]] = {}
        for source in sources():
            uid = source[0]["metadata"]["uid"]
            known = before.get(uid)
            if known is None or not all(map(is_, known[0], source)):
                value = read(*source)
                known = (source, known[1] if known is not None and known[1] == value else value)
            now[uid] = known
        self._values[kind], self._changed[kind] = now, changed
        return self._kept(kind, tuple(value for _, value in now.values()))

    def _kept(self, kind: str, made: tuple[V, ...]) -> tuple[V, ...]:
        """`made`, or the tuple of the last time when that holds the very same values."""
        before = self._lists.get(kind)
        if before is None or len(before) != len(made) or not all(map(is_, before, made)):
            self._lists[kind] = before = made
        return before


def config(manifest: Manifest) -> model.MeshConfig:
    """The mesh-wide settings of Istio's ConfigMap."""
    given = mesh_config(manifest)
    proxy = given.default_config
    stats = proxy.proxy_stats_matcher
    return model.MeshConfig(
        outbound_mode=given.outbound_traffic_policy.mode,
        auto_mtls=given.enable_auto_mtls,
        connect_timeout=given.connect_timeout,
        access_log=bool(given.access_log_file),
        access_log_json=given.access_log_encoding == "JSON",
        locality_enabled=given.locality_lb_setting.enabled,
        stats_prefixes=stats.inclusion_prefixes if stats else (),
        stats_suffixes=stats.inclusion_suffixes if stats else (),
        stats_regexps=stats.inclusion_regexps if stats else (),
        certificate_lifetime=proxy.proxy_metadata.lifetime,
        certificate_grace=float(proxy.proxy_metadata.grace),
        drain_duration=proxy.termination_drain_duration,
        tracers=given.extension_providers,
        default_tracer=next(iter(given.default_providers.tracing), ""),
    )


_DEFAULT = model.MeshConfig()


def service(manifest: Manifest) -> model.Service:
    """The Service of that manifest."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    address = spec.get("clusterIP", "")
    exported = metadata.get("annotations", {}).get(_EXPORT_TO, "")
    return model.Service(
        host=f"{metadata['name']}.{metadata['namespace']}.svc.{model.TRUST_DOMAIN}",
        name=metadata["name"],
        namespace=metadata["namespace"],
        created=metadata["creationTimestamp"],
        ports=tuple(_port(port) for port in spec.get("ports") or ()),
        addresses=() if address in ("", _HEADLESS) else tuple(spec.get("clusterIPs") or (address,)),
        selector=spec.get("selector") or {},
        resolution="PASSTHROUGH" if address == _HEADLESS else "CLIENT_SIDE",
        export_to=frozenset(filter(None, (name.strip() for name in exported.split(",")))),
        publish_not_ready=spec.get("publishNotReadyAddresses", False),
    )


def workload(pod: Manifest, node: Manifest | None = None) -> model.Workload:
    """The workload that the pod is, once it has an address."""
    metadata, spec = pod["metadata"], pod["spec"]
    address = pod["status"]["podIP"]
    containers = spec["containers"]
    sidecar = any(container["name"] == PROXY for container in containers) and len(containers) > 1
    return model.Workload(
        name=metadata["name"],
        namespace=metadata["namespace"],
        owner=owner(pod),
        ip=address,
        app_ip=app_address(address) if sidecar else address,
        labels=metadata.get("labels", {}),
        service_account=spec.get("serviceAccountName", "default"),
        ports=tuple(
            (port.get("name", ""), port["containerPort"])
            for container in containers
            if container["name"] != PROXY
            for port in container.get("ports", ())
        ),
        ready=is_ready(pod) and "deletionTimestamp" not in metadata,
        sidecar=sidecar,
        locality=locality(node, pod),
    )


def locality(node: Manifest | None, pod: Manifest) -> model.Locality:
    """Where a pod is: as its label istio-locality says, or by the labels of its node that istiod reads.

    A label of Kubernetes holds no "/", so the parts of istio-locality are separated by dots. Source: istio/istio
    `getPodLocality` in `pilot/pkg/serviceregistry/kube/controller/controller.go`.
    """
    if text := pod["metadata"].get("labels", {}).get("istio-locality", ""):
        return model.Locality.read(text.replace(".", "/"))
    labels = node["metadata"].get("labels", {}) if node else {}
    return model.Locality(
        region=labels.get("topology.kubernetes.io/region", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        subzone=labels.get("topology.istio.io/subzone", ""),
    )


def owner(pod: Manifest) -> str:
    """What istiod calls the workload: the Deployment, which is the ReplicaSet's name without the template's hash."""
    metadata = pod["metadata"]
    for reference in metadata.get("ownerReferences", ()):
        if reference.get("controller"):
            hashed = metadata.get("labels", {}).get(HASH_LABEL, "")
            name: str = reference["name"]
            return name.removesuffix(f"-{hashed}") if hashed else name
    return str(metadata["name"])


def _port(port: Manifest) -> model.ServicePort:
    name = port.get("name", "")
    protocol = port_protocol(name, port.get("appProtocol", ""), port["port"])
    return model.ServicePort(name, port["port"], port.get("targetPort") or port["port"], protocol)


def _workload_entry(manifest: Manifest, **named: Any) -> model.WorkloadEntry:
    return model.WorkloadEntry(**named, labels=manifest["metadata"].get("labels", {}))


def _authorization_policy(manifest: Manifest, **named: Any) -> model.AuthorizationPolicy:
    return model.AuthorizationPolicy(**named, dry_run=dry_run(manifest))
