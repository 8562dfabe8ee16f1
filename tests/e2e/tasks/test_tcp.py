"""TCP traffic shifting, and authorization for TCP traffic.

The statements are those of istio.io/latest/docs/tasks/traffic-management/tcp-traffic-shifting and
docs/tasks/security/authorization/authz-tcp, with the sample tcp-echo.
"""

import contextlib
import socket

import pytest
from live import service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
NAMESPACE = "tcp"
CALLS = '{standin.harness.local/calls: "/9000 tcp://tcp-echo:9000, /9001 tcp://tcp-echo:9001"}'


def echo(version, word):
    """A Deployment of tcp-echo that puts `word` before what it is told."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: tcp-echo-{version}, labels: {{app: tcp-echo, version: {version}}}}}
spec:
  selector: {{matchLabels: {{app: tcp-echo, version: {version}}}}}
  template:
    metadata: {{labels: {{app: tcp-echo, version: {version}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: tcp-echo
        image: docker.io/istio/tcp-echo-server:1.3
        args: ["9000,9001", {word}]
        ports: [{{containerPort: 9000}}, {{containerPort: 9001}}]
"""


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: tcp-echo}
spec: {selector: {app: tcp-echo}, ports: [{name: tcp, port: 9000}, {name: tcp-other, port: 9001}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: tcp-echo}
spec:
  host: tcp-echo
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tcp-echo}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 31400, name: tcp, protocol: TCP}, hosts: ["*"]}]
"""


def shifted(first, second):
    """A VirtualService that sends so many percent to each version, for callers in the mesh and at the gateway."""
    routes = ", ".join(
        f"{{destination: {{host: tcp-echo, port: {{number: 9000}}, subset: {name}}}, weight: {weight}}}"
        for name, weight in (("v1", first), ("v2", second))
    )
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tcp-echo}}
spec:
  hosts: ["*"]
  gateways: [tcp-echo]
  tcp: [{{match: [{{port: 31400}}], route: [{routes}]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tcp-echo-inside}}
spec:
  hosts: [tcp-echo]
  tcp: [{{match: [{{port: 9000}}], route: [{routes}]}}]
"""


def policy(action, rules):
    """An AuthorizationPolicy for tcp-echo."""
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: tcp}}
spec: {{selector: {{matchLabels: {{app: tcp-echo}}}}, action: {action}, rules: [{rules}]}}
"""


@pytest.fixture(scope="module")
def place(mesh):
    """A namespace with both versions of tcp-echo and somebody who calls them."""
    with mesh.namespace(
        NAMESPACE, SERVICE, echo("v1", "one"), echo("v2", "two"), service("front", settings=CALLS)
    ):
        yield NAMESPACE


@pytest.fixture(scope="module")
def inside(mesh, place):
    """What a program in the mesh hears first from a port of tcp-echo: one, two, or nothing."""
    front = mesh.caller(place, "app=front")

    def ask(port=9000):
        (call,) = front.get(f"http://front:8000/{port}").json()["calls"]
        return call.get("answer", "").partition(" ")[0]

    yield ask
    front.close()


@pytest.fixture
def outside(mesh):
    """What somebody outside hears at port 31400 of the ingress gateway."""
    ip = mesh.kubectl(
        "-n", "istio-system", "get", "svc", "istio-ingressgateway", "-o", "jsonpath={.spec.clusterIP}"
    )

    def ask():
        with contextlib.suppress(OSError), socket.create_connection((ip, 31400), timeout=5) as connection:
            connection.sendall(b"hello\n")
            return connection.makefile().readline().partition(" ")[0]
        return ""

    return ask


class TestTcpTrafficShifting:
    """https://istio.io/latest/docs/tasks/traffic-management/tcp-traffic-shifting."""

    def test_all_then_a_fifth_of_the_connections_move(self, mesh, place, inside, outside):
        """All say "one"; with weights 80 and 20 about a fifth says "two", inside the mesh and at the gateway."""
        with mesh.applied(GATEWAY, place), mesh.applied(shifted(100, 0), place):
            for ask in (inside, outside):
                steadily(lambda ask=ask: ask() == "one", 20)
            mesh.apply(shifted(80, 20), place)
            for ask in (inside, outside):
                eventually(lambda ask=ask: "two" in {ask() for _ in range(10)})
                heard = [ask() for _ in range(100)]
                assert set(heard) == {"one", "two"}
                assert 5 <= heard.count("two") <= 40  # chance leaves it once in 100,000 runs


class TestAuthorizationForTcp:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-tcp."""

    def test_ports_are_allowed_by_number(self, mesh, place, inside):
        """What an ALLOW policy does not name is refused."""
        assert inside(9000)
        assert inside(9001)
        with mesh.applied(policy("ALLOW", "{to: [{operation: {ports: ['9000', '9001']}}]}"), place):
            steadily(lambda: inside(9000) and inside(9001), 5)
            mesh.apply(policy("ALLOW", "{to: [{operation: {ports: ['9000']}}]}"), place)
            steadily(lambda: not inside(9001), 5)
            assert inside(9000)
        steadily(lambda: inside(9001), 5)

    def test_a_rule_for_http_allows_nothing_over_tcp(self, mesh, place, inside):
        """An ALLOW rule that asks for GET cannot match, so both ports refuse."""
        with mesh.applied(policy("ALLOW", "{to: [{operation: {methods: [GET], ports: ['9000']}}]}"), place):
            steadily(lambda: not inside(9000) and not inside(9001), 5)

    def test_a_rule_for_http_denies_the_whole_port_over_tcp(self, mesh, place, inside):
        """A DENY rule that asks for GET is taken without it: port 9000 refuses, port 9001 does not."""
        with mesh.applied(policy("DENY", "{to: [{operation: {methods: [GET], ports: ['9000']}}]}"), place):
            steadily(lambda: not inside(9000), 5)
            assert inside(9001)
