"""Patches and server-side apply by the official client: whose fields are whose."""

from __future__ import annotations

import threading

from official import deployment, pod, refused


def test_concurrent_patches_are_all_applied(core):
    """A patch without resourceVersion never conflicts and is never lost."""
    core.create_namespaced_pod("default", pod("a"))

    def label(number):
        core.patch_namespaced_pod("a", "default", {"metadata": {"labels": {f"n{number}": "x"}}})

    threads = [threading.Thread(target=label, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(core.read_namespaced_pod("a", "default").metadata.labels) == 8


def test_objects_are_applied_with_a_field_manager(api, core):
    """The body is what the manager wants; without a manager it is refused; a status has managers of its own."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    options = {"_content_type": "application/apply-patch+yaml", "field_manager": "me"}
    made = core.patch_namespaced_config_map("a", "default", body, **options)
    assert [entry.manager for entry in made.metadata.managed_fields] == ["me"]
    again = core.patch_namespaced_config_map("a", "default", body, **options)
    assert again.metadata.resource_version == made.metadata.resource_version
    other = {**options, "field_manager": "you"}
    changed = {**body, "data": {"k": "w"}}
    conflict = refused(core.patch_namespaced_config_map, "a", "default", changed, **other)
    assert conflict.status == 409
    assert '"reason":"FieldManagerConflict"' in conflict.body
    assert core.patch_namespaced_config_map("a", "default", changed, force=True, **other).data == {"k": "w"}
    stale = {**body, "metadata": {"name": "a", "resourceVersion": made.metadata.resource_version}}
    assert refused(core.patch_namespaced_config_map, "a", "default", stale, **options).status == 409
    nobody = {"_content_type": options["_content_type"]}
    assert refused(core.patch_namespaced_config_map, "a", "default", body, **nobody).status == 400


def test_the_status_is_applied_apart_from_the_rest(core, apps):
    """What is said of the spec through the status is not heard."""
    apps.create_namespaced_deployment("default", deployment("web"))
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 9},
        "status": {"readyReplicas": 1},
    }
    options = {"_content_type": "application/apply-patch+yaml", "field_manager": "me", "force": True}
    found = apps.patch_namespaced_deployment_status("web", "default", body, **options)
    assert (found.spec.replicas, found.status.ready_replicas) == (2, 1)
    entry = next(entry for entry in found.metadata.managed_fields if entry.manager == "me")
    assert (entry.subresource, entry.fields_v1) == ("status", {"f:status": {"f:readyReplicas": {}}})


def test_managed_fields_can_be_taken_away(core):
    """An update with one empty entry makes an object nobody's."""
    made = core.create_namespaced_pod("default", pod("a"))
    assert made.metadata.managed_fields
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    after = core.patch_namespaced_pod("a", "default", patch, _content_type="application/json-patch+json")
    assert not after.metadata.managed_fields
