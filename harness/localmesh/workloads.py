"""ReplicaSets and pods as their controllers make, rank and count them: pure, manifests in, manifests out.

Source: kubernetes/kubernetes `pkg/controller/controller_utils.go`, `pkg/controller/replicaset/replica_set.go`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import ALPHABET, clone

HASH_LABEL = "pod-template-hash"


def by_controller(objects: Iterable[Manifest]) -> dict[str, list[Manifest]]:
    """The objects that have a controller, by its UID, oldest first."""
    found: dict[str, list[Manifest]] = {}
    for item in objects:
        if uid := controller_of(item):
            found.setdefault(uid, []).append(item)
    for items in found.values():
        items.sort(key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
    return found


def controller_of(item: Manifest) -> str:
    """The UID of the object's controller, or ""."""
    references = item["metadata"].get("ownerReferences", ())
    return next((reference["uid"] for reference in references if reference.get("controller")), "")


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
    """A short hash of the pod template: pods of one template share a ReplicaSet.

    Empty values count as absent, as clients that read a template and write it back leave them out.
    """
    return _hash(msgspec.json.encode(deployment["spec"]["template"], order="sorted"))


@lru_cache(maxsize=4096)
def _hash(template: bytes) -> str:
    text = msgspec.json.encode(_without_empty(msgspec.json.decode(template)), order="sorted")
    digest = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    return "".join(ALPHABET[(digest >> (5 * place)) % len(ALPHABET)] for place in range(10))


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", {}, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def replica_set(deployment: Manifest, replicas: int, annotations: Manifest) -> Manifest:
    """The ReplicaSet for the Deployment's present pod template, with these annotations."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    hashed = template_hash(deployment)
    template = clone(spec["template"])
    labels = {**template.get("metadata", {}).get("labels", {}), HASH_LABEL: hashed}
    template.setdefault("metadata", {})["labels"] = labels
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{hashed}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            "selector": {
                **spec["selector"],
                "matchLabels": {**spec["selector"].get("matchLabels", {}), HASH_LABEL: hashed},
            },
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
    return "deletionTimestamp" not in pod["metadata"] and ready_since(pod) is not None


def is_terminating(manifest: Manifest) -> bool:
    """Whether it is being deleted."""
    return "deletionTimestamp" in manifest["metadata"]


def ready_since(pod: Manifest) -> datetime | None:
    """When its Ready condition became True (the beginning of time when it does not say); None: it is not."""
    for item in pod.get("status", {}).get("conditions", ()):
        if item.get("type") == "Ready" and item.get("status") == "True":
            return moment(item.get("lastTransitionTime"))
    return None


def available_in(pod: Manifest, min_ready: float, now: datetime) -> float | None:
    """Seconds until the pod has been ready for `min_ready` seconds, 0 when it has; None: it is not ready."""
    since = ready_since(pod)
    if since is None or is_terminating(pod):
        return None
    return max(0.0, min_ready - (now - since).total_seconds()) if min_ready else 0.0


def moment(text: str | None) -> datetime:
    """A time as Kubernetes writes it; the beginning of time for none."""
    return datetime.fromisoformat(text or "1970-01-01T00:00:00Z")


def replica_set_status(owner: Manifest, pods: Sequence[Manifest], now: datetime) -> Manifest:
    """The status of a ReplicaSet with these pods, none of them being deleted."""
    min_ready = owner["spec"].get("minReadySeconds", 0)
    waits = [wait for pod in pods if (wait := available_in(pod, min_ready, now)) is not None]
    return {
        "replicas": len(pods),
        "fullyLabeledReplicas": len(pods),
        "readyReplicas": len(waits),
        "availableReplicas": waits.count(0.0),
        "observedGeneration": owner["metadata"].get("generation", 1),
    }


def first_to_go(pods: Sequence[Manifest]) -> list[Manifest]:
    """`pods` (oldest first) in the order in which scaling down takes them.

    Unassigned before assigned, pending before running, not ready before ready, cheap before dear (the annotation
    controller.kubernetes.io/pod-deletion-cost), from crowded nodes first, then ready for a short time, often
    restarted, young: `ActivePodsWithRanks`. Kubernetes compares ages by orders of magnitude, here they are compared
    as they are.
    """
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in pods)
    youngest_first = pods[::-1]
    return sorted(youngest_first, key=_rank(crowd))


def _rank(crowd: Counter[str]) -> Callable[[Manifest], tuple[Any, ...]]:
    def rank(pod: Manifest) -> tuple[Any, ...]:
        status, node = pod.get("status", {}), pod["spec"].get("nodeName", "")
        since = ready_since(pod)
        return (
            bool(node),
            status.get("phase") == "Running",
            since is not None,
            _deletion_cost(pod),
            -crowd[node],
            -since.timestamp() if since else 0.0,
            -max((item.get("restartCount", 0) for item in status.get("containerStatuses", ())), default=0),
        )

    return rank


def _deletion_cost(pod: Manifest) -> int:
    text = pod["metadata"].get("annotations", {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    try:
        return int(text)
    except ValueError:
        return 0
