"""Whatever changes in whatever order: what the Envoys are told depends on the present state alone.

A mesh that has lived through changes, with the memory of its translation and with what proxies share, is compared with
a start from the objects as they are at the end (their ages, uids and addresses among them), for each proxy alone.
"""

from __future__ import annotations

import contextlib
import copy

from everything import OBJECTS, VILLAGERS, choosy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papermesh import VILLAGE, PaperMesh

from harness.localmesh.api.resources import PODS, SERVICES, by_kind
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest


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
    for manifest in choosy():
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
