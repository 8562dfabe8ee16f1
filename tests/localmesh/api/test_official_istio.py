"""Istio's kinds as custom objects of the official client."""

from __future__ import annotations

import pytest
from official import ISTIO, refused, virtual_service


@pytest.mark.parametrize(
    ("media_type", "patch"),
    [
        ("application/merge-patch+json", {"metadata": {"labels": {"a": "b"}}}),
        ("application/json-patch+json", [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
    ],
)
def test_custom_objects_are_patched_with_explicit_types(custom, media_type, patch):
    """Merge patch and JSON patch."""
    custom.create_namespaced_custom_object(**ISTIO, plural="virtualservices", body=virtual_service("a"))
    patched = custom.patch_namespaced_custom_object(
        **ISTIO, plural="virtualservices", name="a", body=patch, _content_type=media_type
    )
    assert patched["metadata"]["labels"] == {"a": "b"}


def test_a_strategic_merge_patch_of_a_custom_object_is_refused(custom):
    """415, as from a real cluster."""
    custom.create_namespaced_custom_object(**ISTIO, plural="virtualservices", body=virtual_service("a"))
    strategic = {"_content_type": "application/strategic-merge-patch+json"}
    arguments = {**ISTIO, "plural": "virtualservices", "name": "a", "body": {}, **strategic}
    assert refused(custom.patch_namespaced_custom_object, **arguments).status == 415


def test_an_istio_object_is_the_same_in_each_of_its_versions(custom):
    """Only the apiVersion differs; a version it is not served in is not found."""
    custom.create_namespaced_custom_object(**ISTIO, plural="virtualservices", body=virtual_service("a"))
    older = {**ISTIO, "version": "v1alpha3", "plural": "virtualservices"}
    found = custom.get_namespaced_custom_object(**older, name="a")
    assert found["apiVersion"] == "networking.istio.io/v1alpha3"
    assert found["spec"] == virtual_service("a")["spec"]
    custom.replace_namespaced_custom_object(**older, name="a", body=found)
    listed = custom.list_namespaced_custom_object(**ISTIO, plural="virtualservices")
    assert [item["apiVersion"] for item in listed["items"]] == ["networking.istio.io/v1"]
    assert refused(custom.list_namespaced_custom_object, **{**older, "plural": "envoyfilterz"}).status == 404


def test_what_the_mesh_does_not_emulate_is_refused_by_name(custom):
    """The field's path is in the Status."""
    body = virtual_service("a")
    body["spec"]["http"][0]["fault"] = {"abort": {"http2Error": "CANCEL"}}
    answer = refused(custom.create_namespaced_custom_object, **ISTIO, plural="virtualservices", body=body)
    assert answer.status == 422
    assert "spec.http[0].fault.abort.http2Error" in answer.body


def test_istio_kinds_are_replaced_only_by_whoever_knows_the_newest(custom):
    """Without a resourceVersion a PUT of a custom resource is a 422, as in Kubernetes."""
    made = custom.create_namespaced_custom_object(
        plural="virtualservices", body=virtual_service("a"), **ISTIO
    )
    answer = refused(
        custom.replace_namespaced_custom_object,
        plural="virtualservices",
        name="a",
        body=virtual_service("a"),
        **ISTIO,
    )
    assert (answer.status, "must be specified for an update" in answer.body) == (422, True)
    changed = {**virtual_service("a", "ratings"), "metadata": made["metadata"]}
    custom.replace_namespaced_custom_object(plural="virtualservices", name="a", body=changed, **ISTIO)
