"""The official Kubernetes client against a real server, over TLS and with the token."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from kubernetes import client, watch
from kubernetes.client.rest import ApiException

from harness.localmesh import disruption
from harness.localmesh.api.resources import CONFIG_MAPS

ISTIO = {"group": "networking.istio.io", "version": "v1", "namespace": "default"}
LABELS = {"app": "web"}


def container(**more):
    """A container, without anything that does not matter here."""
    return client.V1Container(name="main", image="web", **more)


def pod(name, **metadata):
    """A pod of one container."""
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, **metadata), spec=client.V1PodSpec(containers=[container()])
    )


def deployment(name):
    """A Deployment of two pods."""
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=LABELS), spec=client.V1PodSpec(containers=[container()])
    )
    selector = client.V1LabelSelector(match_labels=LABELS)
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(replicas=2, selector=selector, template=template),
    )


def virtual_service(name, host="reviews"):
    """A VirtualService that routes `host` to itself."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
    }


@pytest.fixture
def core(api):
    """The core API."""
    return client.CoreV1Api(api)


@pytest.fixture
def apps(api):
    """The apps API."""
    return client.AppsV1Api(api)


@pytest.fixture
def custom(api):
    """The API of custom objects."""
    return client.CustomObjectsApi(api)


def refused(call, *arguments, **options):
    """The refusal of a call."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **options)
    return caught.value


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


def test_a_watch_begins_with_what_there_is_and_goes_on_with_changes(core, cluster):
    """ADDED for the existing, then each change in order; DELETED when it leaves the selection."""
    core.create_namespaced_pod("default", pod("a", labels=LABELS))
    events = watch.Watch().stream(
        core.list_namespaced_pod, "default", label_selector="app=web", timeout_seconds=20
    )
    seen = []

    def write():
        core.create_namespaced_pod("default", pod("unseen"))
        core.patch_namespaced_pod("a", "default", {"metadata": {"annotations": {"x": "y"}}})
        core.patch_namespaced_pod("a", "default", {"metadata": {"labels": {"app": "other"}}})
        core.create_namespaced_pod("default", pod("b", labels=LABELS))

    for event in events:
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 1:
            write()
        if len(seen) == 4:
            break
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


def test_a_watch_from_a_list_misses_nothing_and_ends_in_time(core):
    """Everything after the list's resourceVersion, until timeoutSeconds."""
    since = core.list_namespaced_pod("default").metadata.resource_version
    for name in "abc":
        core.create_namespaced_pod("default", pod(name))
    stream = watch.Watch().stream(
        core.list_namespaced_pod,
        "default",
        resource_version=since,
        timeout_seconds=1,
        allow_watch_bookmarks=True,
    )
    assert [event["object"].metadata.name for event in stream if event["type"] == "ADDED"] == ["a", "b", "c"]


def test_a_watch_from_too_far_back_is_expired(core, cluster):
    """The client is told with an ERROR event of 410 and has to list again."""
    counter = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "counter", "namespace": "default"},
    }
    cluster.store.create(CONFIG_MAPS, counter)
    for number in range(20_001):
        cluster.store.replace(CONFIG_MAPS, {**counter, "data": {"number": str(number)}})
    stream = watch.Watch().stream(
        core.list_namespaced_pod, "default", resource_version="1", timeout_seconds=1
    )
    assert refused(lambda: list(stream)).status == 410


def test_dry_runs_store_nothing(core):
    """`dryRun=All` answers as if."""
    assert core.create_namespaced_pod("default", pod("a"), dry_run="All").metadata.uid
    assert refused(core.read_namespaced_pod, "a", "default").status == 404
    assert refused(core.create_namespaced_pod, "default", pod("a"), dry_run="Some").status == 400


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


def test_the_log_of_a_container_is_served(core, cluster):
    """As bytes, the last lines when asked; a container must be the pod's."""
    core.create_namespaced_pod("default", pod("a"))
    cluster.pods.written["default", "a", "main"] = b"one\ntwo\nthree\n"
    assert core.read_namespaced_pod_log("a", "default") == "one\ntwo\nthree\n"
    assert core.read_namespaced_pod_log("a", "default", tail_lines=1) == "three\n"
    assert refused(core.read_namespaced_pod_log, "a", "default", container="x").status == 400
    assert refused(core.read_namespaced_pod_log, "a", "default", previous=True).status == 400


