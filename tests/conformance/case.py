"""A case: the objects of a cluster as its controllers have settled them, and the Envoys to configure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

CREATED = "2026-01-01T00:00:00Z"
PROXY = "istio-proxy"
_HASH = "5c9f4bd7b7"
_INJECT = "sidecar.istio.io/inject"
_KUBERNETES = (
    "Service",
    "Pod",
    "Node",
    "EndpointSlice",
    "Namespace",
    "Secret",
    "ServiceAccount",
)


@dataclass(frozen=True)
class Asked:
    """An Envoy: the pod it belongs to. A gateway is a "router" to istiod."""

    pod: str
    namespace: str = "default"
    gateway: bool = False

    @property
    def key(self) -> str:
        """The pod as namespace/name."""
        return f"{self.namespace}/{self.pod}"


@dataclass(frozen=True)
class Case:
    """Settled manifests, the mesh configuration of the ConfigMap `istio`, and the Envoys to translate for."""

    manifests: tuple[Manifest, ...]
    proxies: tuple[Asked, ...]
    mesh: Mapping[str, Any] = field(default_factory=dict)

    def pod(self, asked: Asked) -> Manifest:
        """The pod of `asked`.

        Raises:
            LookupError: there is none.
        """
        for manifest in self.manifests:
            metadata = manifest["metadata"]
            if manifest["kind"] == "Pod" and (metadata["namespace"], metadata["name"]) == (
                asked.namespace,
                asked.pod,
            ):
                return manifest
        raise LookupError(f"no pod {asked.key} in the case; there are {', '.join(self.pods())}")

    def kubernetes(self) -> list[Manifest]:
        """The objects that istiod reads from Kubernetes."""
        return [manifest for manifest in self.manifests if manifest["kind"] in _KUBERNETES]

    def istio(self) -> list[Manifest]:
        """The Istio objects."""
        return [manifest for manifest in self.manifests if ".istio.io/" in manifest["apiVersion"]]

    def pods(self) -> Iterator[str]:
        """The pods as namespace/name."""
        for manifest in self.manifests:
            if manifest["kind"] == "Pod":
                yield f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def read(*files: Path) -> tuple[list[Manifest], Mapping[str, Any]]:
    """The manifests in `files`, and the mesh configuration if a ConfigMap `istio` is among them."""
    documents = [item for file in files for item in yaml.safe_load_all(file.read_text()) if item]
    mesh: Mapping[str, Any] = {}
    for item in documents:
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "istio":
            mesh = yaml.safe_load(item["data"]["mesh"])
    return [item for item in documents if item["kind"] != "ConfigMap"], mesh


def settled(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """`manifests` as the cluster's controllers would leave them.

    Namespaces are filled in; each Deployment has its ready pods; pods have a sidecar, unless their label or
    annotation `sidecar.istio.io/inject` says "false" or they are a proxy; Services and pods have addresses; every
    Service has an EndpointSlice per set of ports. What is given (an address, a status) stays as it is.
    """
    given = [_placed(manifest) for manifest in manifests]
    pods = [pod for manifest in given if manifest["kind"] == "Deployment" for pod in _pods(manifest)]
    objects = [manifest for manifest in given if manifest["kind"] != "Deployment"] + pods
    for index, pod in enumerate(_of_kind(objects, "Pod"), 1):
        _inject(pod)
        _run(pod, f"10.1.{index // 250}.{index % 250 + 1}")
    for index, service in enumerate(_of_kind(objects, "Service"), 1):
        service["spec"].setdefault("clusterIP", f"10.96.{index // 250}.{index % 250 + 1}")
        _number_ports(service)
    sliced = {
        (slice_["metadata"]["namespace"], slice_["metadata"]["labels"]["kubernetes.io/service-name"])
        for slice_ in _of_kind(objects, "EndpointSlice")
    }
    for service in _of_kind(objects, "Service"):
        metadata = service["metadata"]
        if service["spec"].get("selector") and (metadata["namespace"], metadata["name"]) not in sliced:
            objects += _slices(service, _of_kind(objects, "Pod"))
    return tuple(objects)


def _placed(manifest: Manifest) -> Manifest:
    made = copy.deepcopy(manifest)
    if made["kind"] not in ("Node", "Namespace"):
        made["metadata"].setdefault("namespace", "default")
    made["metadata"].setdefault("creationTimestamp", CREATED)
    return made


def _of_kind(objects: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in objects if manifest["kind"] == kind]


def _pods(deployment: Manifest) -> Iterator[Manifest]:
    """Its pods; of the ReplicaSet in between istiod reads no more than the name and the template's hash."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    template = copy.deepcopy(spec["template"])
    owner = f"{metadata['name']}-{_HASH}"
    reference = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": owner,
        "uid": owner,
        "controller": True,
    }
    for index in range(spec.get("replicas", 1)):
        made = copy.deepcopy(template.get("metadata", {}))
        made.setdefault("labels", {})["pod-template-hash"] = _HASH
        made |= {
            "name": f"{owner}-{index}",
            "generateName": f"{owner}-",
            "namespace": metadata["namespace"],
            "creationTimestamp": metadata["creationTimestamp"],
            "ownerReferences": [reference],
        }
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": copy.deepcopy(template["spec"])}


