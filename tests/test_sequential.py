"""The sequential test keeps its errors however often one looks, and needs few events to be certain."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import binom, binomtest
from simulated import simulate, wald

from harness.counts import Counts
from harness.errors import HarnessError
from harness.sequential import for_held, for_violated, needed, would_take

ALPHA = 0.005
RUNS = 10_000
SLACK = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # three sigma of luck
OBJECTIVES = st.sampled_from([0.5, 0.9, 0.99, 0.999])
COUNTS = st.integers(1, 20_000).flatmap(
    lambda total: (
        st.builds(lambda bad: Counts(total - bad, total), st.integers(0, total) | st.integers(0, 20)).filter(
            lambda counts: counts.good >= 0
        )
        if total >= 20
        else st.builds(lambda bad: Counts(total - bad, total), st.integers(0, total))
    )
)


@pytest.mark.parametrize("at_least", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("times", [1.0, 1.1, 2.0])
def test_held_falls_no_more_often_than_stated_when_the_objective_is_missed(at_least, times):
    """At the border, where it is hardest, and beyond it; each of 10,000 runs is looked at after every event."""
    runs = simulate(at_least, times * (1 - at_least), alpha=ALPHA, runs=RUNS, bad_events=150, seed=1)
    assert runs.held <= ALPHA + SLACK


@pytest.mark.parametrize("at_least", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("times", [0.5, 0.9, 1.0])
def test_violated_falls_no_more_often_than_stated_when_the_objective_is_met(at_least, times):
    """At the border, and on its good side."""
    runs = simulate(at_least, times * (1 - at_least), alpha=ALPHA, runs=RUNS, bad_events=150, seed=2)
    assert runs.violated <= ALPHA + SLACK


@pytest.mark.parametrize("at_least", [0.95, 0.99, 0.999])
@pytest.mark.parametrize("times", [0.0, 0.1, 0.25, 0.5, 2.0, 3.0, 5.0])
def test_at_the_design_points_it_needs_at_most_1_3_times_the_events_of_walds_bound(at_least, times):
    """And it gives the right answer nearly always."""
    share = times * (1 - at_least)
    runs = simulate(at_least, share, alpha=ALPHA, runs=RUNS, bad_events=400, seed=3)
    assert runs.events <= 1.3 * wald(at_least, share, alpha=ALPHA)
    assert (runs.held if times < 1 else runs.violated) >= 1 - ALPHA - SLACK


@given(COUNTS, OBJECTIVES)
def test_what_says_held_or_violated_has_its_interval_on_that_side(counts, at_least):
    """The exact interval, as scipy has it, at the confidence of both sides."""
    exact = binomtest(counts.good, counts.total).proportion_ci(1 - 2 * ALPHA, method="exact")
    if for_held(counts, at_least) >= -math.log(ALPHA):
        assert exact.low >= at_least
    if for_violated(counts, at_least) >= -math.log(ALPHA):
        assert exact.high < at_least


@given(st.integers(0, 30), st.integers(0, 3000), st.sampled_from([0.9, 0.99]))
def test_the_ratio_is_the_mean_of_binomial_likelihoods(bad, good, at_least):
    """As scipy's binomial distribution gives them, for the eight shares of each side."""
    steps, budget, total = [(k + 0.5) / 8 for k in range(8)], 1 - at_least, bad + good
    counts, base = Counts(good, total), binom.logpmf(bad, total, budget)
    below = logsumexp([binom.logpmf(bad, total, budget * step**3) for step in steps], b=1 / 8) - base
    above = logsumexp([binom.logpmf(bad, total, budget * 10**step) for step in steps], b=1 / 8) - base
    assert for_held(counts, at_least) == pytest.approx(below, abs=1e-6)
    assert for_violated(counts, at_least) == pytest.approx(above, abs=1e-6)


@given(COUNTS, OBJECTIVES)
def test_a_good_event_speaks_for_held_and_a_bad_one_against_it(counts, at_least):
    """And the other way round for VIOLATED."""
    better = Counts(counts.good + 1, counts.total + 1)
    worse = Counts(counts.good, counts.total + 1)
    assert for_held(better, at_least) > for_held(counts, at_least) > for_held(worse, at_least)
    assert for_violated(better, at_least) < for_violated(counts, at_least) < for_violated(worse, at_least)


def test_unsure_events_speak_for_neither_verdict():
    """What cannot be told counts as bad where good is to be shown, and as good where bad is."""
    unsure = Counts(900, 1000, unsure=60)
    assert for_held(unsure, 0.99) == for_held(Counts(900, 1000), 0.99)
    assert for_violated(unsure, 0.99) == for_violated(Counts(960, 1000), 0.99)


@pytest.mark.parametrize("at_least", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("bad", [0, 1, 5])
def test_needed_is_the_smallest_number_of_events_that_is_enough(at_least, bad):
    """With that many events HELD can be said, with one less it cannot."""
    total = needed(at_least, alpha=ALPHA, bad=bad)
    assert for_held(Counts(total - bad, total), at_least) >= -math.log(ALPHA)
    assert for_held(Counts(total - 1 - bad, total - 1), at_least) < -math.log(ALPHA)


@pytest.mark.parametrize(
    ("counts", "at_least"), [(Counts(997, 1000), 0.99), (Counts(970, 1000), 0.99), (Counts(3, 10), 0.5)]
)
def test_so_many_events_of_that_kind_would_be_certain(counts, at_least):
    """The number that a report names is one that decides, and half of it is not."""
    total = would_take(counts, at_least, alpha=ALPHA)
    good = round(total * counts.share)
    speaks = for_held if counts.share > at_least else for_violated
    assert speaks(Counts(good, total), at_least) >= -math.log(ALPHA) - 0.2
    assert speaks(Counts(good // 2, total // 2), at_least) < -math.log(ALPHA)


@pytest.mark.parametrize(
    "counts", [Counts(99, 100), Counts(0, 0), Counts(9_899_990, 10_000_000), Counts(980, 1000, unsure=15)]
)
def test_at_the_border_no_number_of_events_would_be(counts):
    """Neither exactly there, nor closer than the test can see, nor where a bucket leaves both possible."""
    assert would_take(counts, 0.99, alpha=ALPHA) is None


@pytest.mark.parametrize("at_least", [0.0, 1.0])
def test_no_number_of_events_proves_that_every_one_is_good(at_least):
    """Such an objective is refused with what to do instead."""
    with pytest.raises(HarnessError, match="name a number of events"):
        needed(at_least, alpha=ALPHA)
