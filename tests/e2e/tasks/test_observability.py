"""Access logs, and turning them off; metrics on both sides of a call, and changing their labels.

The statements are those of istio.io/latest/docs/tasks/observability: logs/access-log, logs/telemetry-api,
metrics/querying-metrics, metrics/customize-metrics and metrics/tcp-metrics.
"""

import pytest
from live import service
from support import eventually, query

pytestmark = pytest.mark.e2e
NAMESPACE = "observability"
BOTH = {"http": (8000, 8080), "tcp": (9000, 9090)}
CALLS = '{standin.harness.local/calls: "/tcp tcp://web:9000"}'
FIELDS = {
    *("start_time", "method", "path", "protocol", "response_code", "response_flags", "response_code_details"),
    *("connection_termination_details", "upstream_transport_failure_reason", "bytes_received", "bytes_sent"),
    *("duration", "upstream_service_time", "x_forwarded_for", "user_agent", "request_id", "authority"),
    *("upstream_host", "upstream_cluster", "upstream_local_address", "downstream_local_address"),
    *("downstream_remote_address", "requested_server_name", "route_name"),
}


@pytest.fixture(scope="module")
def place(mesh):
    """A namespace with web, which speaks HTTP and TCP, and a caller."""
    settings = '{standin.harness.local/protocol: "8080=http,9090=tcp"}'
    with mesh.namespace(
        NAMESPACE, service("web", ports=BOTH, settings=settings), service("front", settings=CALLS)
    ):
        yield NAMESPACE


@pytest.fixture(scope="module")
def front(mesh, place):
    """The caller."""
    with mesh.caller(place, "app=front") as caller:
        yield caller


@pytest.fixture
def logged(mesh, place):
    """The entries for a path in the log of the sidecar of front or of web."""

    def find(app, path):
        (pod,) = mesh.pods(place, f"app={app}")
        return [entry for entry in mesh.log(place, pod["metadata"]["name"]) if entry["path"] == path]

    return find


def telemetry(spec):
    """A Telemetry for the namespace."""
    return f"""
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: default}}
spec: {spec}
"""


def test_both_sidecars_write_a_request_down_as_istio_does(mesh, place, front, logged):
    """One JSON object for each, with Istio's fields and the same request id."""
    assert front.code("http://web:8000/status?status=418") == 418
    (out,) = eventually(lambda: logged("front", "/status?status=418"))
    (came,) = eventually(lambda: logged("web", "/status?status=418"))
    assert set(out) == set(came) == FIELDS
    assert out["upstream_cluster"] == f"outbound|8000||web.{place}.svc.cluster.local"
    assert came["upstream_cluster"] == "inbound|8080||"
    assert out["request_id"] == came["request_id"]
    assert (out["response_code"], out["method"], out["authority"]) == (418, "GET", "web:8000")
    assert came["requested_server_name"] == f"outbound_.8000_._.web.{place}.svc.cluster.local"


def test_logs_are_turned_off_for_a_namespace_and_on_again(mesh, place, front, logged):
    """A Telemetry with `disabled: true`, then without it."""
    probe = iter(range(1000))

    def is_logged():
        path = f"/probe-{next(probe)}"
        assert front.code(f"http://web:8000{path}") == 200
        # The next request follows it in the log: when that one is there and this one is not, it is not written.
        return bool(logged("web", path))

    with mesh.applied(telemetry("{accessLogging: [{disabled: true}]}"), place):
        eventually(lambda: front.code("http://web:8000/off") == 200 and not is_logged())
        before = len(logged("web", "/silence"))
        assert front.codes("http://web:8000/silence", 5) == {200: 5}
    eventually(is_logged)
    assert len(logged("web", "/silence")) == before


def test_logs_may_be_kept_for_failures_only(mesh, place, front, logged):
    """A filter by CEL: response.code >= 500."""
    only = "{accessLogging: [{filter: {expression: response.code >= 500}}]}"
    with mesh.applied(telemetry(only), place):

        def is_filtered():
            front.code("http://web:8000/fine")
            front.code("http://web:8000/worse?status=503")
            return len(logged("web", "/worse?status=503")) > len(logged("web", "/fine"))

        eventually(is_filtered)
        assert eventually(lambda: logged("web", "/worse?status=503"))


def test_a_label_is_removed_and_another_one_added(mesh, place, front):
    """The task's overrides: `tagOverrides` of REQUEST_COUNT."""
    overrides = """{metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT},
  tagOverrides: {request_host: {value: "request.host"}, destination_app: {operation: REMOVE}}}]}]}"""
    with mesh.applied(telemetry(overrides), place):
        asked = f'istio_requests_total{{source_workload_namespace="{place}",request_host="web:8000"}}'

        def labels():
            front.code("http://web:8000/")
            return [item["metric"] for item in query(mesh.addresses, asked)]

        found = eventually(labels)
        assert all(item.get("destination_app", "unknown") == "unknown" for item in found)


def test_connections_of_tcp_are_counted_at_both_ends(mesh, place, front):
    """Opened and closed, and the bytes each way; the principal says who called."""
    for _ in range(5):
        (call,) = front.get("http://front:8000/tcp").json()["calls"]
        assert call["status"] == "answered"
    names = ("connections_opened", "connections_closed", "sent_bytes", "received_bytes")
    for reporter in ("source", "destination"):
        for name in names:
            asked = (
                f'istio_tcp_{name}_total{{reporter="{reporter}",destination_workload="web-v1",source_workload="front-v1",'
                f'destination_service="web.{place}.svc.cluster.local",request_protocol="tcp"}}'
            )
            eventually(lambda asked=asked: mesh.total(asked) >= 5)
    secure = f'istio_tcp_connections_opened_total{{reporter="destination",connection_security_policy="mutual_tls",source_principal="spiffe://cluster.local/ns/{place}/sa/front"}}'
    eventually(lambda: mesh.total(secure) >= 5)
