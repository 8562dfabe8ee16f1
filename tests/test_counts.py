"""What counts say about the true share of good events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.counts import Counts, interval, lower, spend, upper
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


def test_an_unsure_event_may_be_good_and_may_be_bad():
    """The bounds leave room for both."""
    counts = Counts(90, 100, unsure=5)
    assert counts.bad == 5
    assert lower(counts, 0.01) == lower(Counts(90, 100), 0.01)
    assert upper(counts, 0.01) == upper(Counts(95, 100), 0.01)
    assert counts + counts == Counts(180, 200, 10)


def test_all_looks_together_spend_no_more_than_the_error():
    """The levels of a million looks add up to less than alpha."""
    assert 0.0099 < sum(spend(0.01, look) for look in range(1, 1_000_000)) < 0.01


def test_more_good_events_than_events_are_an_error():
    """Counts that contradict themselves are refused."""
    with pytest.raises(HarnessError, match="cannot be"):
        Counts(3, 2)
    with pytest.raises(HarnessError, match="cannot be"):
        Counts(3, 4, unsure=2)
