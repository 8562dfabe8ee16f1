"""What people do to a mesh that serves: restart, scale, cordon and drain, evict, and renew certificates.

The statements are those of kubernetes.io/docs: tasks/run-application/configure-pdb, tasks/administer-cluster/
safely-drain-node and concepts/workloads/controllers/deployment; certificates as istio.io/latest/docs/ops/
configuration/security and SECRET_TTL of the reference of pilot-agent.
"""

import json
import threading
from collections import Counter

import pytest
import yaml
from live import service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
NAMESPACE = "operations"
URL = "http://web:8000/"
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"""


@pytest.fixture(scope="module")
def place(mesh):
    """A namespace with three pods of web, which wait a moment before they end, and a caller."""
    web = (
        service("web")
        .replace("spec:\n  selector", "spec:\n  replicas: 3\n  selector")
        .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 5")
        .replace(
            "image: harness/service,", "image: harness/service, lifecycle: {preStop: {sleep: {seconds: 1}}},"
        )
    )
    with mesh.namespace(NAMESPACE, web, service("front")):
        yield NAMESPACE


@pytest.fixture(scope="module")
def front(mesh, place):
    """The caller."""
    with mesh.caller(place, "app=front") as caller:
        yield caller


class Traffic:
    """Requests all the time while the block lasts; `codes` counts what came."""

    def __init__(self, caller):
        self.codes = Counter()
        self._caller = caller
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _ask(self):
        while not self._over.wait(0.005):
            self.codes[self._caller.code(URL)] += 1


def web(mesh):
    """The pods of web by name, each with its node."""
    return {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in mesh.pods(NAMESPACE, "app=web")}


def test_a_rolling_restart_loses_no_request(mesh, place, front):
    """All pods are new afterwards, and every request meanwhile was answered."""
    before = set(web(mesh))
    with Traffic(front) as traffic:
        mesh.kubectl("-n", place, "rollout", "restart", "deployment/web-v1")
        done = mesh.kubectl("-n", place, "rollout", "status", "deployment/web-v1", "--timeout=30s")
        eventually(lambda: len(web(mesh)) == 3)
    assert "successfully rolled out" in done
    assert not before & set(web(mesh))
    assert set(traffic.codes) == {200}
    assert traffic.codes[200] > 20  # so many fit into the rollout on a busy machine, too


def test_scaling_changes_who_answers(mesh, place, front):
    """One pod answers all, then five do, then three again."""
    for replicas in (1, 5, 3):
        mesh.kubectl("-n", place, "scale", "deployment/web-v1", f"--replicas={replicas}")
        mesh.kubectl("-n", place, "rollout", "status", "deployment/web-v1", "--timeout=30s")
        eventually(
            lambda replicas=replicas: len({front.get(URL).json()["pod"] for _ in range(40)}) == replicas
        )


def test_a_cordoned_node_gets_no_new_pod_and_a_drained_one_has_none(mesh, place, front):
    """Drain evicts pods one by one as the budget allows, without a failed request; uncordon lets pods back."""
    mesh.apply(BUDGET, place)
    others = [name for name in ("local-0", "local-1", "local-2") if name != "local-0"]
    eventually(lambda: set(web(mesh).values()) >= {"local-0"})
    try:
        with Traffic(front) as traffic:
            mesh.kubectl(
                *("drain", "local-0", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"),
                "--pod-selector=app in (web)",
            )
            eventually(lambda: len(web(mesh)) == 3 and set(web(mesh).values()) <= set(others))
        assert set(traffic.codes) == {200}
        shown = mesh.kubectl("get", "node", "local-0")
        assert "Ready,SchedulingDisabled" in shown
    finally:
        mesh.kubectl("uncordon", "local-0")
    mesh.kubectl("-n", place, "rollout", "restart", "deployment/web-v1")
    mesh.kubectl("-n", place, "rollout", "status", "deployment/web-v1", "--timeout=30s")
    eventually(lambda: "local-0" in set(web(mesh).values()))


def test_a_budget_blocks_an_eviction_that_would_break_it(mesh, place):
    """429, as the eviction API answers; a pod may go when there is one to spare."""
    mesh.apply(BUDGET, place)
    mesh.kubectl("-n", place, "scale", "deployment/web-v1", "--replicas=2")
    eventually(lambda: len(web(mesh)) == 2)

    def allowed():
        shown = mesh.kubectl("-n", place, "get", "pdb", "web", "-o", "jsonpath={.status.disruptionsAllowed}")
        return int(shown or 0)

    def evict(pod):
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": place}}
        path = f"/api/v1/namespaces/{place}/pods/{pod}/eviction"
        return ("create", "--raw", path, "-f", "-"), json.dumps(body)

    eventually(lambda: allowed() == 0)
    arguments, body = evict(next(iter(web(mesh))))
    assert "violate the pod's disruption budget" in mesh.refused(*arguments, given=body)
    mesh.kubectl("-n", place, "scale", "deployment/web-v1", "--replicas=3")
    eventually(lambda: allowed() == 1)
    pod = next(iter(web(mesh)))
    arguments, body = evict(pod)
    mesh.kubectl(*arguments, given=body)
    eventually(lambda: pod not in web(mesh))
    mesh.kubectl("-n", place, "rollout", "status", "deployment/web-v1", "--timeout=30s")


def test_certificates_that_live_for_seconds_rotate_under_traffic(mesh, place, front):
    """Lifetimes edited in the mesh's settings: handshakes go on with ever new certificates, and no request fails."""
    one_each = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
"""
    (pod,) = mesh.pods(place, "app=front")
    labels = f'cluster_name=~"outbound.8000..web.{place}.*",pod="{pod["metadata"]["name"]}"'
    handshakes = f"envoy_cluster_ssl_handshake{{{labels}}}"
    settings = yaml.safe_load(
        mesh.kubectl("-n", "istio-system", "get", "configmap", "istio", "-o", "jsonpath={.data.mesh}")
    )
    brief = {**settings["defaultConfig"], "proxyMetadata": {"SECRET_TTL": "3s"}}
    with mesh.applied(one_each, place), mesh.mesh_config(defaultConfig=brief):
        serials = {mesh.serial(pod)}
        with Traffic(front) as traffic:
            eventually(lambda: serials.add(mesh.serial(pod)) or len(serials) > 4, within=30.0)
        assert set(traffic.codes) == {200}
        assert traffic.codes[200] > 100
        eventually(lambda: mesh.total(handshakes) > 100)
    steadily(lambda: front.code(URL) == 200)
