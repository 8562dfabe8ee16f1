"""What the Deployment and ReplicaSet controllers make: pure, manifests in, manifests out."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import ALPHABET

HASH_LABEL = "pod-template-hash"


def owned_by(owner: Manifest, objects: Iterable[Manifest]) -> list[Manifest]:
    """The objects whose controller is `owner`, oldest first."""
    uid = owner["metadata"]["uid"]
    mine = [item for item in objects if _controller(item) == uid]
    return sorted(mine, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))


def owner_reference(owner: Manifest) -> Manifest:
    """The reference that makes `owner` the controller of the object that carries it."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(deployment: Manifest) -> str:
    """A short hash of the pod template: pods of one template share a ReplicaSet."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return "".join(ALPHABET[(digest >> (5 * place)) % len(ALPHABET)] for place in range(10))


def replica_set(deployment: Manifest, replicas: int) -> Manifest:
    """The ReplicaSet for the Deployment's present pod template."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    hashed = template_hash(deployment)
    template = json.loads(json.dumps(spec["template"]))
    labels = {**template.get("metadata", {}).get("labels", {}), HASH_LABEL: hashed}
    template.setdefault("metadata", {})["labels"] = labels
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{hashed}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {**spec["selector"].get("matchLabels", {}), HASH_LABEL: hashed}},
            "template": template,
        },
    }


def pod(owner: Manifest, chance: random.Random) -> Manifest:
    """A new pod of the ReplicaSet `owner`, with a random suffix to its name."""
    template = owner["spec"]["template"]
    metadata = dict(template.get("metadata", {}))
    suffix = "".join(chance.choices(ALPHABET, k=5))
    metadata |= {
        "name": f"{owner['metadata']['name']}-{suffix}",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(owner)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def is_ready(pod: Manifest) -> bool:
    """Whether its Ready condition is True and it is not being deleted."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def replica_set_status(owner: Manifest, pods: Sequence[Manifest]) -> Manifest:
    """The status of a ReplicaSet with these pods."""
    ready = sum(map(is_ready, pods))
    return {
        "replicas": len(pods),
        "fullyLabeledReplicas": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": owner["metadata"].get("generation", 1),
    }


def deployment_status(deployment: Manifest, sets: Sequence[Manifest], now: str) -> Manifest:
    """The status of a Deployment with these ReplicaSets; conditions keep their time while they keep their status."""
    hashed = template_hash(deployment)
    statuses = [(item, item.get("status", {})) for item in sets]
    ready = sum(status.get("readyReplicas", 0) for _, status in statuses)
    wanted = deployment["spec"].get("replicas", 1)
    available = ready >= wanted - _unavailable(deployment, wanted)
    status: Manifest = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": sum(status.get("replicas", 0) for _, status in statuses),
        "updatedReplicas": sum(
            status.get("replicas", 0)
            for item, status in statuses
            if item["metadata"]["labels"].get(HASH_LABEL) == hashed
        ),
        "readyReplicas": ready,
        "availableReplicas": ready,
    }
    if ready < wanted:
        status["unavailableReplicas"] = wanted - ready
    condition = {
        "type": "Available",
        "status": "True" if available else "False",
        "reason": "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if available else 'does not have'} minimum availability.",
        "lastTransitionTime": now,
        "lastUpdateTime": now,
    }
    for old in deployment.get("status", {}).get("conditions", ()):
        if old["type"] == "Available" and old["status"] == condition["status"]:
            condition = old
    status["conditions"] = [condition]
    return status


def surge_and_unavailable(deployment: Manifest) -> tuple[int, int]:
    """How many pods a rolling update may add to and take from the wanted number; percentages round as in Kubernetes."""
    wanted = deployment["spec"].get("replicas", 1)
    unavailable = _unavailable(deployment, wanted)
    surge = _count(_rolling(deployment).get("maxSurge", "25%"), wanted, up=True)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _rolling(deployment: Manifest) -> Manifest:
    strategy: Manifest = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    return strategy


def _unavailable(deployment: Manifest, wanted: int) -> int:
    return min(_count(_rolling(deployment).get("maxUnavailable", "25%"), wanted, up=False), wanted)


def _count(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * of
    return -(-share // 100) if up else share // 100


def _controller(item: Manifest) -> str:
    references = item["metadata"].get("ownerReferences", ())
    return next((reference["uid"] for reference in references if reference.get("controller")), "")
