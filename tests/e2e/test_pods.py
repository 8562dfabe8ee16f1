"""Pods as people know them from a cluster, and certificates that live for seconds, through real Envoys."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from kubernetes import client, config
from support import eventually

from harness.localmesh.ca import Authority
from harness.localmesh.launch import launch

pytestmark = pytest.mark.e2e
MANIFESTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "defaultConfig: {proxyMetadata: {SECRET_TTL: 3s}}"}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: harness/service
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 1}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec: {containers: [{name: client, image: curlimages/curl, command: [sleep, infinity]}]}
"""


@pytest.fixture(scope="module")
def mesh(short):
    """A mesh with a client and two pods of web, whose certificates live for 3 s; the path of its kubeconfig."""
    manifests = short / "web.yaml"
    manifests.write_text(MANIFESTS)
    with launch([manifests], print, short / "pods") as addresses:
        yield addresses.kubeconfig


@pytest.fixture(scope="module")
def core(mesh):
    """The official client."""
    with config.new_client_from_config(str(mesh)) as api:
        yield client.CoreV1Api(api)


@pytest.fixture
def kubectl(mesh, tmp_path):
    """Runs kubectl and returns what it prints."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on PATH")

    def run(*arguments, given=""):
        argv = [program, "--kubeconfig", str(mesh), "--cache-dir", str(tmp_path), *arguments]
        done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def sidecar(core):
    """The address of the client's Envoy."""
    (pod,) = core.list_namespaced_pod("default", label_selector="app=client").items
    return pod.status.pod_ip


class Traffic:
    """Requests to web through a sidecar, about 200 a second by four keep-alive connections, while the block lasts."""

    def __init__(self, address):
        self.codes = Counter()
        self._address = address
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self):
        connection = http.client.HTTPConnection(self._address, 15001, timeout=10)
        with contextlib.closing(connection):
            while not self._over.wait(0.02):
                self.codes[ask(connection)] += 1


def ask(connection, path="/"):
    """The status of one request to web."""
    connection.request("GET", f"http://web{path}", headers={"Host": "web"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def once(sidecar, path="/"):
    """The status of one request on a connection of its own."""
    connection = http.client.HTTPConnection(sidecar, 15001, timeout=10)
    with contextlib.closing(connection):
        return ask(connection, path)


def admin(mesh, address, path):
    """What the admin interface of the Envoy at that address answers."""
    for bootstrap in Path(mesh).parent.glob("pods/*/bootstrap.json"):
        if f"~{address}~" in json.loads(bootstrap.read_text())["node"]["id"]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(bootstrap.with_name("admin.sock")))
                connection.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n".encode()
                )
                with http.client.HTTPResponse(connection) as answer:
                    answer.begin()
                    return answer.read().decode()
    raise AssertionError(f"no Envoy at {address}")


def serial(mesh, address):
    """The serial number of the certificate that an Envoy shows."""
    held = json.loads(admin(mesh, address, "/certs"))["certificates"]
    return held[0]["cert_chain"][0]["serial_number"]


def test_certificates_rotate_without_a_lost_request(mesh, sidecar):
    """Five rotations of the client's certificate, under requests all the time and a long one."""
    slow = []
    patient = threading.Thread(target=lambda: slow.append(once(sidecar, "/?delay=6s")))
    seen = {serial(mesh, sidecar)}
    with Traffic(sidecar) as traffic:
        patient.start()
        eventually(lambda: seen.add(serial(mesh, sidecar)) or len(seen) > 5, within=30.0)
        patient.join()
    assert slow == [200]
    assert set(traffic.codes) == {200}
    assert traffic.codes[200] > 500


def test_the_root_is_exchanged_once_istiod_has_started_again(mesh, core, kubectl, sidecar):
    """The user's own root takes over, then one that istiod makes since the Secret has been deleted.

    Every sidecar follows at its next renewal. Connections that are open go on; new ones between one that has followed
    and one that has not fail, so that requests get 200 or 503 meanwhile, and 200 in the end.
    """
    new = Authority()
    data = {"ca-cert.pem": new.root_pem, "ca-key.pem": new.key_pem}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}

    def trusted():
        return core.read_namespaced_config_map("istio-ca-root-cert", "default").data["root-cert.pem"]

    def restarted():
        kubectl("-n", "istio-system", "delete", "pod", "-l", "app=istiod")
        kubectl("-n", "istio-system", "rollout", "status", "deployment", "istiod", "--timeout=20s")

    old = trusted()
    with Traffic(sidecar) as traffic:
        eventually(lambda: traffic.codes[200] > 50)
        core.patch_namespaced_secret("istio-ca-secret", "istio-system", {"data": encoded})
        followed = {serial(mesh, sidecar)}
        eventually(lambda: followed.add(serial(mesh, sidecar)) or len(followed) > 1, within=20.0)
        assert trusted() == old
        restarted()
        eventually(lambda: trusted() == new.root_pem, within=20.0)
        core.delete_namespaced_secret("istio-ca-secret", "istio-system")
        restarted()
        eventually(lambda: new.root_pem not in trusted() and trusted().count("BEGIN") == 1, within=20.0)
    assert set(traffic.codes) <= {200, 503}
    eventually(lambda: {once(sidecar) for _ in range(30)} == {200}, within=20.0)


