"""The EndpointSlices of a Service: pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from harness.localmesh import workloads
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.workloads import is_ready, is_terminating, ready_since


def endpoint_slices(service: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The EndpointSlices of a Service: one for each way in which its named target ports resolve."""
    selector = service["spec"].get("selector")
    if not selector:
        return []
    by_ports: dict[tuple[tuple[str, int], ...], list[Manifest]] = defaultdict(list)
    for pod in pods:
        metadata = pod["metadata"]
        address = pod.get("status", {}).get("podIP")
        labels = metadata.get("labels", {})
        if metadata["namespace"] != service["metadata"]["namespace"] or not address:
            continue
        if selector.items() <= labels.items():
            by_ports[_resolved(service, pod)].append(_endpoint(pod, address))
    return [_slice(service, ports, endpoints) for ports, endpoints in by_ports.items()]


def target_port(port: Manifest, pod: Manifest) -> int | None:
    """The number on `pod` that a Service's `port` stands for; None when the pod has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for candidate in container.get("ports", ()):
            if candidate.get("name") == target:
                return int(candidate["containerPort"])
    return None


def _resolved(service: Manifest, pod: Manifest) -> tuple[tuple[str, int], ...]:
    found = ((port.get("name", ""), target_port(port, pod)) for port in service["spec"].get("ports") or ())
    return tuple((name, number) for name, number in found if number is not None)


def _endpoint(pod: Manifest, address: str) -> Manifest:
    serving, terminating = ready_since(pod) is not None, is_terminating(pod)
    return {
        "addresses": [address],
        "conditions": {"ready": is_ready(pod), "serving": serving, "terminating": terminating},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "uid": pod["metadata"]["uid"],
        },
    }


def _slice(service: Manifest, ports: tuple[tuple[str, int], ...], endpoints: list[Manifest]) -> Manifest:
    metadata = service["metadata"]
    suffix = hashlib.sha256(repr((metadata["uid"], ports)).encode()).hexdigest()[:5]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-{suffix}",
            "namespace": metadata["namespace"],
            "labels": {"kubernetes.io/service-name": metadata["name"]},
            "ownerReferences": [workloads.owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": name, "port": number, "protocol": "TCP"} for name, number in ports],
    }
