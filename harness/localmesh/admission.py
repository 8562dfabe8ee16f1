"""What the mesh does to objects as they are made: cluster IPs, sidecars, no image without a program."""

from __future__ import annotations

from collections.abc import Callable

from harness.localmesh import images
from harness.localmesh.addresses import Block
from harness.localmesh.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DESTINATION_RULES,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    VIRTUAL_SERVICES,
    Resource,
)
from harness.localmesh.errors import Refused
from harness.localmesh.kinds import istio
from harness.localmesh.kinds.admission import admit
from harness.localmesh.kinds.defaults import complete
from harness.localmesh.kinds.istio.meshconfig import is_mesh_config, mesh_config, pod_proxy_config
from harness.localmesh.kinds.parse import Manifest, invalid
from harness.localmesh.store import Admit, Admitted, Operation, Store

PROXY = "istio-proxy"
"""The name of the sidecar's container, as in Istio."""

PROXY_IMAGE = "docker.io/istio/proxyv2:1.30.3"
PILOT_IMAGE = "docker.io/istio/pilot:1.30.3"

_INJECT = "sidecar.istio.io/inject"


def guarded_store(block: Block) -> Store:
    """An empty store that takes what the mesh emulates and refuses the rest, naming the field."""

    def itself() -> Store:
        return store

    store = Store(
        (admit, _settings, _known_images, _cluster_ips(block, itself), _sidecars(itself), _subsets(itself))
    )
    return store


def _cluster_ips(block: Block, store: Callable[[], Store]) -> Admit:
    """Gives each new Service an address of the mesh's block, and keeps it."""

    def give(operation: Operation, resource: Resource, new: Manifest, old: Manifest | None) -> Manifest:
        if resource != SERVICES or operation == "STATUS" or new["spec"].get("clusterIP") == "None":
            return new
        if old is not None:
            address = old["spec"].get("clusterIP", "")
        else:
            address = block.service({item["spec"].get("clusterIP", "") for item in store().list(SERVICES)})
        return {**new, "spec": {**new["spec"], "clusterIP": address, "clusterIPs": [address]}}

    return give


def _settings(operation: Operation, resource: Resource, new: Manifest, old: Manifest | None) -> Manifest:
    """Refuses mesh-wide settings that the mesh does not have."""
    if resource == CONFIG_MAPS and operation != "STATUS" and is_mesh_config(new):
        mesh_config(new)
    return new


def _known_images(operation: Operation, resource: Resource, new: Manifest, old: Manifest | None) -> Manifest:
    """Refuses a pod template with an image that the mesh has no program for."""
    if operation != "STATUS" and resource in (DEPLOYMENTS, REPLICA_SETS, PODS):
        spec = new["spec"] if resource == PODS else new["spec"]["template"]["spec"]
        for container in spec["containers"]:
            try:
                images.command(container["image"], container)
            except Refused as refused:
                field = refused.field.replace("template.spec.", "") if resource == PODS else refused.field
                raise invalid(new, field, refused.message.partition(": ")[2]) from None
        for index, container in enumerate(spec.get("ephemeralContainers") or ()):
            try:
                images.attached(container)
            except Refused as refused:
                field = f"spec.ephemeralContainers[{index}].{refused.field.rpartition('.')[2]}"
                raise invalid(new, field, refused.message.partition(": ")[2]) from None
        _check_annotations(new, new if resource == PODS else new["spec"]["template"])
    return new


def _check_annotations(manifest: Manifest, pod: Manifest) -> None:
    """Refuses annotations of a pod or template that its proxy or its programs would not start with."""
    pod_proxy_config({**manifest, "metadata": {**manifest["metadata"], **(pod.get("metadata") or {})}})
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    for container in pod["spec"]["containers"]:
        try:
            images.check_annotations(container["image"], container, annotations)
        except Refused as refused:
            raise invalid(manifest, refused.field, refused.message.partition(": ")[2]) from None


def _sidecars(store: Callable[[], Store]) -> Admit:
    """Adds the proxy's container to a new pod, where Istio's injector would.

    The pod's own label or annotation `sidecar.istio.io/inject` decides, else the namespace's label `istio-injection`.
    """

    def inject(operation: Operation, resource: Resource, new: Manifest, old: Manifest | None) -> Manifest:
        if resource != PODS or operation != "CREATE" or not _wants_sidecar(new, store()):
            return new
        containers = [*new["spec"]["containers"], {"name": PROXY, "image": PROXY_IMAGE}]
        return complete({**new, "spec": {**new["spec"], "containers": containers}})

    return inject


def _subsets(store: Callable[[], Store]) -> Admit:
    """Warns of a VirtualService that sends to subsets no DestinationRule defines yet."""

    def warn(
        operation: Operation, resource: Resource, new: Manifest, old: Manifest | None
    ) -> Manifest | Admitted:
        if resource != VIRTUAL_SERVICES or operation == "STATUS":
            return new
        spec = istio.spec_of(new, istio.VirtualService)
        rules = [
            (istio.spec_of(rule, istio.DestinationRule), rule["metadata"]["namespace"])
            for rule in store().list(DESTINATION_RULES, where=_may_concern(spec))
        ]
        return Admitted(new, istio.subset_warnings(spec, new["metadata"]["namespace"], rules))

    return warn


def _may_concern(spec: istio.VirtualService) -> Callable[[Manifest], bool]:
    """Whether a DestinationRule may be for a host that `spec` names; all others need not be read."""
    named = {host.partition(".")[0] for host in istio.called_hosts(spec)}

    def concerns(rule: Manifest) -> bool:
        host = str(rule["spec"].get("host", ""))
        return host.startswith("*") or host.partition(".")[0] in named

    return concerns


def is_gateway(pod: Manifest) -> bool:
    """Whether the pod is a proxy and nothing else."""
    return all(
        images.command(container["image"], container) is None for container in pod["spec"]["containers"]
    )


def _wants_sidecar(pod: Manifest, store: Store) -> bool:
    if any(images.command(container["image"], container) is None for container in pod["spec"]["containers"]):
        return False
    metadata = pod["metadata"]
    for place in ("labels", "annotations"):
        asked = metadata.get(place, {}).get(_INJECT)
        if asked is not None:
            return bool(asked == "true")
    namespace = store.get(NAMESPACES, "", metadata["namespace"])
    return bool(namespace["metadata"].get("labels", {}).get("istio-injection") == "enabled")