def test_without_istiod_certificates_expire_and_with_it_they_come_back(kubectl, sidecar):
    """Connections that are open go on; new ones fail once the certificates are too old."""
    kubectl("-n", "istio-system", "scale", "deployment", "istiod", "--replicas=0")
    try:
        with contextlib.ExitStack() as stack:

            def fails():
                # Each slow request needs a connection between the Envoys of its own.
                connection = http.client.HTTPConnection(sidecar, 15001, timeout=10)
                stack.enter_context(contextlib.closing(connection))
                connection.request("GET", "http://web/?delay=10s", headers={"Host": "web"})
                with contextlib.suppress(TimeoutError):
                    connection.sock.settimeout(0.2)
                    return connection.getresponse().status == 503
                return False

            eventually(fails, within=20.0)
    finally:
        kubectl("-n", "istio-system", "scale", "deployment", "istiod", "--replicas=1")
    eventually(lambda: [once(sidecar) for _ in range(20)] == [200] * 20)


def test_a_rolling_restart_loses_no_request_when_pods_wait_before_they_end(kubectl, sidecar):
    """A preStop sleep gives callers the time to hear of it."""
    with Traffic(sidecar) as traffic:
        for _ in range(2):
            kubectl("rollout", "restart", "deployment/web")
            asked = int(time.time())
            kubectl("rollout", "status", "deployment/web", "--timeout=20s")
            # kubectl notes the second of a restart, and refuses another one in the same.
            eventually(lambda asked=asked: int(time.time()) > asked)
    assert set(traffic.codes) == {200}
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web")


def test_the_rollout_has_a_history_and_can_be_undone(kubectl):
    """What was, is again, as a new revision."""

    def image_env():
        return kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}")

    before = len(kubectl("rollout", "history", "deployment/web").strip().splitlines())
    kubectl("set", "env", "deployment/web", "MARK=1")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert len(kubectl("rollout", "history", "deployment/web").strip().splitlines()) == before + 1
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert image_env() == ""
    assert len(kubectl("rollout", "history", "deployment/web").strip().splitlines()) == before + 1
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=10s")


FAILING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME}
      annotations: {standin.harness.local/error-percent: "100"}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: failing
        image: harness/service
        ports: [{name: http, containerPort: 8080}]
        PROBE: {httpGet: {path: /, port: http}, periodSeconds: 1, failureThreshold: 1}
"""


@pytest.fixture
def failing(kubectl):
    """Creates a Deployment whose program answers 503 to a probe of that name."""
    names = []

    def create(probe):
        names.append(f"failing-{probe[:8].lower()}")
        kubectl("apply", "-f", "-", given=FAILING.replace("PROBE", probe).replace("NAME", names[0]))
        return f"app={names[0]}"

    yield create
    kubectl("delete", "deployment", *names)


def one(core, label):
    """The pod with that label, once there is one."""
    found = core.list_namespaced_pod("default", label_selector=label).items
    assert len(found) == 1
    return found[0]


def test_a_program_that_fails_its_liveness_probe_is_restarted(failing, core, kubectl):
    """With a count, the last state, and events that say why."""
    label = failing("livenessProbe")

    def restarted():
        pod = one(core, label)
        return next((item for item in pod.status.container_statuses or () if item.restart_count), None)

    assert eventually(restarted).last_state.terminated.reason in ("Completed", "Error")
    events = core.list_namespaced_event("default").items
    told = {(item.reason, item.message) for item in events}
    assert ("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503") in told
    assert ("Killing", "Container failing failed liveness probe, will be restarted") in told


def test_a_program_that_fails_its_readiness_probe_runs_and_gets_no_traffic(failing, core):
    """Not ready, not restarted."""
    label = failing("readinessProbe")

    def unready():
        pod = one(core, label)
        states = {item.name: item for item in pod.status.container_statuses or ()}
        assert "istio-proxy" in states
        assert states["istio-proxy"].ready
        told = core.list_namespaced_event("default", field_selector="reason=Unhealthy").items
        assert any(item.message.startswith("Readiness probe failed") for item in told)
        return pod

    pod = eventually(unready)
    states = {item.name: item for item in pod.status.container_statuses}
    assert (states["failing"].ready, states["failing"].restart_count) == (False, 0)
    (ready,) = (item for item in pod.status.conditions if item.type == "Ready")
    assert ready.status == "False"


def test_a_deleted_pod_ends_in_its_own_time_or_at_once(core):
    """With its hook it takes a second; with no grace it is gone when the call returns."""

    def pods():
        return [
            pod.metadata.name for pod in core.list_namespaced_pod("default", label_selector="app=web").items
        ]

    def settled():
        """The pods, once none of an earlier rollout is on its way out."""
        found = core.list_namespaced_pod("default", label_selector="app=web").items
        ending = any(pod.metadata.deletion_timestamp for pod in found)
        return [pod.metadata.name for pod in found] if len(found) == 2 and not ending else None

    first, second = eventually(settled)
    begun = time.monotonic()
    core.delete_namespaced_pod(first, "default")
    eventually(lambda: first not in pods(), within=25.0)  # it may have to answer what others have asked
    assert time.monotonic() - begun >= 1.0
    core.delete_namespaced_pod(second, "default", grace_period_seconds=0)
    assert second not in pods()
