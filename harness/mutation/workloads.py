"""What weakens a Deployment and a PodDisruptionBudget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from harness.changes import ABSENT, Manifest, Path
from harness.mutation.mutant import Weakening

_TEMPLATE: Path = ("spec", "template")
_CONFIG = "proxy.istio.io/config"


def weaker_deployment(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """Its number of pods, how they are replaced, how they end, when they are ready, and their sidecar.

    Pods that sleep before they end keep their time for it: with less Kubernetes refuses them.
    """
    spec = manifest["spec"]
    if spec.get("replicas", 1) > 1:
        yield Weakening(("spec", "replicas"), 1, "replicas one", "nobody is there while one pod is away")
    if (spec.get("strategy") or {}).get("type") != "Recreate":
        why = "in a rollout all pods end before the first new one is ready"
        yield Weakening(("spec", "strategy"), {"type": "Recreate"}, "strategy Recreate", why)
    yield from _template(spec["template"])


def _template(template: Any) -> Iterator[Weakening]:
    metadata, spec = template.get("metadata") or {}, template["spec"]
    if (metadata.get("labels") or {}).get("sidecar.istio.io/inject") != "false":
        at = (*_TEMPLATE, "metadata", "labels", "sidecar.istio.io/inject")
        yield Weakening(at, "false", "sidecar left out", "its pods are not part of the mesh")
    hooks = [(one.get("lifecycle") or {}).get("preStop") or {} for one in spec["containers"]]
    if spec.get("terminationGracePeriodSeconds", 30) > 0 and not any("sleep" in hook for hook in hooks):
        at = (*_TEMPLATE, "spec", "terminationGracePeriodSeconds")
        yield Weakening(at, 0, "drain time zero", "pods end in the middle of requests")
    yield from _drain((metadata.get("annotations") or {}).get(_CONFIG, ""))
    for number, container in enumerate(spec["containers"]):
        at = (*_TEMPLATE, "spec", "containers", number)
        if (container.get("lifecycle") or {}).get("preStop"):
            why = "the program ends before its callers know"
            yield Weakening((*at, "lifecycle", "preStop"), ABSENT, "preStop removed", why)
        if container.get("readinessProbe"):
            why = "pods are asked before they can answer"
            yield Weakening((*at, "readinessProbe"), ABSENT, "readinessProbe removed", why)


def _drain(text: str) -> Iterator[Weakening]:
    config = yaml.safe_load(text) if text else None
    if not isinstance(config, dict) or config.get("terminationDrainDuration", "0s") == "0s":
        return
    value = yaml.safe_dump({**config, "terminationDrainDuration": "0s"})
    at = (*_TEMPLATE, "metadata", "annotations", _CONFIG)
    yield Weakening(at, value, "terminationDrainDuration zero", "the proxy ends in the middle of requests")


def weaker_disruption_budget(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """How many pods have to stay."""
    spec = manifest["spec"]
    why = "all pods may be evicted at once"
    if spec.get("minAvailable") not in (None, 0, "0%"):
        yield Weakening(("spec", "minAvailable"), 0, "minAvailable zero", why)
    if spec.get("maxUnavailable") not in (None, "100%"):
        yield Weakening(("spec", "maxUnavailable"), "100%", "maxUnavailable 100 %", why)
