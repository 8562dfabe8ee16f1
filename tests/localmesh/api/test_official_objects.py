"""Objects by the official Kubernetes client against a real server, over TLS: written, refused and deleted."""

from __future__ import annotations

from kubernetes import client, watch
from official import LABELS, deployment, pod, refused


def test_objects_are_created_read_listed_and_deleted(core):
    """The whole life of a pod, with selectors."""
    core.create_namespaced_pod("default", pod("a", labels=LABELS))
    core.create_namespaced_pod("default", pod("b"))
    assert core.read_namespaced_pod("a", "default").status.phase == "Pending"
    listed = core.list_pod_for_all_namespaces(
        label_selector="app in (web)", field_selector="status.phase=Pending"
    )
    assert [item.metadata.name for item in listed.items] == ["a"]
    marked = core.delete_namespaced_pod("a", "default")
    assert marked.metadata.deletion_grace_period_seconds == 30
    core.delete_namespaced_pod("a", "default", grace_period_seconds=0)
    core.delete_collection_namespaced_pod("default", grace_period_seconds=0)
    assert not core.list_namespaced_pod("default").items


def test_errors_are_those_of_kubernetes(core, apps):
    """Code, reason and message of the Status."""
    missing = refused(core.read_namespaced_pod, "x", "default")
    assert (missing.status, 'pods \\"x\\" not found' in missing.body) == (404, True)
    core.create_namespaced_pod("default", pod("a"))
    assert refused(core.create_namespaced_pod, "default", pod("a")).status == 409
    assert refused(core.create_namespaced_pod, "nowhere", pod("a")).status == 404
    wrong = deployment("web")
    wrong.spec.selector.match_labels = {"app": "other"}
    invalid = refused(apps.create_namespaced_deployment, "default", wrong)
    assert invalid.status == 422
    assert '"field":"spec.template.metadata.labels"' in invalid.body
    assert refused(core.list_namespaced_pod, "default", label_selector="a in b").status == 400


def test_a_stale_replacement_is_a_conflict(core):
    """Optimistic concurrency by resourceVersion."""
    stale = core.create_namespaced_pod("default", pod("a"))
    core.patch_namespaced_pod("a", "default", {"metadata": {"labels": {"by": "other"}}})
    stale.metadata.labels = {"by": "me"}
    conflict = refused(core.replace_namespaced_pod, "a", "default", stale)
    assert conflict.status == 409
    assert 'Operation cannot be fulfilled on pods \\"a\\"' in conflict.body


def test_status_and_scale_are_written_through_their_subresources(apps):
    """The status leaves the spec alone; the scale changes the replicas."""
    apps.create_namespaced_deployment("default", deployment("web"))
    apps.patch_namespaced_deployment_status(
        "web", "default", {"status": {"readyReplicas": 1}, "spec": {"replicas": 9}}
    )
    found = apps.read_namespaced_deployment("web", "default")
    assert (found.status.ready_replicas, found.spec.replicas, found.metadata.generation) == (1, 2, 1)
    scaled = apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 5}})
    assert scaled.spec.replicas == 5
    assert scaled.status.selector == "app=web"
    found = apps.read_namespaced_deployment("web", "default")
    assert (found.spec.replicas, found.metadata.generation, found.status.ready_replicas) == (5, 2, 1)


def test_dry_runs_store_nothing(core):
    """`dryRun=All` answers as if."""
    assert core.create_namespaced_pod("default", pod("a"), dry_run="All").metadata.uid
    assert refused(core.read_namespaced_pod, "a", "default").status == 404
    assert refused(core.create_namespaced_pod, "default", pod("a"), dry_run="Some").status == 400


def test_what_the_mesh_computes_is_not_written_by_others(core):
    """Endpoints come of selectors; one may be deleted, and is made again."""
    body = client.V1Endpoints(metadata=client.V1ObjectMeta(name="web"))
    answer = refused(core.create_namespaced_endpoints, "default", body)
    assert answer.status == 403
    assert "a ServiceEntry names other endpoints" in answer.body


def test_namespaces_that_must_be_are_not_deleted(core):
    """403, as in Kubernetes."""
    answer = refused(core.delete_namespace, "default")
    assert (answer.status, "this namespace may not be deleted" in answer.body) == (403, True)


def test_a_deletion_keeps_to_its_preconditions(core):
    """Another UID or revision than the one given is a 409."""
    made = core.create_namespaced_pod("default", pod("a"))
    for name, value in (("uid", "x"), ("resource_version", "1")):
        body = client.V1DeleteOptions(preconditions=client.V1Preconditions(**{name: value}))
        assert refused(core.delete_namespaced_pod, "a", "default", body=body).status == 409
    body = client.V1DeleteOptions(
        grace_period_seconds=0, preconditions=client.V1Preconditions(uid=made.metadata.uid)
    )
    core.delete_namespaced_pod("a", "default", body=body)


def test_nothing_is_stored_by_a_dry_run(core, apps):
    """Create, replace, patch, scale and delete answer as if they had done it."""
    core.create_namespaced_pod("default", pod("a"), dry_run="All")
    assert refused(core.read_namespaced_pod, "a", "default").status == 404
    made = apps.create_namespaced_deployment("default", deployment("web"))
    shown = apps.patch_namespaced_deployment("web", "default", {"spec": {"replicas": 7}}, dry_run="All")
    assert shown.spec.replicas == 7
    apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 7}}, dry_run="All")
    apps.delete_namespaced_deployment("web", "default", dry_run="All")
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 7},
    }
    apply = {"_content_type": "application/apply-patch+yaml", "field_manager": "me", "force": True}
    apps.patch_namespaced_deployment("web", "default", body, dry_run="All", **apply)
    after = apps.read_namespaced_deployment("web", "default")
    assert after.metadata.resource_version == made.metadata.resource_version


def test_a_finalizer_is_not_added_to_what_is_being_deleted(core):
    """422, as in Kubernetes; taking the last one away lets the object go."""
    core.create_namespaced_config_map(
        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", finalizers=["x.y/a"]))
    )
    core.delete_namespaced_config_map("a", "default")
    more = {"metadata": {"finalizers": ["x.y/a", "x.y/b"]}}
    merge = {"_content_type": "application/merge-patch+json"}
    answer = refused(core.patch_namespaced_config_map, "a", "default", more, **merge)
    assert (answer.status, "no new finalizers can be added" in answer.body) == (422, True)
    core.patch_namespaced_config_map("a", "default", {"metadata": {"finalizers": None}}, **merge)
    assert refused(core.read_namespaced_config_map, "a", "default").status == 404


def test_kinds_that_are_not_emulated_are_listed_and_watched_as_none(api):
    """Their lists are empty; making one is a 403 that says what there is instead."""
    jobs = client.BatchV1Api(api)
    assert jobs.list_namespaced_job("default").items == []
    assert list(watch.Watch().stream(jobs.list_namespaced_job, "default", timeout_seconds=1)) == []
    answer = refused(
        jobs.create_namespaced_job, "default", {"metadata": {"name": "a"}, "spec": {"template": {}}}
    )
    assert (answer.status, "does not emulate Job" in answer.body) == (403, True)
