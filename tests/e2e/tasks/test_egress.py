"""Calls that leave the mesh: let through, forbidden, or to what a ServiceEntry names.

The statements are those of istio.io/latest/docs/tasks/traffic-management/egress/egress-control; the server outside the
mesh is one of this test on loopback, by the host name localhost.
"""

import http.server
import threading

import pytest
from live import service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
NAMESPACE = "egress"


class _Outside(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Says where the request has arrived; below /slow only after a while."""
        if self.path == "/slow":
            self.server.over.wait(5.0)
        body = f"outside {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Keeps the output of the tests clean."""


@pytest.fixture(scope="module")
def outside():
    """The port of a server that is no part of the mesh."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as server:
        server.daemon_threads = True
        server.over = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def place(mesh):
    """A namespace with somebody who calls."""
    with mesh.namespace(NAMESPACE, service("front")):
        yield NAMESPACE


@pytest.fixture(scope="module")
def front(mesh, place):
    """The caller."""
    caller = mesh.caller(place, "app=front")
    yield caller
    caller.close()


def entry(resolution, host, port, more=""):
    """A ServiceEntry for HTTP."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: outside}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  resolution: {resolution}
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  {more}
"""


def test_by_default_any_host_may_be_called(mesh, place, front, outside):
    """ALLOW_ANY: the request arrives, and is counted for PassthroughCluster."""
    assert front.get(f"http://localhost:{outside}/").text == f"outside localhost:{outside}"
    counted = (
        f'istio_requests_total{{source_workload_namespace="{place}",reporter="source",'
        'destination_service_name="PassthroughCluster"}'
    )
    eventually(lambda: mesh.total(counted) > 0)


def test_with_registry_only_what_is_not_registered_is_refused_at_once(mesh, place, front, outside):
    """502 as soon as the mesh's settings say so, 200 with a ServiceEntry for the host, 200 once they are taken back."""
    url = f"http://localhost:{outside}/"
    assert front.code(url) == 200
    with mesh.mesh_config(outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}):
        steadily(lambda: front.code(url) == 502)
        assert front.code("http://front:8000/") == 200
        blocked = (
            f'istio_requests_total{{source_workload_namespace="{place}",response_code="502",'
            'destination_service_name="BlackHoleCluster"}'
        )
        eventually(lambda: mesh.total(blocked) > 0)
        with mesh.applied(entry("DNS", "localhost", outside), place):
            steadily(lambda: front.code(url) == 200)
        steadily(lambda: front.code(url) == 502)
    steadily(lambda: front.code(url) == 200)


def test_a_sidecar_may_forbid_for_one_namespace(mesh, place, front, outside):
    """The policy of the namespace's Sidecar stands in the place of the mesh's."""
    url = f"http://localhost:{outside}/"
    only = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""
    with mesh.applied(only, place):
        steadily(lambda: front.code(url) == 502)
        with mesh.caller("default", "app=productpage") as other:
            assert other.code(url) == 200
    steadily(lambda: front.code(url) == 200)


def test_a_static_entry_gives_a_name_to_addresses(mesh, place, front, outside):
    """A host that no DNS knows is reached at the endpoint written down."""
    named = entry(
        "STATIC", "outside.example", 80, f"endpoints: [{{address: 127.0.0.1, ports: {{http: {outside}}}}}]"
    )
    with mesh.applied(named, place):
        steadily(lambda: front.code("http://outside.example/") == 200)
        assert front.get("http://outside.example/").text == "outside outside.example"
        known = (
            f'istio_requests_total{{source_workload_namespace="{place}",destination_service="outside.example",'
            'response_code="200"}'
        )
        eventually(lambda: mesh.total(known) > 0)


def test_a_dns_entry_finds_its_endpoints_by_name(mesh, place, front, outside):
    """As STATIC, with a name of DNS for the endpoint."""
    named = entry(
        "DNS", "named.example", 80, f"endpoints: [{{address: localhost, ports: {{http: {outside}}}}}]"
    )
    with mesh.applied(named, place):
        steadily(lambda: front.code("http://named.example/") == 200)


def test_rules_for_calls_hold_outside_the_mesh_too(mesh, place, front, outside):
    """A timeout for an external host, as the task sets one, ends a call that takes longer: 504."""
    static = f"endpoints: [{{address: 127.0.0.1, ports: {{http: {outside}}}}}]"
    hasty = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: outside}}
spec:
  hosts: [outside.example]
  http: [{{timeout: 0.3s, route: [{{destination: {{host: outside.example}}}}]}}]
---
{entry("STATIC", "outside.example", 80, static)}
"""
    with mesh.applied(hasty, place):
        steadily(lambda: front.code("http://outside.example/") == 200)
        eventually(lambda: front.code("http://outside.example/slow") == 504)
