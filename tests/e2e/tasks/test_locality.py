"""Locality load balancing: failover, and weighted distribution.

The statements are those of istio.io/latest/docs/tasks/traffic-management/locality-load-balancing: before-you-begin,
failover and distribute. Nodes carry the localities; a locality fails when its pods are gone.
"""

import pytest
from live import service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
NAMESPACE = "locality"
URL = "http://web:8000/"
PLACES = {"one-a": ("one", "a"), "one-b": ("one", "b"), "two-c": ("two", "c"), "three-d": ("three", "d")}


def node(name, region, zone):
    """A node there."""
    topology = f"topology.kubernetes.io/region: {region}, topology.kubernetes.io/zone: {zone}"
    labels = f"{topology}, kubernetes.io/hostname: {name}"
    return f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}"


def there(text, places):
    """Each Deployment of `text` on the node of that name, as its version says."""
    for name in places:
        head, _, tail = text.partition(f"name: web-{name},")
        pod = tail.replace(
            "serviceAccountName",
            f"nodeSelector: {{kubernetes.io/hostname: {name}}}\n      serviceAccountName",
            1,
        )
        text = f"{head}name: web-{name},{pod}"
    return text


def rule(locality):
    """The task's DestinationRule: one failure ejects, for a minute."""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web.{NAMESPACE}.svc.cluster.local
  trafficPolicy:
    connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}
    loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {{enabled: true, {locality}}}}}
    outlierDetection: {{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 1m}}
"""


@pytest.fixture(scope="module")
def place(mesh):
    """Four nodes in three regions, with a version of web on each, and a caller on the first."""
    nodes = "\n---\n".join(node(name, *where) for name, where in PLACES.items())
    pods = there(service("web", *PLACES), PLACES)
    caller = service("front").replace(
        "serviceAccountName", "nodeSelector: {kubernetes.io/hostname: one-a}\n      serviceAccountName", 1
    )
    with mesh.applied(nodes), mesh.namespace(NAMESPACE, pods, caller):
        yield NAMESPACE


@pytest.fixture(scope="module")
def front(mesh, place):
    """The caller, in region one, zone a."""
    with mesh.caller(place, "app=front") as caller:
        yield caller


def scale(mesh, name, replicas):
    """So many pods of web on that node."""
    mesh.kubectl("-n", NAMESPACE, "scale", "deployment", f"web-{name}", f"--replicas={replicas}")


def test_pods_are_where_their_nodes_are(mesh, place):
    """The scheduler has put each version on its node."""
    found = {
        pod["metadata"]["labels"]["version"]: pod["spec"]["nodeName"] for pod in mesh.pods(place, "app=web")
    }
    assert found == {name: name for name in PLACES}


def test_traffic_stays_near_and_moves_on_when_the_near_ones_are_gone(mesh, place, front):
    """Zone, then region, then the region that `failover` names, then the last one; and home again."""
    with mesh.applied(rule("failover: [{from: one, to: two}]"), place):
        try:
            for name in PLACES:
                steadily(lambda name=name: set(front.versions(URL, 6)) == {name})
                scale(mesh, name, 0)
        finally:
            for name in PLACES:
                scale(mesh, name, 1)
        mesh.ready(place)
        steadily(lambda: set(front.versions(URL, 6)) == {"one-a"})


def test_failures_are_enough_to_move_on(mesh, place, front):
    """A near pod that answers 500 once is ejected, and the next zone answers."""
    with mesh.applied(
        rule("failover: [{from: one, to: two}]").replace(
            "interval: 1s", "maxEjectionPercent: 100, interval: 1s"
        ),
        place,
    ):
        steadily(lambda: set(front.versions(URL, 6)) == {"one-a"})
        assert front.code(f"{URL}?status=500") == 500
        eventually(lambda: set(front.versions(URL, 6)) == {"one-b"})


def test_traffic_is_distributed_by_weight(mesh, place, front):
    """The task's 70, 20 and 10 percent, and nothing for the place that is not named."""
    weights = 'distribute: [{from: one/a/*, to: {"one/a/*": 70, "one/b/*": 20, "two/c/*": 10}}]'
    with mesh.applied(rule(weights), place):
        steadily(lambda: set(front.versions(URL, 40)) == {"one-a", "one-b", "two-c"}, 1)
        seen = front.versions(URL, 200)
        assert set(seen) == {"one-a", "one-b", "two-c"}
        assert 110 <= seen["one-a"] <= 168
        assert 16 <= seen["one-b"] <= 68
        assert 4 <= seen["two-c"] <= 42


def test_a_node_that_moves_takes_its_pods_along(mesh, place, front):
    """Another zone by label, and the pods there are as near as those at home."""
    with mesh.applied(rule("failover: [{from: one, to: two}]"), place):
        steadily(lambda: set(front.versions(URL, 6)) == {"one-a"})
        label = ("label", "node", "one-b", "--overwrite")
        mesh.kubectl(*label, "topology.kubernetes.io/zone=a")
        try:
            steadily(lambda: set(front.versions(URL, 8)) == {"one-a", "one-b"}, 1)
        finally:
            mesh.kubectl(*label, "topology.kubernetes.io/zone=b")
        steadily(lambda: set(front.versions(URL, 6)) == {"one-a"})


def test_without_locality_load_balancing_everybody_answers(mesh, place, front):
    """Mesh-wide off, and no place is preferred."""
    with (
        mesh.mesh_config(localityLbSetting={"enabled": False}),
        mesh.applied(rule("").replace(", localityLbSetting: {enabled: true, }", ""), place),
    ):
        steadily(lambda: set(front.versions(URL, 12)) == set(PLACES), 1)
