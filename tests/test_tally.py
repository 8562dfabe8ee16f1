"""What raw samples say about each kind of indicator: by example, and against simulated meshes."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.counts import Counts
from harness.errors import HarnessError
from harness.indicators import availability, latency, retry_amplification, throughput
from harness.series import Missing, Sample, Series, Window, silent
from harness.slo import SLO
from harness.tally import histogram, tally

BOUNDS = (5.0, 25.0, 100.0, 250.0, 500.0, math.inf)
FAST = SLO("fast", latency("checkout", "shop", quantile=0.9), at_most=0.4).sli
EXACT = SLO("fast", latency("checkout", "shop", quantile=0.9), at_most=0.25).sli
STORM = SLO("storm", retry_amplification("checkout", "shop"), at_most=1.5).sli
REQUESTS = {
    "__name__": "istio_requests_total",
    "destination_service_name": "checkout",
    "destination_service_namespace": "shop",
}


def series(values, *, start=0.0, step=1.0, **labels):
    """A counter of the target a, scraped every `step` seconds."""
    samples = tuple(Sample(start + step * index, float(value)) for index, value in enumerate(values))
    return Series({"job": "pods", "instance": "a:1", **labels}, samples)


def buckets(times, scrapes, instance="a:1"):
    """The buckets of a histogram in which (moment, milliseconds) were observed."""
    return [
        Series(
            {"job": "pods", "instance": instance, "le": "+Inf" if math.isinf(bound) else f"{bound:g}"},
            tuple(
                Sample(at, float(sum(moment <= at and took <= bound for moment, took in times)))
                for at in scrapes
            ),
        )
        for bound in BOUNDS
    ]


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 900)), max_size=60),
    st.sampled_from([FAST, EXACT]),
)
def test_latencies_are_counted_as_far_as_the_buckets_tell(times, sli):
    """The true number of events within the limit lies between the sure ones and those of the divided bucket."""
    found = tally(sli, buckets(times, range(0, 21, 2)), Window(3, 20))
    inside = [took for moment, took in times if 4 < moment <= 20]
    within = sum(took <= sli.limit * 1000 for took in inside)
    assert found.total == len(inside)
    assert found.good <= within <= found.good + found.unsure
    assert sli is FAST or found.unsure == 0


def test_the_quantile_of_a_phase_is_told_with_the_error_of_its_bucket():
    """In seconds."""
    found = histogram(buckets([(5, 30)] * 9 + [(5, 300)], range(11)), Window(0, 10), unit=0.001)
    assert found.quantile(0.5).high == pytest.approx(0.1)
    assert (found.quantile(0.95).low, found.quantile(0.95).high) == (pytest.approx(0.25), pytest.approx(0.5))


def test_what_is_no_histogram_is_refused():
    """A counter without bounds has no quantiles; buckets without the last one have no total."""
    with pytest.raises(HarnessError, match="_bucket"):
        histogram([series([0, 1, 2])], Window(0, 2), unit=1.0)
    assert histogram([series([0, 1, 2], le="5")], Window(0, 2), unit=1.0) is Missing.EMPTY
    assert histogram([], Window(0, 2), unit=1.0) is Missing.EMPTY


def test_attempts_and_requests_are_compared_with_the_edges_of_the_scrapes_unsure():
    """Two proxies that are scraped half a second apart have counted one second of traffic differently."""
    requests = series(range(0, 1100, 100), instance="caller:1", reporter="source", **REQUESTS)
    attempts = series(range(0, 1650, 150), start=0.5, instance="callee:1", reporter="destination", **REQUESTS)
    found = tally(STORM, [requests, attempts], Window(0, 10.5))
    assert found.total == 1500
    assert found.good <= 1000 <= found.good + found.unsure
    assert 150 <= found.unsure <= 2 * math.ceil(1500 / 10.5)


def test_counters_of_one_proxy_have_no_such_edges():
    """They are scraped at once."""
    both = [
        series([0, 10, 20], reporter="source", **REQUESTS),
        series([0, 20, 40], reporter="destination", **REQUESTS),
    ]
    assert tally(STORM, both, Window(0, 2)) == Counts(20, 40)
    assert tally(STORM, both[:1], Window(0, 2)) is Missing.EMPTY
    assert tally(STORM, [], Window(0, 2)) is Missing.EMPTY


def test_throughput_is_measured_over_the_time_that_was_counted():
    """20 per second offered for ten seconds, of which 150 were served well."""
    sli = SLO("serves", throughput("checkout", "shop", offered=20), at_least=10).sli
    good = series(range(0, 165, 15), response_code="200", **REQUESTS)
    bad = series(range(0, 55, 5), response_code="503", **REQUESTS)
    assert tally(sli, [good, bad], Window(-0.5, 11)) == Counts(150, 200)
    assert tally(sli, [], Window(0, 1)) is Missing.EMPTY


@pytest.mark.parametrize("sli", [availability("checkout", "shop"), FAST, STORM])
def test_nan_is_never_a_number_of_events(sli):
    """Whatever the indicator."""
    spoiled = series([1, math.nan, 3], reporter="destination", le="+Inf", **REQUESTS)
    assert tally(sli, [spoiled], Window(0, 2)) is Missing.NAN


def test_targets_that_fell_silent_are_told():
    """By their labels, one of each."""
    alive, dead = series(range(10), pod="x"), series(range(4), pod="y", instance="b:1")
    assert [labels["pod"] for labels in silent([alive, dead], since=5)] == ["y"]
    assert silent([alive, dead], since=3) == ()


@st.composite
def phases(draw):
    """A mesh of some proxies, each scraped at its own moments, that counts events of two phases."""
    interval = draw(st.sampled_from([1.0, 5.0, 15.0, 60.0]))
    seed = draw(st.integers(0, 2**32))
    return interval, draw(st.integers(1, 4)), draw(st.integers(4, 12)), random.Random(seed)


@given(phases())
def test_a_phase_counts_only_its_own_events_whatever_the_interval_of_the_scrapes(mesh):
    """Bad events before and after the phase are not among its own, in spite of resets and scrapes that failed.

    The phase begins at a time that no scrape knows of, and ends when the last of the proxies was scraped twice in it.
    """
    interval, proxies, length, chance = mesh
    begin, end = 5.5 * interval, (5.5 + length) * interval
    every, true_total = [], 0
    for number in range(proxies):
        offset = chance.random() * interval
        scrapes = [offset + interval * index for index in range(30) if index < 2 or chance.random() > 0.15]
        inside = [at for at in scrapes if begin <= at <= end]
        if not inside:
            continue
        reset = chance.choice(inside)  # right after a scrape, so that nothing is lost
        counts = {"200": 0, "503": 0}
        samples = {"200": [], "503": []}
        before = 0.0
        for at in scrapes:
            events = chance.randint(50, 80)
            inside_phase = inside[0] < at <= inside[-1]
            counts["200" if inside_phase else "503"] += events
            true_total += events if inside_phase else 0
            for code, value in counts.items():
                samples[code].append(Sample(at, float(value)))
            if at == reset:
                counts = {"200": 0, "503": 0}
            before = at
        assert before
        for code, taken in samples.items():
            labels = {"job": "pods", "instance": f"p{number}:1", "response_code": code, "reporter": "source"}
            every.append(Series(labels, tuple(taken)))
    found = tally(availability("checkout", "shop"), every, Window(begin, end))
    if found is not Missing.EMPTY:
        assert found.total - found.good == 0
        assert found.total <= true_total
        assert found.total >= true_total * 0.5 or found.total == 0
