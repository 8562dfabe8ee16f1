"""What preflight reads of a cluster, over HTTP; what it cannot read, and what keeps a run from beginning, is said."""

from dataclasses import dataclass, replace

import pytest
from premised import PAYMENTS, UP, premises, shop

from harness.caveats import Caveat
from harness.changes import Edit, Patch, Ref
from harness.errors import HarnessError
from harness.experiment import Mesh
from harness.faults import Abort, BlastRadius, PodKill
from harness.injection import resolve
from harness.preflight import await_scrapes, check, overriding, preflight, reads, scrape_interval_of
from harness.prometheus import PrometheusUnavailable
from harness.rbac import needs
from harness.series import Sample, Series


@dataclass
class Scrapes:
    """The samples of `up`, as Prometheus would give them, for each address so many seconds apart."""

    every: dict[str, float]
    down: bool = False

    def clock(self):
        """A time."""
        if self.down:
            raise PrometheusUnavailable("away")
        return 1000.0

    def series(self, selector, *, seconds, at):
        """Ten samples of each series that the selector matches."""
        found = (
            Series(
                {"__name__": "up", "instance": f"{ip}:15020"},
                tuple(Sample(at - n * gap, 1.0) for n in reversed(range(10))),
            )
            for ip, gap in self.every.items()
        )
        return tuple(one for one in found if selector.matches(one.labels))


@pytest.fixture
def mesh(cluster, kube_api, serve_kinds):
    """The sound shop at the wire; without PodDisruptionBudgets, which this cluster does not know."""
    serve_kinds(
        "/apis/networking.istio.io/v1",
        VirtualService="virtualservices",
        DestinationRule="destinationrules",
        Gateway="gateways",
    )
    for item in shop().values():
        kube_api.put(item)
    kube_api.requests.clear()
    return Mesh(cluster, "http://127.0.0.1:9", Scrapes({"127.0.1.1": 1.0}))  # type: ignore[arg-type]


def _look(mesh, **fields):
    experiment = premises(**fields).experiment
    scene = resolve(mesh.cluster, PAYMENTS, run="r", seed=1, fault=experiment.fault)
    return preflight(experiment, mesh, scene)


def test_a_mesh_is_read_and_nothing_is_written(mesh, kube_api):
    """Of the namespaces that the experiment names, and the Istio kinds of all; what it finds is what the core says."""
    assert _look(mesh) == ()
    mesh.cluster.patch(
        Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
        lambda now: {**now, "spec": {**now["spec"], "gateways": ["gone"]}},
    )
    kube_api.requests.clear()
    assert {one.code for one in _look(mesh)} == {"unbound"}
    assert kube_api.writes() == []
    read = {request.path for request in kube_api.requests if request.method == "GET"}
    assert "/apis/networking.istio.io/v1/destinationrules" in read
    assert "/api/v1/namespaces/shop/services" in read


def test_an_interval_is_that_of_the_targets_pods_if_they_are_known():
    """Otherwise of anything that is scraped; unknown without."""
    pods = premises().scene.pods
    assert scrape_interval_of(Scrapes({"127.0.1.1": 15.0, "10.0.0.1": 1.0}), pods) == 15.0
    assert scrape_interval_of(Scrapes({"10.0.0.1": 2.0}), pods) == 2.0
    assert scrape_interval_of(Scrapes({}), pods) is None
    await_scrapes(Scrapes({"10.0.0.1": 2.0}), 60.0)
    await_scrapes(Scrapes({}, down=True), 60.0)


def test_a_window_is_held_against_what_prometheus_does(mesh):
    """15 s are too long for an observation of 20 s."""
    slow = Mesh(mesh.cluster, mesh.entry_url, Scrapes({"127.0.1.1": 15.0}))
    assert [one.code for one in _look(slow, observe=20.0)] == ["short-window"]
    assert _look(slow, observe=30.0) == ()


def test_what_may_not_be_read_is_said_with_the_role_that_helps(mesh, kube_api):
    """One caveat instead of a pass."""
    kube_api.forbidden = {"list"}
    [one] = _look(mesh)
    assert (one.code, one.severity) == ("unread", "refuse")
    assert "list virtualservices.networking.istio.io" in one.reason
    assert "harness rbac" in one.fix


def test_the_rights_are_to_list_and_nothing_else():
    """Those of the run do not cover them."""
    experiment = premises().experiment
    assert {need.verb for need in reads(experiment)} == {"list"}
    change = Patch(Ref("v1", "ConfigMap", "shop", "x"), (Edit(("data", "a"), "b"),))
    assert reads(experiment) - needs([change], "shop")


def test_whatever_keeps_a_run_from_beginning_is_a_caveat_of_a_check(mesh):
    """No such pod, too wide a radius, and a fault that refuses itself, in their own words."""
    wide = premises(fault=PodKill(2), blast_radius=BlastRadius(max_pods=1)).experiment
    [one] = check(wide, mesh)
    assert (one.code, one.severity, one.field) == ("refused", "refuse", "kill 2 pods on shop/payments")
    many = replace(wide, fault=PodKill(9), blast_radius=BlastRadius(max_pods=99))
    assert "only 3 ready pods" in str(check(many, mesh)[0])
    assert check(premises(fault=Abort(503, 30)).experiment, mesh) == ()


def test_what_is_overridden_stops_nothing_and_is_marked(mesh):
    """Warnings stay as they are."""
    stops = Caveat("a", "refuse", "why", "where", "do")
    warns = Caveat("b", "warn", "why", "where", "do")
    assert str(stops) == "where: why; do (a)"

    def found(experiment, mesh, scene, *, expects_held=True):
        return (stops, warns)

    first, second = overriding(found)(premises().experiment, mesh, premises().scene)
    assert (first.overridden, first.stops, second) == (True, False, warns)


def test_a_prometheus_that_is_away_is_an_error_of_the_run(mesh):
    """And a caveat of the check."""
    away = Mesh(mesh.cluster, mesh.entry_url, Scrapes({}, down=True))
    with pytest.raises(HarnessError, match="away"):
        _look(away)
    assert [one.code for one in check(premises(hypothesis=[UP]).experiment, away)] == ["refused"]
