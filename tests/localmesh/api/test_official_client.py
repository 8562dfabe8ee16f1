"""The official Kubernetes client against a real server, over TLS and with the token."""

from __future__ import annotations

import socket
import threading

import pytest
from kubernetes import client, watch
from kubernetes.client.rest import ApiException

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
