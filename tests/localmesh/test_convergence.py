"""Whatever changes in whatever order: what the Envoys are told depends on the present state alone.

A mesh that has lived through changes, with the memory of its translation and with what proxies share, is compared with
a start from the objects as they are at the end (their ages, uids and addresses among them), for each proxy alone.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papermesh import VILLAGE, PaperMesh, manifests

from harness.localmesh.api.resources import PODS, RESOURCES, SERVICES, by_kind
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest

GIVEN: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "every_field.yaml").read_text())
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
    return found + _choosy()


def _choosy() -> list[Manifest]:
    made = [_object(kind, yaml.safe_load(spec)) for kind, spec in CHOOSY]
    for number, item in enumerate(made):
        item["metadata"]["name"] = f"choosy-{number}"
    return made


def _object(kind: str, spec: Any) -> Manifest:
    metadata = {"name": "it", "namespace": "default"}
    return {"apiVersion": HEADS[kind], "kind": kind, "metadata": metadata, "spec": spec}


OBJECTS = _objects()


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Manifest]:
    """One change: an object is written or erased, a pod begins or ceases to serve, labels of a pod change."""
    how = draw(st.sampled_from(["write"] * 5 + ["erase", "erase", "serve", "fail", "label"]))
    if how in ("serve", "fail", "label"):
        return how, draw(st.sampled_from([item for item in VILLAGERS if item["kind"] == "Pod"]))
    made = copy.deepcopy(draw(st.sampled_from(OBJECTS)))
    if made["kind"] not in ("Node", "Pod", "Service"):
        made["metadata"]["name"] = draw(st.sampled_from([made["metadata"]["name"], "other"]))
        made["metadata"]["namespace"] = draw(st.sampled_from(["default", "default", "other", "istio-system"]))
    return how, made


def _change(mesh: PaperMesh, how: str, manifest: Manifest) -> None:
    metadata = manifest["metadata"]
    if how == "erase":
        mesh.erase(manifest)
    elif how == "write":
        if manifest["kind"] in ("Pod", "Service"):
            # Neither the containers of a pod nor the kind of a Service's address can be changed.
            mesh.erase(manifest)
        mesh.write(manifest)
    elif how == "label":

        def relabel(pod: Manifest) -> Manifest:
            labels = {**pod["metadata"]["labels"], "version": "v3"}
            return {**pod, "metadata": {**pod["metadata"], "labels": labels}}

        mesh.store.update(PODS, metadata["namespace"], metadata["name"], relabel)
    else:
        mesh.serve(metadata["namespace"], metadata["name"], how == "serve")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(changes(), min_size=1, max_size=12))
def test_changes_lead_where_a_fresh_start_leads(steps: list[tuple[str, Manifest]]) -> None:
    """Every proxy is told the same, resource by resource and in the same order, after any sequence of changes."""
    mesh = PaperMesh(VILLAGE)
    for manifest in _choosy():
        mesh.write(manifest)
    made = mesh.snapshots()
    for how, manifest in steps:
        with contextlib.suppress(Refused):
            _change(mesh, how, manifest)
        made = mesh.snapshots()
    fresh = mesh.fresh_snapshots()
    assert made.keys() == fresh.keys()
    for name, snapshot in made.items():
        for part in ("clusters", "endpoints", "listeners", "routes", "secrets"):
            one, other = getattr(snapshot, part), getattr(fresh[name], part)
            assert one == other, (name, part)
            assert [*one] == [*other], (name, part)


def test_the_objects_that_are_tried_are_all_valid() -> None:
    """Each is taken by admission, so that sequences do not consist of refusals."""
    mesh = PaperMesh(VILLAGE)
    refused = []
    for manifest in OBJECTS:
        try:
            mesh.write(manifest)
        except Refused as why:
            resource = by_kind(manifest["apiVersion"], manifest["kind"])
            if resource not in (PODS, SERVICES):
                refused.append(why.message)
    # Some are of every_field.yaml, which complete themselves only with the field that is tried in them.
    assert len(refused) < len(OBJECTS) / 4, refused
