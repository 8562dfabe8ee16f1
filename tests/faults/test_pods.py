"""Faults that take pods away: which, how, and what proves it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import COUNTED, pod, scene

from harness.changes import Delete, Edit, Eviction, Patch, Ref
from harness.errors import HarnessError
from harness.faults import BlastRadius, Evict, NodeDrain, PodKill, Replaced


@given(st.integers(1, 30), st.floats(0.1, 100))
def test_a_percentage_never_takes_more_than_asked_but_always_one(number, percent):
    """Rounded down to whole pods."""
    here = scene(*(pod(index) for index in range(number)))
    taken = PodKill(percent=percent).pods(here)
    assert len(taken) == len(set(taken)) >= 1
    assert len(taken) == 1 or 100 * len(taken) <= percent * number
    assert len(taken) + 1 > percent * number / 100
    assert PodKill(percent=percent).harm(here) == 100 * len(taken) / number


def test_a_kill_by_percentage_deletes_with_the_grace_asked_for():
    """Golden."""
    changes = PodKill(percent=70, grace_seconds=3).changes(scene())
    assert {type(change) for change in changes} == {Delete}
    assert [change.grace_seconds for change in changes] == [3, 3]


def test_evictions_are_asked_for_the_pods_that_the_seed_chooses():
    """The same as a kill would take; the evidence is the same, too."""
    here = scene()
    chosen = PodKill(2).pods(here)
    assert Evict(2).changes(here) == tuple(Eviction(one.ref) for one in chosen)
    assert Evict(2).evidence(here) == Replaced(tuple(one.uid for one in chosen), COUNTED)
    assert Evict(2).harm(here) == pytest.approx(200 / 3)


@pytest.mark.parametrize("fault", [Evict(3), NodeDrain("n1")], ids=str)
def test_a_pod_that_nobody_would_replace_is_not_evicted(fault):
    """As `kubectl drain` refuses it."""
    with pytest.raises(HarnessError, match="take payments-1 for good"):
        fault.changes(scene(pod(0), pod(1, owner=None), pod(2)))


def test_a_drain_cordons_the_node_before_it_evicts_the_pods_on_it():
    """Golden; pods elsewhere stay."""
    cordon = Patch(Ref("v1", "Node", "", "n0"), (Edit(("spec", "unschedulable"), True),))
    evictions = tuple(Eviction(pod(number).ref) for number in (0, 2))
    assert NodeDrain("n0").changes(scene()) == (cordon, *evictions)
    assert NodeDrain("n0").harm(scene()) == pytest.approx(200 / 3)


def test_a_node_is_chosen_by_the_seed_among_those_that_hold_pods():
    """Not always the first one."""
    nodes = {NodeDrain().changes(scene(seed=seed))[0].ref.name for seed in range(20)}
    assert nodes == {"n0", "n1"}


@pytest.mark.parametrize(
    ("fault", "here"),
    [(NodeDrain("n7"), scene()), (NodeDrain(), scene(pod(1, node="")))],
    ids=["elsewhere", "unknown"],
)
def test_a_drain_of_a_node_without_pods_of_the_target_is_refused(fault, here):
    """It could teach nothing."""
    with pytest.raises(HarnessError, match=r"cannot bite: the pods of shop/payments are on"):
        fault.changes(here)


def test_a_drain_needs_a_blast_radius_that_names_a_node():
    """A node is everybody's."""
    with pytest.raises(HarnessError, match=r"touch 1 nodes .* allows 0; raise max_nodes"):
        BlastRadius(max_pods=3).check(NodeDrain(), scene())
    BlastRadius(max_pods=3, max_nodes=1).check(NodeDrain(), scene())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Evict(0),
        lambda: Evict(percent=0),
        lambda: PodKill(2, percent=50),
        lambda: PodKill(percent=101),
    ],
)
def test_a_choice_that_cannot_be_is_refused(make):
    """Either a count or a percentage, above nothing."""
    with pytest.raises(HarnessError, match=r"Evict|PodKill"):
        make()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (PodKill(percent=50), "kill 50% of the pods"),
        (Evict(2), "evict 2 pods"),
        (NodeDrain(), "drain a node"),
        (NodeDrain("n1"), "drain n1"),
    ],
)
def test_they_have_short_names(fault, text):
    """Ids of tests."""
    assert str(fault) == text
