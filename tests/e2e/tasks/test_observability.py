"""Access logs, and turning them off; metrics on both sides of a call, and changing their labels.

The statements are those of istio.io/latest/docs/tasks/observability: logs/access-log, logs/telemetry-api,
metrics/querying-metrics, metrics/customize-metrics and metrics/tcp-metrics.
"""

import json

import pytest
from live import service
from support import eventually, query

pytestmark = pytest.mark.e2e
NAMESPACE = "observability"
FRONT = f"spiffe://cluster.local/ns/{NAMESPACE}/sa/front"
ENVOY = "providers: [{name: envoy}]"
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


@pytest.fixture
def says(mesh, place, front):
    """Whether a text stands in the listeners of front's and of web's sidecar; connections of earlier ones are over."""

    def look(text):
        found = []
        for app in ("front", "web"):
            (pod,) = mesh.pods(place, f"app={app}")
            dumped = mesh.admin(pod, "/config_dump?resource=dynamic_listeners")["configs"]
            found.append(text in json.dumps([item.get("active_state") for item in dumped]))
        front.codes("http://web:8000/meanwhile", 2)
        return all(found) or (None if any(found) else False)

    return look


def test_logs_are_turned_off_for_a_namespace_and_on_again(mesh, place, front, logged, says):
    """A Telemetry for the mesh names the provider, one for the namespace disables it, and is taken back."""
    assert says("/dev/stdout")
    with mesh.applied(telemetry(f"{{accessLogging: [{{{ENVOY}}}]}}"), "istio-system"):
        with mesh.applied(telemetry("{accessLogging: [{disabled: true}]}"), place):
            eventually(lambda: says("/dev/stdout") is False)
            assert front.codes("http://web:8000/silence", 5) == {200: 5}
        eventually(lambda: says("/dev/stdout"))
        # A log is in order: when what came later is there, what came before would be, too.
        assert front.code("http://web:8000/noise") == 200
        for app in ("web", "front"):
            assert eventually(lambda app=app: logged(app, "/noise"))
            assert logged(app, "/silence") == []


def test_logs_may_be_kept_for_failures_only(mesh, place, front, logged, says):
    """A filter by CEL: response.code >= 500."""
    expression = "response.code >= 500"
    only = f"{{accessLogging: [{{{ENVOY}, filter: {{expression: {expression}}}}}]}}"
    with mesh.applied(telemetry(only), place):
        eventually(lambda: says(expression))
        assert front.codes("http://web:8000/fine", 5) == {200: 5}
        assert front.code("http://web:8000/worse?status=503") == 503
        assert eventually(lambda: logged("web", "/worse?status=503"))
        assert logged("web", "/fine") == []


def test_a_label_is_removed_and_another_one_added(mesh, place, front):
    """The task's overrides: `tagOverrides` of REQUEST_COUNT."""
    overrides = """{metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT},
  tagOverrides: {request_host: {value: "request.host"}, destination_app: {operation: REMOVE}}}]}]}"""
    with mesh.applied(telemetry(" ".join(overrides.split())), place):
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
    callee = f'destination_workload="web-v1",destination_service="web.{place}.svc.cluster.local"'
    what = f'source_principal="{FRONT}",{callee},request_protocol="tcp"'
    for side in ('reporter="source"', 'reporter="destination",connection_security_policy="mutual_tls"'):
        for name in names:
            asked = f"istio_tcp_{name}_total{{{side},{what}}}"
            eventually(lambda asked=asked: mesh.total(asked) >= 5)
