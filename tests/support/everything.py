"""Objects of every kind with every field, to be thrown at a mesh in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from papermesh import VILLAGE, manifests

from harness.localmesh.api.resources import RESOURCES
from harness.localmesh.kinds.parse import Manifest

GIVEN: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "localmesh" / "every_field.yaml").read_text()
)
HEADS = {item.kind: item.api_version for item in RESOURCES}
VILLAGERS = [item for item in manifests(VILLAGE) if item["kind"] in ("Service", "Pod", "Node")]


CHOOSY = (
    (
        "VirtualService",
        "{hosts: [a], http: [{match: [{sourceLabels: {app: a}}], route: [{destination: {host: b}}]}]}",
    ),
    (
        "VirtualService",
        "{hosts: [c.other], http: [{match: [{sourceNamespace: other}], redirect: {uri: /x}}]}",
    ),
    (
        "DestinationRule",
        "{host: b, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {tls: {mode: DISABLE}}}",
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}, loadBalancer: {simple: ROUND_ROBIN}}}",
    ),
)
"""Objects that are not the same to all proxies, by kind and spec."""


def _objects() -> list[Manifest]:
    """Valid objects of all kinds."""
    found = VILLAGERS + manifests(GIVEN["ROUND"])
    for kind, specs in GIVEN.items():
        if kind in HEADS:
            found += [_object(kind, spec) for spec in specs]
    for policy in GIVEN["POLICIES"]:
        subsets = [{"name": "v1", "labels": {"version": "v1"}}]
        found.append(_object("DestinationRule", {"host": "a", "trafficPolicy": policy, "subsets": subsets}))
    return found + choosy()


def choosy() -> list[Manifest]:
    """Those of `CHOOSY`, each with a name of its own."""
    made = [_object(kind, yaml.safe_load(spec)) for kind, spec in CHOOSY]
    for number, item in enumerate(made):
        item["metadata"]["name"] = f"choosy-{number}"
    return made


def _object(kind: str, spec: Any) -> Manifest:
    metadata = {"name": "it", "namespace": "default"}
    return {"apiVersion": HEADS[kind], "kind": kind, "metadata": metadata, "spec": spec}


OBJECTS = _objects()
"""Valid objects of all kinds, over the few names of `papermesh.VILLAGE`."""