def _inject(pod: Manifest) -> None:
    """What Istio's injector adds that counts for a translation: the container and the labels."""
    metadata, containers = pod["metadata"], pod["spec"]["containers"]
    for container in containers:
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")
    labels = metadata.setdefault("labels", {})
    asked = {**metadata.get("annotations", {}), **labels}.get(_INJECT)
    if asked == "false" or any(container["name"] == PROXY for container in containers):
        return
    containers.append({"name": PROXY, "image": "auto"})
    labels.setdefault("security.istio.io/tlsMode", "istio")


def _run(pod: Manifest, address: str) -> None:
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Running")
    status.setdefault("podIP", address)
    status.setdefault("podIPs", [{"ip": status["podIP"]}])
    status.setdefault("conditions", [{"type": "Ready", "status": "True"}])
    pod["spec"]["serviceAccountName"] = pod["spec"].get("serviceAccountName") or "default"


def _number_ports(service: Manifest) -> None:
    for port in service["spec"].get("ports", ()):
        port.setdefault("targetPort", port["port"])
        port.setdefault("protocol", "TCP")


def _slices(service: Manifest, pods: Iterable[Manifest]) -> Iterator[Manifest]:
    """A slice for each set of numbers that the Service's ports have in its pods, as the controller makes them."""
    metadata, spec = service["metadata"], service["spec"]
    backends: dict[tuple[int | None, ...], list[Manifest]] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        if (
            pod["metadata"]["namespace"] == metadata["namespace"]
            and spec["selector"].items() <= labels.items()
        ):
            numbers = tuple(_number(port["targetPort"], pod) for port in spec["ports"])
            backends.setdefault(numbers, []).append(pod)
    for index, (numbers, members) in enumerate(backends.items()):
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{metadata['name']}-{index}",
                "namespace": metadata["namespace"],
                "labels": {"kubernetes.io/service-name": metadata["name"]},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": port.get("name", ""), "port": number, "protocol": port["protocol"]}
                for port, number in zip(spec["ports"], numbers, strict=True)
                if number is not None
            ],
            "endpoints": [_endpoint(pod) for pod in members],
        }


def _number(target: int | str, pod: Manifest) -> int | None:
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") == target:
                return int(port["containerPort"])
    return None


def _endpoint(pod: Manifest) -> Manifest:
    metadata = pod["metadata"]
    ready = {"type": "Ready", "status": "True"} in pod["status"]["conditions"]
    made: Manifest = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": ready, "terminating": "deletionTimestamp" in metadata},
        "targetRef": {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"]},
    }
    if node := pod["spec"].get("nodeName"):
        made["nodeName"] = node
    return made
