"""Proof: whether what was seen of a fault is what was asked for, and nothing besides."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import journal as log
from harness.counts import Counts
from harness.proof import as_asked, evidence


def _run(kind, *events, asked=30.0):
    return evidence(
        (log.Resolved(0.0, ("a", "b", "c"), kind, asked), log.Injected(1.0, ("delete Pod shop/a",)), *events),
        breached=False,
    )


def _taken(**different):
    seen = {"asked": ("a",), "gone": ("a",), "ready": 3, "before": 3, "requests": 500, "settled": True}
    return log.ReplacedSeen(2.0, **(seen | different))


SHARE = log.ShareSeen(2.0, "observe", 294, 1000)


# shares


def test_a_share_within_the_interval_of_chance_is_what_was_asked():
    """30 % asked, 29.4 % seen."""
    assert _run("share", SHARE) == ("asked 30 %, seen 29.4 % of 1,000 requests at the target", True)


@pytest.mark.parametrize("hits", [0, 200, 400, 1000])
def test_a_share_outside_the_interval_is_not(hits):
    """Too few and too many alike; the interval is said."""
    text, seen = _run("share", log.ShareSeen(2.0, "observe", hits, 1000))
    assert not seen
    assert "99.9 % confidence" in text


@given(st.sampled_from([1, 5, 30, 50, 90, 100]), st.integers(0, 2**32))
def test_a_fault_that_bites_as_asked_is_seldom_doubted(percent, seed):
    """One of a thousand is; far enough from it, and hypothesis does not find two in a row."""
    chance = random.Random(seed)
    seen = [Counts(sum(chance.random() * 100 < percent for _ in range(2000)), 2000) for _ in range(2)]
    assert any(as_asked(percent, one) for one in seen)


BEGAN = log.ShareSeen(1.5, "inject", 40, 60)
SILENT = log.ShareSeen(2.0, "observe", 0, 0)


def test_a_target_that_is_shunned_is_proven_by_what_came_before():
    """Callers that have ejected it ask it no more."""
    text = "asked 30 %, seen in 40 requests at the target, which was not asked any more then"
    assert _run("share", BEGAN, SILENT) == (text, True)


@pytest.mark.parametrize(
    "seen",
    [
        (SILENT,),
        (log.ShareSeen(1.5, "inject", 33, 60), SILENT),
        (BEGAN, log.ShareSeen(2.0, "observe", 0, 200)),
        (BEGAN,),
    ],
    ids=["no hit before", "too few before", "asked and not hit", "not observed"],
)
def test_silence_alone_proves_nothing(seen):
    """34 hits are needed where 30 % are asked."""
    assert not _run("share", *seen)[1]


def test_a_fault_that_shows_outside_its_target_is_not_what_was_asked():
    """However well it shows inside."""
    text, seen = _run("share", SHARE, log.OutsideSeen(2.0, ("shop/cart",)))
    assert not seen
    assert text.endswith("it showed outside the target as well, at shop/cart")


# pods and their proxies


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("replaced", "1 of 1 pods gone, 3 of 3 ready, 500 requests at the target before"),
        ("restarted", "1 of 1 proxies started again, 3 of 3 ready, 500 requests at the target before"),
    ],
)
def test_what_was_taken_is_what_was_asked(kind, text):
    """And nothing else."""
    assert _run(kind, _taken()) == (text, True)
    assert not _run(kind, _taken(gone=()))[1]
    assert not _run(kind, _taken(requests=3))[1]
    assert not _run(kind)[1]


@pytest.mark.parametrize("kind", ["replaced", "restarted", "recurring"])
def test_pods_that_were_lost_besides_are_not_what_was_asked(kind):
    """Somebody else's doing, or a fault that reaches too far: nothing can be told from it."""
    text, seen = _run(kind, _taken(spoiled=("b",), times=2))
    assert not seen
    assert "outside the target 1 pods were lost or started again" in text


def test_again_and_again_is_twice_at_least():
    """All that were killed, at all times."""
    assert not _run("recurring", _taken())[1]
    text, seen = _run("recurring", _taken(asked=("a", "x"), gone=("a", "x"), times=2))
    assert seen
    assert "2 of 2 pods gone, 3 of 3 ready, killed 2 times" in text


def test_stress_has_to_run_in_all_pods_for_as_long_as_it_is_observed():
    """Not only at the end."""
    there = log.PodsSeen(2.0, "observe", ("a", "b"), ("a", "b"), "run it")
    gone = log.PodsSeen(3.0, "observe", ("a", "b"), ("a",), "run it")
    assert _run("oneach", there) == ("2 of 2 pods run it", True)
    assert _run("oneach", there, gone, there) == (
        "1 of 2 pods run it: not as asked while the fault was observed",
        False,
    )
    assert not _run("oneach", log.PodsSeen(2.0, "inject", ("a",), ("a",), "run it"))[1]
    assert not _run("oneach")[1]
