"""What is seen of a fault in the pods, and where its mark was counted."""

import pytest
from scenes import pod, scene

from harness.experiment.meter import marked, outside
from harness.experiment.sighting import lost
from harness.faults import Abort, BadConfig, Delay, Disconnect, Replaced, Restarted, Target
from harness.series import Sample, Series, Window, risen

BEFORE = {"app": 1, "istio-proxy": 2}
HERE = tuple(pod(number, restarts=BEFORE) for number in range(3))
KILL = Restarted("istio-proxy", {HERE[0].uid: BEFORE}, {})


def _after(number, **restarts):
    return pod(number, restarts=BEFORE | {name.replace("_", "-"): count for name, count in restarts.items()})


def test_a_proxy_that_was_started_again_is_seen_by_its_count():
    """Of the pod that was asked, and nothing else."""
    uid = HERE[0].uid
    assert lost(KILL, HERE, HERE) == ((uid,), (), ())
    assert lost(KILL, HERE, (_after(0, istio_proxy=3), *HERE[1:])) == ((uid,), (uid,), ())


@pytest.mark.parametrize(
    ("pods", "spoiled"),
    [
        ((_after(0, istio_proxy=3, app=2), *HERE[1:]), 0),
        ((_after(0, istio_proxy=3), _after(1, istio_proxy=3), HERE[2]), 1),
        ((_after(0, istio_proxy=3), _after(1, app=2), HERE[2]), 1),
        ((_after(0, istio_proxy=3), HERE[1]), 2),
        (HERE[1:], 0),
    ],
    ids=["its program, too", "another proxy", "another program", "another pod is gone", "the pod is gone"],
)
def test_what_was_to_be_left_alone_is_seen_when_it_is_not(pods, spoiled):
    """By the pod that has lost it."""
    assert lost(KILL, HERE, pods)[2] == (HERE[spoiled].uid,)


def test_a_pod_that_is_gone_besides_those_that_were_killed_is_seen():
    """A new one in its place makes no difference."""
    killed = Replaced((HERE[0].uid,), {})
    assert lost(killed, HERE, (pod(7), *HERE[1:])) == (killed.uids, killed.uids, ())
    assert lost(killed, HERE, (pod(7), pod(8), HERE[2])) == (killed.uids, killed.uids, (HERE[1].uid,))


def _series(*values, start=100.0, **labels):
    return Series(labels, tuple(Sample(start + 5 * index, value) for index, value in enumerate(values)))


@pytest.mark.parametrize(
    ("series", "seen"),
    [
        (_series(3, 3, 3), False),
        (_series(3, 3, 4), True),
        (_series(3, 4, 4), False),  # before the window
        (_series(7, start=107), True),  # it has begun at 0
        (_series(0, start=107), False),
        (_series(9, 9, 2, 3), True),  # started anew
        (_series(1, 1, 1, 1, 1, 9), False),  # after the window
    ],
)
def test_a_counter_has_risen_when_it_has_counted_anything_in_the_window(series, seen):
    """From the last scrape before it on."""
    assert risen(series, Window(106, 116)) is seen


def _elsewhere(fault, scene, *series):
    evidence = fault.evidence(scene)
    selector = marked(evidence)
    if selector is None:
        return frozenset()
    held = [one for one in series if all(matcher.matches(one.labels) for matcher in selector.matchers)]
    return outside(evidence, held, Window(106, 116))


@pytest.mark.parametrize(
    ("fault", "flags"), [(Abort(503, 30), "FI"), (Delay(1, 30), "UH,DI")], ids=["abort", "delay"]
)
def test_the_mark_of_a_fault_is_looked_for_at_every_other_workload(shop_scene, fault, flags):
    """There it must not be; at the target it is not news, and other marks are none."""

    def counted(app, namespace="shop", flags=flags, **more):
        labels = {
            "reporter": "destination",
            "response_code": "503",
            "response_flags": flags,
            "destination_app": app,
            "destination_workload_namespace": namespace,
        }
        return _series(1, 2, 3, **(labels | more))

    target, cart = counted("payments"), counted("cart")
    assert _elsewhere(fault, shop_scene, target) == frozenset()
    assert _elsewhere(fault, shop_scene, target, cart) == {"shop/cart"}
    assert _elsewhere(fault, shop_scene, counted("payments", "test")) == {"test/payments"}
    assert _elsewhere(fault, shop_scene, counted("cart", flags="UH")) == frozenset()
    assert _elsewhere(fault, shop_scene, counted("cart", reporter="source")) == frozenset()


def test_a_fault_without_a_place_of_its_own_has_no_outside(shop_scene):
    """A broken object may show at any caller."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "shop"}}
    labels = {"reporter": "source", "response_flags": "NR"}
    assert _elsewhere(BadConfig(manifest), shop_scene, _series(1, 2, 3, **labels)) == frozenset()


def test_callers_that_are_refused_elsewhere_are_seen(shop_scene):
    """Only those that were to be cut off, and only from the target."""
    fault = Disconnect(Target("frontend", "shop"))
    labels = {
        "reporter": "destination",
        "response_code": "403",
        "source_app": "frontend",
        "source_workload_namespace": "shop",
        "destination_app": "cart",
        "destination_workload_namespace": "shop",
    }
    refused = _series(1, 2, 3, **labels)
    assert _elsewhere(fault, shop_scene, refused) == {"shop/cart"}
    assert (
        _elsewhere(fault, shop_scene, _series(1, 2, 3, **(labels | {"source_app": "other"}))) == frozenset()
    )


@pytest.fixture
def shop_scene():
    """Payments, with frontend that calls it."""
    return scene(others=(scene(pod(1, "frontend"), target=Target("frontend", "shop")),))
