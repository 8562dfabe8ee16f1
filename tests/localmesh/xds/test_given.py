"""Every TCP port of a Service has one port at which sidecars offer it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.xds import model
from harness.localmesh.xds.given import given_ports


def _service(name: str, second: int, *ports: int) -> model.Service:
    return model.Service(
        host=f"{name}.default.svc.cluster.local",
        name=name,
        namespace="default",
        created=f"2026-01-01T00:00:{second:02}Z",
        ports=tuple(model.ServicePort(f"tcp-{port}", port, port, "tcp") for port in ports),
    )


SERVICES = st.lists(
    st.builds(_service, st.sampled_from("abcdef"), st.integers(0, 9), st.integers(1, 5)),
    max_size=6,
    unique_by=lambda service: service.name,
)


@given(SERVICES, st.randoms())
def test_the_order_of_services_does_not_matter(services, chance):
    """The same Services get the same ports, and no two the same one."""
    shuffled = list(services)
    chance.shuffle(shuffled)
    made = given_ports(services)
    assert given_ports(shuffled) == made
    assert len(set(made.values())) == len(made)


@given(SERVICES)
def test_a_younger_service_moves_no_older_one(services):
    """What came before keeps its port, whatever comes after it."""
    before = given_ports(services)
    after = given_ports([*services, _service("z", 59, *range(1, 50))])
    assert {place: after[place] for place in before} == before


def test_http_needs_none():
    """HTTP goes through the explicit proxy."""
    port = model.ServicePort("http", 80, 80, "http")
    service = model.Service("a.default.svc.cluster.local", "a", "default", "2026", (port,))
    assert given_ports([service]) == {}
