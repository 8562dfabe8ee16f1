"""Faults that take pods away: which, how, and what proves it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import COUNTED, pod, scene

from harness.changes import Delete, Edit, Eviction, Patch, Ref
from harness.errors import HarnessError
from harness.faults import BlastRadius, Evict, NodeDrain, PodKill, Recurring, Replaced, Rhythm


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


# again and again


def test_a_kill_again_and_again_begins_as_one_kill():
    """Golden; the evidence is that it goes on."""
    again = PodKill(2, every=5)
    assert again.changes(scene()) == PodKill(2).changes(scene())
    assert again.evidence(scene()) == Recurring(tuple(one.uid for one in again.pods(scene())), COUNTED)
    assert again.rhythm == Rhythm(5)
    assert PodKill(2).rhythm is None
    assert str(again) == "kill 2 pods every 5s"


@given(st.integers(1, 6), st.integers(0, 8), st.integers(1, 50), st.integers(0, 2**32))
def test_never_are_more_pods_missing_at_once_than_are_killed_at_one_time(count, ready, time, seed):
    """Those that are not back yet count; the same seed takes the same ones."""
    here = scene(*(pod(number) for number in range(6)), seed=seed)
    pods = [pod(100 + number) for number in range(ready)]
    changes = PodKill(count, every=5).further(here, pods, time)
    assert changes == PodKill(count, every=5).further(here, pods[::-1], time)
    assert {type(change) for change in changes} <= {Delete}
    assert len({change.ref for change in changes}) == len(changes)
    missing = max(0, 6 - ready)
    assert len(changes) == max(0, min(ready, count - missing))


def test_each_time_has_a_choice_of_its_own():
    """Not the same place in the list again and again."""
    pods = [pod(number) for number in range(6)]
    fault = PodKill(every=5)
    assert len({fault.further(scene(*pods), pods, time) for time in range(1, 20)}) > 2


def test_the_blast_radius_counts_every_kill_that_its_seconds_leave_time_for():
    """At 0, 5, 10, 15 and 20 s: a pod that has replaced another one is a different pod."""
    fault = PodKill(every=5)
    assert fault.reach(scene(), 20) == 5
    BlastRadius(max_pods=5, seconds=20).check(fault, scene())
    with pytest.raises(HarnessError, match=r"every 5s would touch 5 pods .* allows 4"):
        BlastRadius(max_pods=4, seconds=20).check(fault, scene())
    with pytest.raises(
        HarnessError, match="takes 5 s to come to what was asked, the blast radius allows 5 s"
    ):
        BlastRadius(max_pods=9, seconds=5).check(fault, scene())


@given(st.floats(0.5, 100), st.floats(0, 1000), st.none() | st.integers(1, 20))
def test_a_rhythm_is_due_once_for_each_of_its_intervals(every, seconds, times):
    """And not more often than it says."""
    due = Rhythm(every, times).due(seconds)
    assert due <= (seconds / every) + 1e-6
    assert due == times or due + 1 > (seconds / every) - 1e-6


def test_a_kill_too_often_is_refused():
    """A second is the least."""
    with pytest.raises(HarnessError, match=r"every 0\.5 s"):
        PodKill(every=0.5)
