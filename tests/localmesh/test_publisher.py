"""When a change of the mesh is pushed, and to whom."""

import dataclasses
import time

import pytest

from harness.localmesh.publisher import Publisher
from harness.localmesh.xds.model import Mesh, Proxy, Service, ServicePort, Workload


class Wire:
    """Stands where the xDS server is and remembers what it was told."""

    def __init__(self):
        self.pushes = []

    def publish(self, snapshots, gone=()):
        """A push: which Envoys got something, and which are gone."""
        self.pushes.append((dict(snapshots), set(gone)))


def workload(name, *, ready=True):
    """A pod of the Service `web`."""
    number = int(name[-1])
    return Workload(
        name=name,
        namespace="default",
        owner="web",
        ip=f"127.1.1.{number}",
        app_ip=f"127.1.129.{number}",
        labels={"app": "web"},
        service_account="default",
        ports=(("http", 8080),),
        ready=ready,
        sidecar=True,
    )


WEB = Service(
    host="web.default.svc.cluster.local",
    name="web",
    namespace="default",
    created="2026-01-01T00:00:00Z",
    ports=(ServicePort("http", 80, 8080, "http"),),
    addresses=("127.1.96.1",),
    selector={"app": "web"},
)
ONE, TWO = (Proxy(workload(name), {}, workload(name).ip) for name in ("web-1", "web-2"))


@pytest.fixture
def world():
    """A publisher, what it reads, and what it has pushed."""

    class World:
        mesh = Mesh(services=(WEB,), workloads=(workload("web-1"), workload("web-2")))
        wire = Wire()

    World.publisher = Publisher(lambda: World.mesh, World.wire)
    World.wire.pushes = []
    return World


def _endpoints(push, proxy=ONE):
    (assignment,) = push[0][proxy.node].endpoints.values()
    return [
        host["endpoint"]["address"]["socket_address"]["address"]
        for locality in assignment["endpoints"]
        for host in locality["lb_endpoints"]
    ]


def test_the_first_push_has_everything_at_once(world):
    """Nobody waits for the debounce when a mesh comes up."""
    world.publisher.push((ONE, TWO))
    assert _endpoints(world.wire.pushes[0]) == ["127.1.1.1", "127.1.1.2"]
    assert world.publisher.patience() is None


def test_what_has_not_changed_is_not_pushed_again(world):
    """A turn of the control loop without news costs nothing."""
    world.publisher.push((ONE, TWO))
    world.publisher.push((ONE, TWO))
    assert len(world.wire.pushes) == 1


def test_a_changed_service_is_pushed_at_once(world):
    """Configuration does not wait for endpoints."""
    world.publisher.push((ONE,))
    world.mesh = dataclasses.replace(world.mesh, services=())
    world.publisher.push((ONE,))
    assert world.wire.pushes[-1][0][ONE.node].endpoints == {}


def test_changed_endpoints_wait_until_they_have_been_quiet_for_100_ms(world):
    """A killed pod gets requests for a moment, as on a cluster."""
    world.publisher.push((ONE,))
    world.mesh = dataclasses.replace(world.mesh, workloads=(workload("web-1"),))
    began = time.monotonic()
    world.publisher.push((ONE,))
    assert len(world.wire.pushes) == 1
    while len(world.wire.pushes) == 1:
        patience = world.publisher.patience()
        assert patience is not None
        assert patience <= 0.1
        time.sleep(patience)  # as the control loop does
        world.publisher.push((ONE,))
    assert time.monotonic() - began >= 0.1
    assert _endpoints(world.wire.pushes[-1]) == ["127.1.1.1"]


def test_a_rule_that_changes_while_endpoints_wait_goes_ahead_with_the_old_ones(world):
    """The two kinds of change do not hold each other up."""
    world.publisher.push((ONE,))
    more = dataclasses.replace(WEB, host="other.default.svc.cluster.local", name="other")
    world.mesh = Mesh(services=(WEB, more), workloads=(workload("web-1"),))
    world.publisher.push((ONE,))
    endpoints = world.wire.pushes[-1][0][ONE.node].endpoints
    assert len(endpoints) == 2
    assert all(len(item["endpoints"][0]["lb_endpoints"]) == 2 for item in endpoints.values())


def test_a_new_envoy_gets_its_configuration_and_the_others_nothing(world):
    """A pod that starts does not disturb those that run."""
    world.publisher.push((ONE,))
    world.publisher.push((ONE, TWO))
    assert set(world.wire.pushes[-1][0]) == {TWO.node}


def test_an_envoy_that_is_gone_is_forgotten(world):
    """Its place in the server is given up."""
    world.publisher.push((ONE, TWO))
    world.publisher.push((ONE,))
    assert world.wire.pushes[-1] == ({}, {TWO.node})
