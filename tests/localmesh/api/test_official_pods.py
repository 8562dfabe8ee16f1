"""What the official client does to pods beside writing them: logs, proxied requests, evictions."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from kubernetes import client
from official import LABELS, pod, refused

from harness.localmesh import disruption


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
