"""How many events counters saw, from raw samples: by example, and against simulated pods."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.counts import Counts
from harness.series import Missing, Sample, Series, Window, count, scrapes


def series(*samples, **labels):
    """A counter of the target a, unless the labels say otherwise."""
    return Series(
        {"job": "pods", "instance": "a", **labels}, tuple(Sample(at, value) for at, value in samples)
    )


def increase(one, window):
    """The events that one counter saw."""
    found = count([one], window, everything)
    return found.total if isinstance(found, Counts) else None


def everything(_labels):
    """Calls every event good."""
    return True


def test_events_are_counted_between_the_first_and_the_last_sample_in_the_window():
    """What was counted before the first scrape of the window belongs to the phase before."""
    assert increase(series((0, 5), (10, 8), (20, 18), (30, 20)), Window(5, 25)) == 10


def test_a_drop_means_that_the_counter_started_again():
    """A restart in the window loses nothing that was scraped."""
    assert increase(series((0, 5), (10, 8), (20, 3), (30, 4)), Window(5, 35)) == 4


def test_a_target_that_is_born_in_the_window_counts_from_zero():
    """The first value of a new pod happened in the window (prometheus/prometheus#3886); others of its job are old."""
    old = series((0, 5), (10, 8), (20, 9), instance="b")
    assert count([old, series((10, 8), (20, 9))], Window(5, 25), everything) == Counts(10, 10)


def test_after_a_gap_in_the_scrapes_a_counter_does_not_bring_its_whole_history():
    """No target of the job was seen before: Prometheus did not look, so nobody knows when these events happened."""
    assert increase(series((10, 5296), (20, 5297)), Window(5, 25)) == 1
    other = series((0, 5), (10, 8), instance="b", job="others")
    assert count([series((10, 90), (20, 91)), other], Window(5, 25), everything) == Counts(1, 1)


def test_with_a_reach_the_last_scrape_before_the_window_is_where_counting_begins():
    """All that happened after the start is counted, and of what happened before only what no scrape can tell apart."""
    good, bad = (
        series((0, 50), (10, 80), (20, 100), (30, 130), code="200"),
        series((20, 7), (30, 9), code="503"),
    )
    window = Window(15, 35, reach=10)
    assert count([good, bad], window, lambda labels: labels["code"] == "200") == Counts(50, 59)
    assert increase(good, Window(15, 16, reach=10)) is None, (
        "before the first scrape after the start nothing is known"
    )
    assert increase(good, Window(15, 35, reach=2)) == 30, "a scrape that is too old is no beginning"


def test_no_sample_in_the_window_is_not_zero():
    """Nothing is known, so nothing is said."""
    assert increase(series((0, 5)), Window(5, 25)) is None
    assert count([series((0, 5))], Window(5, 25), everything) is Missing.EMPTY
    assert count([], Window(5, 25), everything) is Missing.EMPTY


def test_zero_events_are_zero():
    """A counter that stands still is known not to have counted."""
    assert count([series((0, 5), (10, 5), (20, 5))], Window(5, 25), everything) == Counts(0, 0)


def test_nan_is_neither_zero_nor_nothing():
    """One NaN spoils the count, and says so."""
    found = count(
        [series((0, 5), (10, 8), (20, 9)), series((10, math.nan), instance="b")], Window(5, 25), everything
    )
    assert found is Missing.NAN


def test_a_series_born_in_the_first_scrape_of_the_window_counts_from_there_as_its_siblings_do():
    """The 503s before the first scrape of the window belong to the phase before, like the 200s."""
    good, bad = series((0, 50), (10, 80), (20, 100), code="200"), series((10, 7), (20, 9), code="503")
    assert count([good, bad], Window(5, 25), lambda labels: labels["code"] == "200") == Counts(20, 22)


def test_a_series_born_later_counts_from_zero_though_its_target_is_old():
    """The first 503 of an old pod happened after the scrape that did not show it."""
    good, bad = series((0, 50), (10, 80), (20, 100), code="200"), series((20, 9), code="503")
    assert count([good, bad], Window(5, 25), lambda labels: labels["code"] == "200") == Counts(20, 29)


def test_a_series_that_was_dropped_and_came_back_loses_nothing_of_what_it_counted_since():
    """Envoy drops counters that nobody uses; where that cannot be told from a gap, what is more than before counts."""
    other = series((0, 5), (10, 8), (20, 8), (30, 9), code="200")
    back = series((0, 3124), (20, 20), (30, 24), code="503")
    more = series((0, 3), (20, 20), (30, 24), code="503")
    window = Window(10, 35)
    assert count([other, back], window, lambda labels: labels["code"] == "503") == Counts(24, 25)
    assert count([other, more], window, lambda labels: labels["code"] == "503") == Counts(21, 22)


def test_the_scrapes_are_those_of_the_target_that_was_scraped_most_often():
    """A pod that was killed before or during the window does not hide how often the others are scraped."""
    living, dying = series((0, 1), (10, 1), (20, 1)), series((4, 1), instance="b")
    dead = series((-9, 1), (-1, 1), instance="c")
    assert scrapes([dying, living, dead], Window(0, 20)) == (0, 10, 20)
    assert scrapes([dead], Window(0, 20)) == ()


@dataclass(frozen=True)
class Pod:
    """A simulated pod: when it counts events, is scraped and starts again; the scrapes say when it lived."""

    events: tuple[float, ...]
    scrapes: tuple[float, ...]
    restarts: tuple[float, ...]

    def series(self, name):
        """What Prometheus would hold of it."""

        def value(at):
            since = max((restart for restart in self.restarts if restart < at), default=-1.0)
            return sum(since < event <= at for event in self.events)

        samples = tuple(Sample(at, value(at)) for at in self.scrapes)
        first = next((index for index, sample in enumerate(samples) if sample.value), len(samples))
        return Series(
            {"job": "pods", "instance": name}, samples[first:]
        )  # a counter shows with its first event


TIMES = st.integers(0, 400).map(lambda tenths: tenths / 4)


@st.composite
def pods(draw):
    """Pods that restart only right after a scrape, so that nothing is lost that nobody can know of."""
    first = draw(st.integers(0, 60))
    scraped = tuple(range(first, first + 5 * draw(st.integers(1, 15)), 5))
    events = draw(st.lists(st.integers(first * 4 + 1, 400).map(lambda n: n / 4), max_size=60))
    restarts = draw(st.lists(st.sampled_from(scraped), max_size=2, unique=True))
    # A counter that reaches its old value between two scrapes hides its restart from everybody.
    return Pod(tuple(sorted(events)), scraped, tuple(restarts))


def hidden(pod):
    """Whether a restart cannot be seen in the samples."""
    values = {sample.at: sample.value for sample in pod.series("x").samples}
    times = sorted(values)
    return any(
        restart in values and after is not None and values[after] >= values[restart]
        for restart in pod.restarts
        for after in [next((at for at in times if at > restart), None)]
    )


@given(st.lists(pods().filter(lambda pod: not hidden(pod)), min_size=1, max_size=4), TIMES, TIMES)
def test_the_sum_is_the_true_number_of_events_between_the_samples_used(simulated, one, other):
    """Whatever pods are born, restart or vanish: no event is lost, and none is counted twice."""
    window = Window(min(one, other), max(one, other))
    expected, seen = 0, False
    begins = [min((sample.at for sample in pod.series("x").samples), default=101) for pod in simulated]
    for pod in simulated:
        shown = [sample.at for sample in pod.series("x").samples]
        inside = [at for at in shown if window.start <= at <= window.end]
        if not inside:
            continue
        seen = True
        born = shown[0] >= window.start and min(begins) < window.start
        begin = -1.0 if born else inside[0]
        expected += sum(begin < event <= inside[-1] for event in pod.events)
    found = count([pod.series(str(index)) for index, pod in enumerate(simulated)], window, everything)
    assert found == (Counts(expected, expected) if seen else Missing.EMPTY)


@given(st.lists(pods(), min_size=1, max_size=3))
def test_phases_that_meet_at_a_scrape_add_up_to_the_whole(simulated):
    """Two windows that share a scrape count together what one window over both counts."""
    every = [pod.series(str(index)) for index, pod in enumerate(simulated)]
    first = [one for one in every if one.samples and one.samples[0].at < 50]
    shared = {sample.at for one in first for sample in one.samples}
    if not first or 50.0 not in shared or any(50.0 not in {s.at for s in one.samples} for one in first):
        return
    parts = [count(first, window, everything) for window in (Window(-1, 50), Window(50, 100))]
    whole = count(first, Window(-1, 100), everything)
    assert parts[0] + parts[1] == whole


def test_an_increase_is_never_negative():
    """Even a counter that keeps falling has counted something."""
    assert increase(series((0, 9), (10, 7), (20, 5), (30, 3)), Window(-5, 35)) == pytest.approx(7 + 5 + 3)
