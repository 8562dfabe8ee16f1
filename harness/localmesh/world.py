"""From the store's manifests to the values the translation reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness.localmesh.addresses import app_address
from harness.localmesh.admission import PROXY
from harness.localmesh.api.resources import (
    DESTINATION_RULES,
    ENVOY_FILTERS,
    GATEWAYS,
    PEER_AUTHENTICATIONS,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Resource,
)
from harness.localmesh.kinds import istio
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store
from harness.localmesh.workloads import HASH_LABEL, is_ready
from harness.localmesh.xds import model

_HTTP = {"http": "http", "http2": "http2", "h2c": "http2", "kubernetes.io/h2c": "http2", "grpc": "grpc"}
_TCP = ("tcp", "https", "tls", "mongo", "mysql", "redis", "udp")

N = TypeVar("N", bound=model.Named)


def mesh(store: Store) -> model.Mesh:
    """Everything the translation depends on, as it is now."""
    return model.Mesh(
        services=tuple(service(item) for item in store.list(SERVICES)),
        workloads=tuple(workload(item) for item in store.list(PODS) if item.get("status", {}).get("podIP")),
        virtual_services=_all(store, VIRTUAL_SERVICES, model.VirtualService, istio.VirtualService),
        destination_rules=_all(store, DESTINATION_RULES, model.DestinationRule, istio.DestinationRule),
        peer_authentications=_all(
            store, PEER_AUTHENTICATIONS, model.PeerAuthentication, istio.PeerAuthentication
        ),
        gateways=_all(store, GATEWAYS, model.Gateway, istio.Gateway),
        envoy_filters=_all(store, ENVOY_FILTERS, model.EnvoyFilter, istio.EnvoyFilter),
    )


def service(manifest: Manifest) -> model.Service:
    """The Service of that manifest."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    return model.Service(
        name=metadata["name"],
        namespace=metadata["namespace"],
        cluster_ip=spec.get("clusterIP", ""),
        ports=tuple(_port(port) for port in spec.get("ports") or ()),
        selector=spec.get("selector") or {},
    )


def workload(pod: Manifest) -> model.Workload:
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
        ready=is_ready(pod),
        sidecar=sidecar,
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
    declared = port.get("appProtocol") or name.split("-")[0]
    protocol = _HTTP.get(declared, "tcp" if declared in _TCP else "")
    return model.ServicePort(name, port["port"], port.get("targetPort") or port["port"], protocol)


def _all(store: Store, resource: Resource, into: Callable[..., N], kind: type[istio.S]) -> tuple[N, ...]:
    return tuple(
        into(
            name=item["metadata"]["name"],
            namespace=item["metadata"]["namespace"],
            created=item["metadata"]["creationTimestamp"],
            uid=item["metadata"]["uid"],
            spec=istio.spec_of(item, kind),
        )
        for item in store.list(resource)
    )
