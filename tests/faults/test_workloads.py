"""Faults of Deployments: restarted and scaled; what proves it, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import COUNTED, PAYMENTS, pod, scene

from harness.changes import Edit, Patch, Ref, apply, restore, undo
from harness.errors import HarnessError
from harness.faults import Replaced, RollingRestart, Scale, Scaled
from harness.scene import Deployment

PAYMENTS_REF = Ref("apps/v1", "Deployment", "shop", "payments")


def _two():
    """Two Deployments: one with two pods, one with one."""
    pods = tuple(pod(number) for number in range(3))
    old = Deployment("payments-v1", "shop", 2, 0, (pods[0].uid, pods[1].uid))
    return scene(*pods, deployments=(old, Deployment("payments-v2", "shop", 1, 1, (pods[2].uid,))))


def test_a_restart_is_an_annotation_of_the_template():
    """Golden; all pods are to be others."""
    path = ("spec", "template", "metadata", "annotations", "harness.mesh/restarted")
    assert RollingRestart().changes(scene()) == (Patch(PAYMENTS_REF, (Edit(path, "20260102-abc"),)),)
    assert RollingRestart().evidence(scene()) == Replaced(tuple(one.uid for one in scene().pods), COUNTED)


def test_a_restart_takes_away_at_most_what_the_strategy_lets_be_missing():
    """One of three here."""
    assert RollingRestart().harm(_two()) == pytest.approx(100 / 3)


def test_a_scale_gives_every_deployment_as_many_pods_and_leaves_those_that_have_them():
    """Golden; the evidence counts them together."""
    ref = Ref("apps/v1", "Deployment", "shop", "payments-v1")
    assert Scale(1).changes(_two()) == (Patch(ref, (Edit(("spec", "replicas"), 1),)),)
    assert Scale(1).evidence(_two()) == Scaled(PAYMENTS, 3, 2, COUNTED)
    assert (Scale(1).harm(_two()), Scale(0).harm(_two())) == (pytest.approx(100 / 3), 100)
    assert Scale(0).evidence(scene()) == Scaled(PAYMENTS, 3, 0, COUNTED)
    assert Scale(5).harm(scene()) == 0


@pytest.mark.parametrize("fault", [RollingRestart(), Scale(0)], ids=str)
def test_pods_without_a_deployment_are_refused_by_name(fault):
    """There is nothing to scale or to restart."""
    here = scene(pod(0), pod(1), deployments=(Deployment("payments", "shop", 1, 0, (pod(0).uid,)),))
    with pytest.raises(HarnessError, match="no Deployment is behind payments-1"):
        fault.changes(here)


@pytest.mark.parametrize("make", [lambda: Scale(-1), lambda: Scale(3).changes(scene())])
def test_a_scale_that_changes_nothing_is_refused(make):
    """It could teach nothing."""
    with pytest.raises(HarnessError, match=r"Scale cannot|changes nothing"):
        make()


@given(st.integers(1, 9), st.booleans())
def test_both_are_undone_to_the_byte(replicas, annotated):
    """Whatever was there before, other annotations included."""
    meta = {"labels": {"app": "payments"}} | ({"annotations": {"a": "b"}} if annotated else {})
    before = {
        "metadata": {"name": "payments"},
        "spec": {"replicas": replicas, "template": {"metadata": meta}},
    }
    for change in (*Scale(0).changes(scene()), *RollingRestart().changes(scene())):
        changed = apply(change, before)
        assert changed != before
        assert restore(undo(change, before), changed) == (before, ())


@pytest.mark.parametrize(
    ("strategy", "missing"),
    [
        ({}, 1),
        ({"type": "Recreate"}, 7),
        ({"rollingUpdate": {"maxUnavailable": 0}}, 0),
        ({"rollingUpdate": {"maxUnavailable": "50%"}}, 3),
    ],
)
def test_a_deployment_says_how_many_pods_may_be_missing(strategy, missing):
    """A percentage is rounded down; 25 % where nothing is said."""
    manifest = {
        "metadata": {"name": "payments", "namespace": "shop"},
        "spec": {"replicas": 7, "strategy": strategy},
    }
    assert Deployment.of(manifest, ()).max_unavailable == missing
