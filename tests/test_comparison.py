"""Two phases side by side: the intervals of their differences are those of the literature, and hold what they say."""

import math
from itertools import pairwise

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from harness.comparison import quantiles, shares
from harness.counts import Counts
from harness.errors import HarnessError
from harness.histogram import Histogram

COUNTS = st.integers(1, 2000).flatmap(lambda n: st.builds(Counts, st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_the_interval_of_two_shares_is_the_published_one(first, second, low, high):
    """The eight examples of Newcombe's table II, method 10 (he takes the second from the first)."""
    found = shares(Counts(*second), Counts(*first), 0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@given(COUNTS, COUNTS, st.sampled_from([0.9, 0.99]))
def test_the_other_way_round_the_difference_of_shares_is_the_opposite(first, second, confidence):
    """And it lies in its interval."""
    there, back = shares(first, second, confidence), shares(second, first, confidence)
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert there.low <= there.value <= there.high
    assert not shares(first, first, confidence).certain


def test_the_interval_of_two_shares_holds_the_true_difference_as_often_as_stated():
    """10,000 pairs of phases with 1 % and 3 % bad."""
    chance = numpy.random.default_rng(5)
    first, second = chance.binomial(800, 0.99, 10_000), chance.binomial(600, 0.97, 10_000)
    pairs, times = numpy.unique(numpy.stack([first, second]), axis=1, return_counts=True)
    hits = 0
    for (a, b), number in zip(pairs.T.tolist(), times.tolist(), strict=True):
        found = shares(Counts(a, 800), Counts(b, 600), 0.95)
        hits += number * (found.low <= -0.02 <= found.high)
    assert hits / 10_000 == pytest.approx(0.95, abs=0.012)


def test_unsure_events_widen_the_interval_to_both_sides():
    """They may all have been good on the one side and bad on the other."""
    first, second = Counts(90, 100, unsure=5), Counts(80, 100, unsure=10)
    found = shares(first, second, 0.95)
    assert found.low == shares(Counts(95, 100), Counts(80, 100), 0.95).low
    assert found.high == shares(Counts(90, 100), Counts(90, 100), 0.95).high


def fine(samples, width):
    """A histogram of samples with buckets of that width."""
    edges = [width * (n + 1) for n in range(math.ceil(max(samples) / width))]
    counts = numpy.histogram(samples, [0.0, *edges])[0]
    return Histogram((*edges, math.inf), (*map(int, counts), 0))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_of_two_quantiles_is_that_of_scipys_bootstrap(share):
    """With buckets so fine that they hide nothing."""
    chance = numpy.random.default_rng(6)
    one, other = chance.gamma(4, 10, 1000), chance.gamma(4, 12, 1000)

    def difference(a, b, axis):
        return numpy.quantile(b, share, axis=axis) - numpy.quantile(a, share, axis=axis)

    wanted = bootstrap(
        (one, other), difference, n_resamples=1000, method="percentile", rng=chance, batch=200
    ).confidence_interval
    found = quantiles(fine(one, 0.25), fine(other, 0.25), share, 0.95)
    assert found.certain
    assert (found.low, found.high) == (
        pytest.approx(wanted.low, abs=0.8),
        pytest.approx(wanted.high, abs=0.8),
    )


def test_the_interval_of_two_quantiles_holds_the_true_difference_at_least_as_often_as_stated():
    """Of the medians of 150 pairs of samples; buckets can only make it wider."""
    chance, hits = numpy.random.default_rng(7), 0
    for seed in range(150):
        one, other = chance.exponential(10, 200), chance.exponential(15, 200)
        found = quantiles(fine(one, 1.0), fine(other, 1.0), 0.5, 0.95, seed=seed)
        hits += found.low <= 5 * math.log(2) <= found.high
    assert hits / 150 >= 0.95 - 3 * (0.95 * 0.05 / 150) ** 0.5


def test_a_difference_within_one_bucket_is_never_certain():
    """Whatever the number of events: the bucket does not tell."""
    one = Histogram((10.0, 25.0, math.inf), (10, 100_000, 0))
    found = quantiles(one, Histogram(one.bounds, (40_000, 60_000, 0)), 0.5, 0.99)
    assert not found.certain
    assert (found.low, found.high) == (-15.0, 15.0)


def test_nothing_cannot_be_compared():
    """Neither shares nor quantiles."""
    with pytest.raises(HarnessError, match="nothing to compare"):
        shares(Counts(0, 0), Counts(1, 1), 0.95)
    with pytest.raises(HarnessError, match="nothing to compare"):
        quantiles(Histogram((math.inf,), (0,)), Histogram((math.inf,), (1,)), 0.5, 0.95)


@given(
    st.lists(st.floats(0.001, 900.0), min_size=1, max_size=60),
    st.lists(st.floats(0.5, 800.0), min_size=1, max_size=8, unique=True),
    st.floats(0.01, 1.0),
    st.floats(0.1, 900.0),
)
def test_a_histogram_tells_where_a_quantile_lies_and_how_many_events_kept_a_limit(times, edges, share, limit):
    """The true quantile is within the bucket named, and the true number between the sure ones and the unsure."""
    bounds = (*sorted(edges), math.inf)
    histogram = Histogram.cumulative({bound: sum(time <= bound for time in times) for bound in bounds})
    assert histogram.total == len(times)
    true = sorted(times)[max(0, math.ceil(share * len(times) - 1e-9) - 1)]
    found = histogram.quantile(share)
    assert found.low < true <= found.high or math.isclose(share * len(times), round(share * len(times)))
    assert found.low <= found.value <= found.high
    counts = histogram.within(limit)
    assert counts.good <= sum(time <= limit for time in times) <= counts.good + counts.unsure


def test_a_limit_that_is_a_bound_leaves_nothing_unsure():
    """The buckets are "less or equal"."""
    histogram = Histogram((250.0, 500.0, math.inf), (90, 8, 2))
    assert histogram.within(500.0) == Counts(98, 100)
    assert histogram.within(400.0) == Counts(90, 100, unsure=8)
    assert histogram.within(501.0) == Counts(98, 100, unsure=2)
    assert Histogram((math.inf,), (0,)).quantile(0.5) is None
    assert histogram.quantile(1.0).high == math.inf


@pytest.mark.parametrize(
    ("bounds", "counts"),
    [((), ()), ((1.0, 2.0), (1, 1)), ((2.0, 1.0, math.inf), (1, 1, 1)), ((math.inf,), (-1,))],
)
def test_bounds_and_counts_that_cannot_be_are_refused(bounds, counts):
    """A histogram rises up to infinity and counts no less than nothing."""
    with pytest.raises(HarnessError):
        Histogram(bounds, counts)


def test_a_bound_that_lost_a_sample_does_not_count_backwards():
    """Cumulative numbers that fall are taken as standing still."""
    histogram = Histogram.cumulative({1.0: 5, 2.0: 4, math.inf: 9})
    assert histogram.counts == (5, 0, 4)
    assert all(a <= b for a, b in pairwise(numpy.cumsum(histogram.counts)))
