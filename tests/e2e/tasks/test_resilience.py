"""Circuit breaking, outlier ejection, retries, mirroring and consistent hashing.

The statements are those of istio.io/latest/docs/tasks/traffic-management: circuit-breaking and mirroring, and of
docs/concepts/traffic-management about retries and of the reference of DestinationRule about consistent hashing.
"""

from collections import Counter

import pytest
from live import service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
NAMESPACE = "resilience"
URL = "http://web:8000/"
CLUSTER = f'cluster_name=~"outbound.8000..web.{NAMESPACE}.svc.cluster.local;?"'
GRPC_CALL = '{standin.harness.local/calls: "/grpc grpc://web:9000, /web http://web:8000"}'
PORTS = {"http": (8000, 8080), "grpc": (9000, 9090)}


def rule(policy, subsets=()):
    """A DestinationRule for web; `policy` may be ""."""
    named = ", ".join(f"{{name: {name}, labels: {{version: {name}}}}}" for name in subsets)
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec: {{host: web, {policy and f"trafficPolicy: {policy},"} subsets: [{named}]}}
"""


def route(text):
    """A VirtualService for web."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: [web], http: [{text}]}}
"""


@pytest.fixture(scope="module")
def place(mesh):
    """A namespace with two versions of web and somebody who calls it."""
    with mesh.namespace(
        NAMESPACE, service("web", "v1", "v2", ports=PORTS), service("front", settings=GRPC_CALL)
    ):
        yield NAMESPACE


@pytest.fixture(scope="module")
def front(mesh, place):
    """The caller."""
    caller = mesh.caller(place, "app=front")
    yield caller
    caller.close()


@pytest.fixture
def broken_v2(mesh, place):
    """Version 2 of web answers 503, over gRPC UNAVAILABLE, until the test is over."""
    annotate = {"spec": {"template": {"metadata": {"annotations": {}}}}}

    def fail(percent):
        annotate["spec"]["template"]["metadata"]["annotations"]["standin.harness.local/error-percent"] = (
            percent
        )
        patch = str(annotate).replace("'", '"')
        mesh.kubectl("-n", place, "patch", "deployment", "web-v2", "-p", patch)
        mesh.kubectl("-n", place, "rollout", "status", "deployment/web-v2", "--timeout=30s")
        eventually(lambda: len(mesh.pods(place, "app=web,version=v2")) == 1)

    fail("100")
    yield
    fail("0")


def series(mesh, name):
    """The value of one of Envoy's own series about web at its callers."""
    return mesh.total(f"{name}{{{CLUSTER}}}")


class TestCircuitBreaking:
    """https://istio.io/latest/docs/tasks/traffic-management/circuit-breaking."""

    def test_what_exceeds_the_pool_is_refused_and_counted(self, mesh, place, front):
        """With one connection and one request waiting, two of five at once are answered, three counted as overflow."""
        http = "{http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}"
        pool = f"{{connectionPool: {{tcp: {{maxConnections: 1}}, http: {http}}}}}"
        before = series(mesh, "envoy_cluster_upstream_rq_pending_overflow")
        with mesh.applied(rule(pool), place):
            steadily(lambda: front.at_once(f"{URL}?delay=600ms", 5) == {200: 2, 503: 3}, 1)
            assert front.codes(URL, 10) == {200: 10}
            eventually(lambda: series(mesh, "envoy_cluster_upstream_rq_pending_overflow") >= before + 3)
            flags = f'istio_requests_total{{reporter="source",response_flags="UO",source_workload_namespace="{place}"}}'
            eventually(lambda: mesh.total(flags) >= 3)
        steadily(lambda: front.at_once(URL, 5) == {200: 5}, 1)

    def test_hosts_that_fail_are_ejected_and_come_back(self, mesh, place, front):
        """After two failures in a row of each nobody is left to ask, until their ejection is over."""
        policy = "{consecutive5xxErrors: 2, interval: 0.5s, baseEjectionTime: 2s, maxEjectionPercent: 100}"
        enforced = "envoy_cluster_outlier_detection_ejections_enforced_total"
        before = series(mesh, enforced)
        with mesh.applied(rule(f"{{outlierDetection: {policy}}}"), place):

            def nobody_is_left():
                assert front.code(f"{URL}?status=500") in (500, 503)
                return front.code(URL) == 503 and front.get(URL).text == "no healthy upstream"

            # A success between them would end a row of failures: several are asked for at once.
            eventually(lambda: front.at_once(f"{URL}?status=500", 6) and nobody_is_left())
            eventually(lambda: set(front.versions(URL, 8)) == {"v1", "v2"})
            eventually(lambda: series(mesh, enforced) >= before + 2)

    @pytest.mark.usefixtures("broken_v2")
    def test_only_the_host_that_fails_is_ejected(self, mesh, place, front):
        """Requests find the good host only, though both are ready."""
        policy = "{consecutive5xxErrors: 2, interval: 0.5s, baseEjectionTime: 60s, maxEjectionPercent: 100}"
        with mesh.applied(rule(f"{{outlierDetection: {policy}}}"), place):
            eventually(lambda: front.codes(URL, 12) == {200: 12})
            assert set(front.versions(URL, 20)) == {"v1"}