def serve_once(answer):
    """An address where one connection is accepted, read, answered with `answer` and closed; None resets it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as connection:
            request = connection.recv(65536)
            if answer is None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                connection.sendall(answer + request if answer else b"")

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


def running_pod(core):
    """A pod with an address: the loopback."""
    core.create_namespaced_pod("default", pod("a"))
    core.patch_namespaced_pod_status("a", "default", {"status": {"podIP": "127.0.0.1"}})


def test_a_pod_is_reached_through_the_proxy(core):
    """The request arrives without our token, the answer is passed through."""
    running_pod(core)
    port, thread = serve_once(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
    answer = core.connect_get_namespaced_pod_proxy_with_path(f"a:{port}", "default", "hello/there")
    thread.join()
    assert answer.startswith("GET /hello/there HTTP/1.1\r\n")
    assert "uthorization" not in answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "EOF"),
        (None, "read: connection reset by peer"),
        (b"nonsense\r\n\r\n", "malformed HTTP response"),
    ],
)
def test_a_pod_that_hangs_up_is_a_503_with_the_cause(core, answer, message):
    """As the real API server words it: this is how a refused plaintext connection is told from an answer."""
    running_pod(core)
    port, thread = serve_once(answer)
    error = refused(core.connect_get_namespaced_pod_proxy, f"a:{port}", "default")
    thread.join()
    assert error.status == 503
    assert "error trying to reach service: " in error.body
    assert message in error.body


def test_a_port_nobody_listens_on_is_a_503_with_the_cause(core):
    """Connection refused, with the address."""
    running_pod(core)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refused(core.connect_get_namespaced_pod_proxy, f"a:{port}", "default")
    assert error.status == 503
    assert f"dial tcp 127.0.0.1:{port}: connect: connection refused" in error.body


def test_the_agent_of_a_sidecar_tells_for_how_long_its_certificate_is_good(core, cluster):
    """At its own port and path, and below 0 once that is over; a pod without a sidecar has no such port."""
    meshed = pod("meshed")
    meshed.spec.containers.append(
        client.V1Container(name="istio-proxy", image="docker.io/istio/proxyv2:1.30.3")
    )
    core.create_namespaced_pod("default", meshed)

    def told(path="stats/prometheus"):
        return core.connect_get_namespaced_pod_proxy_with_path("meshed:15020", "default", path)

    assert not [line for line in told().splitlines() if not line.startswith("#")]
    cluster.pods.expiries["meshed"] = time.time() - 5
    (line,) = [line for line in told().splitlines() if not line.startswith("#")]
    name, value = line.split()
    assert name == 'istio_agent_cert_expiry_seconds{resource_name="default"}'
    assert -10 < float(value) <= -5
    running_pod(core)
    error = refused(core.connect_get_namespaced_pod_proxy_with_path, "a:15020", "default", "stats/prometheus")
    assert error.status == 503
    assert refused(told, "healthz/ready").status == 404


def test_lists_come_in_parts_of_one_state(core):
    """Each part continues the one before, whatever is written meanwhile; a token of another server is refused."""
    for name in "abcde":
        core.create_namespaced_config_map(
            "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name))
        )
    first = core.list_namespaced_config_map("default", limit=2)
    assert (first.metadata.remaining_item_count, len(first.items)) == (3, 2)
    core.delete_namespaced_config_map("d", "default")
    core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c0")))
    found, token = [], first.metadata._continue
    while token:
        part = core.list_namespaced_config_map("default", limit=2, _continue=token)
        assert part.metadata.resource_version == first.metadata.resource_version
        found += [item.metadata.name for item in part.items]
        token = part.metadata._continue
    assert found == ["c", "d", "e"]
    assert refused(core.list_namespaced_config_map, "default", _continue="e30=").status == 400


def test_the_state_at_an_earlier_revision_can_be_listed(core):
    """Exactly that one; a revision that is not there yet is a 504."""
    made = core.create_namespaced_config_map(
        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"))
    )
    core.delete_namespaced_config_map("a", "default")
    at = {"resource_version": made.metadata.resource_version, "resource_version_match": "Exact"}
    assert [item.metadata.name for item in core.list_namespaced_config_map("default", **at).items] == ["a"]
    assert not core.list_namespaced_config_map("default").items
    assert refused(core.list_namespaced_config_map, "default", resource_version="99999").status == 504


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


def test_pods_are_evicted(core, cluster):
    """As a deletion with its options; a budget answers 429 with its cause; a dry run changes nothing."""
    core.create_namespaced_pod("default", pod("a", labels=LABELS))
    eviction = client.V1Eviction(
        metadata=client.V1ObjectMeta(name="a"), delete_options=client.V1DeleteOptions(grace_period_seconds=0)
    )
    core.create_namespaced_pod_eviction("a", "default", eviction, dry_run="All")
    assert core.read_namespaced_pod("a", "default").metadata.deletion_timestamp is None
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    core.patch_namespaced_pod_status("a", "default", running)
    budget = client.V1PodDisruptionBudget(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1PodDisruptionBudgetSpec(
            min_available=1, selector=client.V1LabelSelector(match_labels=LABELS)
        ),
    )
    policy = client.PolicyV1Api(core.api_client)
    policy.create_namespaced_pod_disruption_budget("default", budget)
    disruption.reconcile(cluster.store)
    answer = refused(core.create_namespaced_pod_eviction, "a", "default", eviction)
    assert answer.status == 429
    assert "needs 1 healthy pods and has 1 currently" in answer.body
    policy.delete_namespaced_pod_disruption_budget("web", "default")
    core.create_namespaced_pod_eviction("a", "default", eviction)
    assert refused(core.read_namespaced_pod, "a", "default").status == 404


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


def test_kinds_that_are_not_emulated_are_listed_and_watched_as_none(api):
    """Their lists are empty; making one is a 403 that says what there is instead."""
    jobs = client.BatchV1Api(api)
    assert jobs.list_namespaced_job("default").items == []
    assert list(watch.Watch().stream(jobs.list_namespaced_job, "default", timeout_seconds=1)) == []
    answer = refused(
        jobs.create_namespaced_job, "default", {"metadata": {"name": "a"}, "spec": {"template": {}}}
    )
    assert (answer.status, "does not emulate Job" in answer.body) == (403, True)
