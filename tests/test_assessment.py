"""What counts say about an objective, with the error stated for a whole run."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.assessment import Errors, Verdict, assess, burn_rate, describe, lacking
from harness.counts import Counts, interval
from harness.journal import Objective
from harness.sequential import needed

HELD, INCONCLUSIVE, VIOLATED = Verdict.HELD, Verdict.INCONCLUSIVE, Verdict.VIOLATED
UP = Objective("up", 0.99, 598)
ERRORS = Errors.of(0.99, [UP])


def test_a_failure_delays_held_until_there_are_enough_events_to_forgive_it():
    """HELD is said as soon as it can be with none, with one, with two failures."""
    assert assess(UP, [Counts(598, 598)], ERRORS) is HELD
    assert assess(UP, [Counts(597, 597)], ERRORS) is INCONCLUSIVE
    assert assess(UP, [Counts(597, 598)], ERRORS) is INCONCLUSIVE
    forgiving = needed(0.99, alpha=0.005, bad=1)
    assert assess(UP, [Counts(597, 598), Counts(forgiving - 2, forgiving - 1)], ERRORS) is INCONCLUSIVE
    assert assess(UP, [Counts(597, 598), Counts(forgiving - 1, forgiving)], ERRORS) is HELD


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        (Counts(5296, 21184), VIOLATED),
        (Counts(8992, 9000), INCONCLUSIVE),
        (Counts(6007, 6008), INCONCLUSIVE),
        (Counts(21182, 21184), HELD),
    ],
)
def test_held_speaks_of_everything_that_was_counted(last, verdict):
    """What came after HELD could be said, while something else was waited for, is part of the verdict."""
    objective = Objective("x", 0.999, 6007)
    assert assess(objective, [Counts(6007, 6007)], ERRORS) is HELD
    assert assess(objective, [Counts(6007, 6007), last], ERRORS) is verdict


def test_every_means_every():
    """One bad event violates an objective of 1.0; enough good ones hold it."""
    every = Objective("mTLS", 1.0, 300)
    assert assess(every, [Counts(299, 300)], ERRORS) is VIOLATED
    assert assess(every, [Counts(0, 1), Counts(300, 301)], ERRORS) is VIOLATED
    assert assess(every, [Counts(299, 299)], ERRORS) is INCONCLUSIVE
    assert assess(every, [Counts(300, 300)], ERRORS) is HELD
    assert assess(every, [Counts(300, 301, unsure=1)], ERRORS) is INCONCLUSIVE


def test_more_events_than_statistics_ask_for_can_be_asked_for():
    """`planned` is a lower limit of HELD, and of nothing else."""
    patient = Objective("up", 0.99, 10_000)
    assert assess(patient, [Counts(9999, 9999)], ERRORS) is INCONCLUSIVE
    assert assess(patient, [Counts(10_000, 10_000)], ERRORS) is HELD
    assert assess(patient, [Counts(50, 100)], ERRORS) is VIOLATED


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0.9, 1.0)), min_size=1, max_size=8))
def test_a_violation_stands_and_held_is_what_the_last_count_says(steps):
    """More events do not change VIOLATED, and HELD has its interval above the objective."""
    counted, good, total = [], 0, 0
    violated = False
    for new, share in steps:
        good, total = good + round(new * share), total + new
        counted.append(Counts(good, total))
        verdict = assess(UP, counted, ERRORS)
        violated = violated or verdict is VIOLATED
        if violated:
            assert verdict is VIOLATED
        if verdict is HELD:
            assert interval(counted[-1], 0.99)[0] >= UP.at_least


def test_several_promises_share_the_error_of_violated_and_not_that_of_held():
    """A run is VIOLATED when any of them is, and HELD only when all are; "every" has no error to share."""
    one, three = Errors.of(0.99, [UP]), Errors.of(0.99, [UP] * 3)
    assert one == Errors(pytest.approx(0.005), pytest.approx(0.005))
    assert three == Errors(pytest.approx(0.005), pytest.approx(0.005 / 3))
    assert Errors.of(0.99, [UP, Objective("mTLS", 1.0, 300)]) == one
    assert Errors.of(0.99, [UP], [UP]) == three, "a guardrail is looked at in two ways"


def test_the_error_stated_holds_for_a_run_with_five_objectives():
    """10,000 runs at the border, with all five just met: VIOLATED is said of any in at most half a percent of them.

    Each run has twenty looks, and up to a thousand events between two of them.
    """
    runs, looks, objectives = 10_000, 20, 5
    chance = numpy.random.default_rng(4)
    errors = Errors.of(0.99, [UP] * objectives)
    new = chance.integers(1, 1000, size=(runs, 1, looks))
    bad = chance.binomial(new.repeat(objectives, axis=1), 0.01).cumsum(axis=2)
    total = numpy.broadcast_to(new.cumsum(axis=2), bad.shape)
    suspicious = bad > 0.01 * total * 1.05  # the others are surely not violated
    told = {
        pair: assess(UP, [Counts(pair[1] - pair[0], pair[1])], errors) is VIOLATED
        for pair in set(zip(bad[suspicious].tolist(), total[suspicious].tolist(), strict=True))
    }
    wrong = numpy.zeros(bad.shape, dtype=bool)
    pairs = zip(bad[suspicious].tolist(), total[suspicious].tolist(), strict=True)
    wrong[suspicious] = [told[pair] for pair in pairs]
    assert wrong.any(axis=(1, 2)).mean() <= 0.005 + 3 * (0.005 * 0.995 / runs) ** 0.5


def test_a_report_names_the_number_of_events_it_would_have_taken():
    """When it is too few, when it is close, and when no number would do."""
    assert "only 40 events, at least 598 are needed" in lacking(UP, Counts(40, 40), ERRORS)
    assert "events with as few failures would be needed" in lacking(UP, Counts(996, 1000), ERRORS)
    assert "no number of events would" in lacking(UP, Counts(990, 1000), ERRORS)


def test_the_burn_rate_compares_the_failures_with_those_allowed():
    """1 uses the budget up just in time."""
    assert burn_rate(UP, Counts(980, 1000)) == pytest.approx(2.0)
    assert burn_rate(UP, Counts(1000, 1000)) == 0.0
    assert burn_rate(UP, Counts(0, 0)) is None
    assert burn_rate(Objective("every", 1.0, 10), Counts(9, 10)) is None
    assert "burning its error budget of 1 % at 2 times the rate allowed" in describe(
        UP, Counts(980, 1000), 0.99
    )
