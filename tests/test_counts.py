"""What counts say about the true share of good events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.counts import Counts, interval, lower, needed, spend, upper
from harness.errors import HarnessError

COUNTS = st.integers(1, 20_000).flatmap(
    lambda total: st.builds(Counts, st.integers(0, total), st.just(total))
)


@given(COUNTS, st.sampled_from([0.9, 0.95, 0.99, 0.999]))
def test_the_interval_is_the_exact_one_of_clopper_and_pearson(counts, confidence):
    """Scipy's own test gives the same bounds."""
    exact = binomtest(counts.good, counts.total).proportion_ci(confidence, method="exact")
    assert interval(counts, confidence) == pytest.approx((exact.low, exact.high), abs=1e-9)


@given(COUNTS, st.sampled_from([0.05, 0.01, 0.001]))
def test_the_bounds_hold_the_share_that_was_seen(counts, alpha):
    """Whatever the level, the share seen lies between its own bounds."""
    assert lower(counts, alpha) <= counts.share <= upper(counts, alpha)


def test_without_any_event_nothing_is_known():
    """No events leave the whole range open."""
    assert interval(Counts(0, 0), 0.99) == (0.0, 1.0)


@pytest.mark.parametrize("objective", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("allow_bad", [0, 1, 5])
def test_needed_is_the_smallest_number_of_events_that_is_enough(objective, allow_bad):
    """With that many events the lower bound reaches the objective, with one less it does not."""
    total, alpha = needed(objective, confidence=0.99, allow_bad=allow_bad), spend(0.01, allow_bad + 1)
    assert lower(Counts(total - allow_bad, total), alpha) >= objective
    assert lower(Counts(total - 1 - allow_bad, total - 1), alpha) < objective


def test_needed_without_a_failure_follows_the_closed_form():
    """For no failure the bound is alpha to the power of 1/n: 5,296 events prove 99.9 % at a level of 0.5 %."""
    assert needed(0.999, confidence=0.99) == 5296


def test_no_number_of_events_proves_that_every_one_is_good():
    """An objective of 1.0 is refused with what to do instead."""
    with pytest.raises(HarnessError, match="name a number of events"):
        needed(1.0, confidence=0.99)


def test_all_looks_together_spend_no_more_than_the_error():
    """The levels of a million looks add up to less than alpha."""
    assert 0.0099 < sum(spend(0.01, look) for look in range(1, 1_000_000)) < 0.01


def test_more_good_events_than_events_are_an_error():
    """Counts that contradict themselves are refused."""
    with pytest.raises(HarnessError, match="cannot be"):
        Counts(3, 2)