@pytest.mark.usefixtures("broken_v2")
class TestRetries:
    """https://istio.io/latest/docs/concepts/traffic-management/#retries."""

    def test_a_503_is_retried_elsewhere_if_asked_and_not_by_default(self, mesh, place, front):
        """With `retryOn: 5xx` everybody is answered by the host that works; by default half of the requests fail."""
        assert set(front.codes(URL, 30)) == {200, 503}
        wanted = "{route: [{destination: {host: web}}], retries: {attempts: 3, retryOn: 5xx}}"
        with mesh.applied(route(wanted), place):
            steadily(lambda: front.codes(URL, 10) == {200: 10}, 3)
            eventually(lambda: series(mesh, "envoy_cluster_upstream_rq_retry_success") > 0)

    def test_grpc_unavailable_is_retried_by_default(self, mesh, place, front):
        """Every call succeeds with Istio's default, not so with `attempts: 0`; each attempt counts at the callee."""

        def outcomes():
            answers = [front.get("http://front:8000/grpc").json() for _ in range(12)]
            return {answer["calls"][0]["status"] for answer in answers}

        assert outcomes() == {0}
        with mesh.applied(route("{route: [{destination: {host: web}}], retries: {attempts: 0}}"), place):
            eventually(lambda: outcomes() == {0, 14})
        web = f'destination_service_name="web",destination_service_namespace="{place}"'
        grpc = (
            f'request_protocol="grpc",destination_service_name="web",destination_service_namespace="{place}"'
        )
        for reporter, status in (
            ("source", "0"),
            ("source", "14"),
            ("destination", "0"),
            ("destination", "14"),
        ):
            asked = f'istio_requests_total{{reporter="{reporter}",grpc_response_status="{status}",{grpc}}}'
            eventually(lambda asked=asked: mesh.total(asked) > 0)
        eventually(lambda: mesh.total(f"istio_request_messages_total{{{web}}}") > 0)


class TestMirroring:
    """https://istio.io/latest/docs/tasks/traffic-management/mirroring."""

    def served(self, mesh, place, path):
        """How many requests of that path each version has in its sidecar's log, and the status it gave."""
        count = Counter()
        for pod in mesh.pods(place, "app=web"):
            for entry in mesh.log(place, pod["metadata"]["name"]):
                if entry["path"].startswith(path):
                    count[pod["metadata"]["labels"]["version"]] += 1
        return count

    def mirror(self, percent):
        """All to v1, with a copy of so many percent to v2."""
        copy = f"mirrors: [{{destination: {{host: web, subset: v2}}, percentage: {{value: {percent}}}}}]"
        return route(f"{{route: [{{destination: {{host: web, subset: v1}}}}], {copy}}}")

    def test_without_a_mirror_only_the_destination_hears_of_a_request(self, mesh, place, front):
        """All to v1, nothing to v2."""
        with mesh.applied(rule("", ("v1", "v2")), place), mesh.applied(self.mirror(0), place):
            steadily(lambda: set(front.versions(URL, 8)) == {"v1"}, 2)
            assert set(front.versions(f"{URL}alone", 10)) == {"v1"}
            eventually(lambda: self.served(mesh, place, "/alone") == {"v1": 10})

    @pytest.mark.usefixtures("broken_v2")
    def test_the_copy_arrives_and_the_caller_never_knows(self, mesh, place, front):
        """Version 2 fails every copy; the caller has an answer of version 1 each time."""
        with mesh.applied(rule("", ("v1", "v2")), place), mesh.applied(self.mirror(100), place):
            steadily(lambda: set(front.versions(URL, 8)) == {"v1"}, 2)
            assert front.codes(f"{URL}both", 10) == {200: 10}
            eventually(lambda: self.served(mesh, place, "/both") == {"v1": 10, "v2": 10})

    def test_only_a_share_is_copied_if_asked(self, mesh, place, front):
        """About half of the requests."""
        with mesh.applied(rule("", ("v1", "v2")), place), mesh.applied(self.mirror(50), place):
            steadily(lambda: set(front.versions(URL, 8)) == {"v1"}, 2)
            assert set(front.versions(f"{URL}half", 120)) == {"v1"}
            eventually(lambda: self.served(mesh, place, "/half")["v1"] == 120)
            eventually(lambda: 37 <= self.served(mesh, place, "/half")["v2"] <= 83)


class TestConsistentHash:
    """https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings-ConsistentHashLB."""

    def test_a_header_decides_who_answers(self, mesh, place, front):
        """The same user finds the same pod each time, and users are spread over the pods."""
        by_user = "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"
        with mesh.applied(rule(by_user), place):

            def pods(user):
                return {front.get(URL, x_user=user).json()["pod"] for _ in range(5)}

            eventually(lambda: all(len(pods(f"user-{i}")) == 1 for i in range(6)))
            assert len({frozenset(pods(f"user-{i}")) for i in range(20)}) == 2

    def test_a_cookie_is_given_to_whoever_has_none(self, mesh, place, front):
        """With its value the same pod answers each time."""
        by_cookie = "{loadBalancer: {consistentHash: {httpCookie: {name: stick, ttl: 60s}}}}"
        with mesh.applied(rule(by_cookie), place):
            given = eventually(lambda: front.get(URL, cookie="none=1").headers.get("set-cookie"))
            assert given.startswith("stick=")
            assert "Max-Age=60" in given
            cookie = given.partition(";")[0]
            # The route gives cookies before every host is in the new ring.
            assert eventually(
                lambda: len({front.get(URL, cookie=cookie).json()["pod"] for _ in range(12)}) == 1
            )
