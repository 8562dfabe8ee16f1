"""What Istio's webhook holds against the metadata and the selectors of any kind (`validateMetadata`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.rules.common import is_label
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

DRY_RUN = "istio.io/dry-run"
"""The annotation that makes an AuthorizationPolicy count what it would deny, and deny nothing."""

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_SELECTORS = {
    "DestinationRule": ("workloadSelector", "matchLabels"),
    **dict.fromkeys(("ServiceEntry", "Sidecar", "EnvoyFilter"), ("workloadSelector", "labels")),
    **dict.fromkeys(("Gateway", "VirtualService", "WorkloadEntry"), ("", "")),
}
_INTERNAL = "internal.istio.io/"


def dry_run(manifest: Manifest) -> bool:
    """Whether the annotation of an admitted AuthorizationPolicy asks for a dry run."""
    return (manifest["metadata"].get("annotations") or {}).get(DRY_RUN) in _TRUE


def problems(manifest: Manifest) -> Iterator[Problem]:
    """The fields of the metadata that Istio would not take, each with the reason."""
    metadata = manifest.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    for name in annotations:
        if name.startswith(_INTERNAL):
            yield f"metadata.annotations[{name}]", "is Istio's own and cannot be set"
    if DRY_RUN in annotations:
        field = f"metadata.annotations[{DRY_RUN}]"
        if manifest["kind"] != "AuthorizationPolicy":
            yield field, "only an AuthorizationPolicy can be tried; remove the annotation"
        elif (manifest.get("spec") or {}).get("action", "ALLOW") not in ("ALLOW", "DENY"):
            yield field, "only the actions ALLOW and DENY can be tried"
        elif annotations[DRY_RUN] not in _TRUE + _FALSE:
            yield field, f"{annotations[DRY_RUN]!r} is neither true nor false"
    if manifest["kind"] == "Gateway" and not is_label(str(metadata.get("name", ""))):
        yield "metadata.name", "the name of a Gateway must be a DNS label, without dots"


def warnings(manifest: Manifest) -> Iterator[Problem]:
    """The selectors of an admitted manifest that select everything, though they look as if they did not."""
    spec = manifest.get("spec") or {}
    name, labels = _SELECTORS.get(manifest["kind"], ("selector", "matchLabels"))
    if name in spec and not spec[name].get(labels):
        yield f"spec.{name}", "has no labels, so it selects every workload of the namespace"
