"""The judge: pure over the journal, three-valued, and right as often as it says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import journal as log
from harness.caveats import Caveat
from harness.counts import Counts
from harness.journal import Objective
from harness.proof import as_asked, enough_requests
from harness.verdict import Judgement, Verdict, judge, merge

UP = Objective("up", 0.99, 598)
HELD, INCONCLUSIVE, VIOLATED = Verdict.HELD, Verdict.INCONCLUSIVE, Verdict.VIOLATED


def started(**fields):
    """The first event of a run that promises 99 %."""
    values = dict(  # noqa: C408 - shorter
        at=0.0, run="r", name="n", target="shop/payments", fault="abort 503 30%", weakened=(), objectives=(UP,),
        guardrails=(), confidence=0.99, recover_within=30.0, load="browse 100/s", seed=1, versions=(),
        api="https://a", entry="http://b", prometheus="http://c",
    )  # fmt: skip
    return log.RunStarted(**(values | fields))


def course(*, good=1000, total=1000, hits=300, requests=1000, extra=(), recovered=2.0, **fields):
    """The journal of a run with an abort of 30 % that went well, unless told otherwise."""
    return (
        started(**fields),
        log.Resolved(1.0, ("payments-1",), "share", 30.0),
        log.Injected(2.0, ("create EnvoyFilter shop/harness-r",)),
        log.PhaseStarted(3.0, "observe"),
        log.Counted(4.0, "up", "observe", good // 2, total // 2, 3.0, 4.0),
        log.Counted(5.0, "up", "observe", good, total, 3.0, 5.0),
        log.ShareSeen(5.0, "observe", hits, requests),
        *extra,
        log.PhaseEnded(5.0, "observe"),
        log.Reverted(6.0, "fault", ("EnvoyFilter deleted",), (), ()),
        log.Recovered(7.0, recovered, "" if recovered is not None else "1 of 3 pods ready"),
        log.LoadReported(8.0, 5000, 0, 0.01, 0.02, 5, 100.0),
    )


def killed(*, gone=("u1",), requests=900, settled=True, **fields):
    """The journal of a run that killed the pod u1 and went well, unless told otherwise."""
    events = [
        log.Resolved(1.0, ("a",), "replaced") if isinstance(event, log.Resolved) else event
        for event in without(course(**fields), log.ShareSeen)
    ]
    return (*events, log.ReplacedSeen(4.0, ("u1",), gone, 3, 3, requests, settled))


def scaled(*seen, **fields):
    """The journal of a run that scaled the target to nothing; (present, ready, requests) was seen one by one."""
    events = [
        log.Resolved(1.0, ("a",), "scaled") if isinstance(event, log.Resolved) else event
        for event in without(course(**fields), log.ShareSeen)
    ]
    looks = [log.ScaledSeen(4.0, "observe", 0, present, ready, requests) for present, ready, requests in seen]
    return (*events, *looks)


def on_each(*seen, **fields):
    """The journal of a run whose fault shows on a and b; (phase, pods that showed it, requests) was seen one by one."""
    events = [
        log.Resolved(1.0, ("a", "b"), "oneach") if isinstance(event, log.Resolved) else event
        for event in without(course(**fields), log.ShareSeen)
    ]
    looks = [
        log.PodsSeen(4.0, phase, ("a", "b"), tuple(shown), "have it", requests)
        for phase, shown, requests in seen
    ]
    return (*events, *looks)


def locust(*, failed, **fields):
    """The journal of a run that went well by the counters, and what the load generator says of it."""
    return (*course(**fields), log.LoadReported(8.5, 5000, failed, 0.01, 0.02, 5, 100.0))


def without(events, kind):
    """The journal without the events of a kind."""
    return tuple(event for event in events if not isinstance(event, kind))


def test_everything_in_order_is_held():
    """Evidence as asked, objective met, recovered in time."""
    judgement = judge(course())
    assert judgement.verdict is HELD
    assert "1,000 of 1,000 good" in judgement.reasons[0]
    assert judgement.evidence == "asked 30 %, seen 30 % of 1,000 requests at the target"


def test_too_many_failures_are_violated():
    """The bound on the true share lies below the promise."""
    judgement = judge(course(good=900))
    assert judgement.verdict is VIOLATED
    assert "900 of 1,000 good" in judgement.reasons[0]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (course(good=40, total=40), "only 40 events, at least 598 are needed"),
        (course(good=985), "too close to tell"),
        (course(good=994), "events with as few failures would be needed"),
        (course(good=0, total=0), "no event was counted"),
        (without(course(), log.Counted), "could not be counted"),
        (course(hits=120), "asked 30 %, seen 12 %"),
        (course(hits=0), "asked 30 %, seen 0 %"),
        (course(hits=0, requests=0), "no request reached the target"),
        (without(course(), log.ShareSeen), "no request reached the target"),
        (course(hits=0, requests=5), "34 are needed to tell"),
        (course(hits=2, requests=5), "34 are needed to tell"),
        (without(course(), log.Injected), "no fault was injected"),
        (without(course(), log.Recovered), "recovery was not observed"),
        ((*course(), log.Stopped(9.0, "Prometheus does not answer")), "Prometheus does not answer"),
        ((*course(), log.Reverted(9.0, "fault", (), (), ("EnvoyFilter x: 403",))), "could not be undone"),
        ((*course(), log.Reverted(9.0, "fault", (), ("EnvoyFilter x: somebody else's",), ())), "not undone"),
        ((*course(), log.LoadReported(9.0, 0, 0, 0, 0, 5, 0.0)), "sent no request"),
        ((started(),), "no fault was injected"),
        ((), "holds no run"),
    ],
)
def test_whatever_is_not_known_is_inconclusive_with_the_reason(events, reason):
    """Absence of bad news is never good news."""
    judgement = judge(events)
    assert judgement.verdict is INCONCLUSIVE
    assert reason in " | ".join(judgement.reasons)


def test_an_interrupted_run_does_not_say_that_the_fault_hit_nothing():
    """Nobody had the time to look."""
    judgement = judge((*without(course(), log.ShareSeen), log.Stopped(4.0, "interrupted by SIGINT")))
    assert judgement.verdict is INCONCLUSIVE
    assert "interrupted by SIGINT" in judgement.reasons
    assert judgement.evidence == "asked 30 %, the run was stopped before it could be told"


def test_what_an_earlier_run_left_and_somebody_else_changed_does_not_count():
    """It was undone, as far as that went, before this run's gate."""
    assert judge((*course(), log.Reverted(0.5, "leftovers", (), ("x",), ()))).verdict is HELD


def test_counts_that_were_lost_in_the_end_are_not_replaced_by_older_ones():
    """Prometheus lost the series while the fault was observed: nothing is known."""
    lost = log.Counted(5.5, "up", "observe", None, None, 3.0, 5.5, "Prometheus has no samples of it")
    judgement = judge(course(extra=[lost]))
    assert judgement.verdict is INCONCLUSIVE
    assert "Prometheus has no samples of it" in judgement.reasons[0]


def test_a_violation_without_evidence_cannot_be_blamed_on_the_fault():
    """Both are said: the fault did not bite, and the objective was missed nevertheless."""
    judgement = judge(course(good=900, hits=0))
    assert judgement.verdict is INCONCLUSIVE
    assert "seen 0 %" in judgement.reasons[0]
    assert "cannot be blamed" in judgement.reasons[1]


def test_a_breached_guardrail_is_a_violation_though_it_cut_the_fault_short():
    """The share that was seen by then need not be the one asked for, if the fault was seen at all."""
    breach = log.GuardrailBreached(4.5, "up", 10, 40)
    assert judge(course(good=1, total=4, hits=2, requests=400, extra=[breach])).verdict is VIOLATED
    assert judge(course(good=1, total=4, hits=0, requests=400, extra=[breach])).verdict is INCONCLUSIVE


def test_late_and_missing_recovery_are_violations():
    """The promise includes that everything is as before in time."""
    assert judge(course(recovered=31.0)).verdict is VIOLATED
    judgement = judge(course(recovered=None))
    assert judgement.verdict is VIOLATED
    assert "1 of 3 pods ready" in judgement.reasons[0]


def test_a_fault_that_stays_visible_is_not_held_against_the_mesh():
    """What is amiss there is the harness or the wire."""
    events = (*without(course(), log.Recovered), log.Recovered(7.0, None, "still marked", blameless=True))
    assert judge(events).verdict is INCONCLUSIVE


def test_a_kill_is_proven_by_the_uids_that_are_gone():
    """The pods that were asked for have to be gone; others prove nothing."""
    held = judge(killed())
    assert held.verdict is HELD
    assert held.evidence == "1 of 1 pods gone, 3 of 3 ready, 900 requests at the target before"
    assert judge(killed(gone=())).verdict is INCONCLUSIVE
    assert judge(without(killed(), log.ReplacedSeen)).verdict is INCONCLUSIVE


@pytest.mark.parametrize(("requests", "verdict"), [(0, INCONCLUSIVE), (49, INCONCLUSIVE), (50, HELD)])
def test_a_kill_of_pods_that_nobody_asks_proves_nothing(requests, verdict):
    """The promise was not tested if the load did not reach the target."""
    judgement = judge(killed(requests=requests))
    assert judgement.verdict is verdict
    assert ("did not reach the target" in judgement.evidence) is (verdict is INCONCLUSIVE)


@pytest.mark.parametrize(
    ("seen", "verdict", "reason"),
    [
        ([("inject", "", None), ("inject", "ab", None), ("observe", "ab", 90)], HELD, "2 of 2 pods have it"),
        ([("observe", "ab", None)], HELD, "2 of 2 pods have it"),
        ([("inject", "a", None)], INCONCLUSIVE, "1 of 2 pods have it"),
        ([("inject", "ab", None)], INCONCLUSIVE, "2 of 2 pods have it"),
        (
            [("observe", "ab", 90), ("observe", "b", 90)],
            INCONCLUSIVE,
            "not as asked while the fault was observed",
        ),
        ([("observe", "ab", 49)], INCONCLUSIVE, "the load did not reach the target"),
        ([], INCONCLUSIVE, "whether the pods showed the fault was not seen"),
    ],
)
def test_a_fault_on_each_pod_has_to_show_on_all_of_them_all_the_time(seen, verdict, reason):
    """And the target must have had requests."""
    judgement = judge(on_each(*seen))
    assert judgement.verdict is verdict
    assert reason in " ".join((judgement.evidence, *judgement.reasons))


def test_a_kill_that_was_not_watched_to_its_end_is_not_held():
    """The harm after the last scrape is not in the counts; a violation before it is one nevertheless."""
    judgement = judge(killed(settled=False))
    assert judgement.verdict is INCONCLUSIVE
    assert "observation ended before the pods were replaced" in judgement.reasons[0]
    assert judge(killed(settled=False, good=900)).verdict is VIOLATED


def test_a_load_generator_that_saw_more_failures_than_the_counters_takes_held_back():
    """Both numbers are told; failures that the counters know of, too, are explained."""
    objective = Objective("up", 0.99, 598, answers=True)
    contradicted = judge(locust(failed=281, objectives=(objective,)))
    assert contradicted.verdict is INCONCLUSIVE
    assert "know of 0 failures in the whole run" in contradicted.reasons[0]
    assert "5,000 requests 281 failed" in contradicted.reasons[0]
    gate = log.Counted(1.5, "up", "gate", 10, 291, 1.0, 1.5)
    assert judge((*locust(failed=281, objectives=(objective,)), gate)).verdict is HELD
    assert judge(locust(failed=20, objectives=(objective,))).verdict is HELD
    assert judge(locust(failed=281)).verdict is HELD, "the objective says nothing about answers"
    assert judge(locust(failed=281, objectives=(objective,), good=900)).verdict is VIOLATED


def test_a_share_that_was_seen_before_the_observation_only_is_no_evidence():
    """Whoever waited in vain for the fault to show has not observed it."""
    events = tuple(
        log.ShareSeen(5.0, "inject", 300, 1000) if isinstance(e, log.ShareSeen) else e
        for e in course(good=900)
    )
    assert judge(events).verdict is INCONCLUSIVE


@given(st.floats(0.001, 100))
def test_no_hit_at_all_is_never_what_was_asked(percent):
    """However few requests or however small the share."""
    assert not as_asked(percent, Counts(0, 1))
    assert not as_asked(percent, Counts(0, enough_requests(percent)))


def test_a_control_without_a_fault_needs_no_evidence():
    """Nothing was done, so nothing has to be seen."""
    base = without(course(), log.ShareSeen)
    base = tuple(log.Resolved(1.0, ("a",), "none") if isinstance(e, log.Resolved) else e for e in base)
    assert judge(base).verdict is HELD


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_the_worst_verdict_of_several_counts(verdicts):
    """HELD < INCONCLUSIVE < VIOLATED, whatever the order."""
    assert merge(Judgement(verdict, ()) for verdict in verdicts).verdict == max(verdicts)


def test_of_nothing_there_is_no_verdict():
    """An empty session has proven nothing."""
    assert merge([]).verdict is INCONCLUSIVE


def test_pods_that_stayed_away_are_the_evidence_of_a_scale():
    """With enough requests before, or where nobody has to have asked."""
    assert judge(scaled((0, 0, 900), (0, 0, 900))).verdict is HELD
    assert judge(scaled((0, 0, None))).evidence == "0 pods, 0 of them ready, asked 0"


@pytest.mark.parametrize(
    ("seen", "evidence"),
    [
        ((), "was not seen"),
        (((0, 0, 900), (1, 0, 900), (0, 0, 900)), "1 pods, 0 of them ready, asked 0: not as asked"),
        (((1, 1, 900),), "not as asked"),
        (((0, 0, 3),), "the load did not reach the target: the target had 3 requests before"),
    ],
)
def test_a_scale_that_was_not_in_force_all_the_time_proves_nothing(seen, evidence):
    """Somebody else may have scaled it back."""
    judgement = judge(scaled(*seen))
    assert judgement.verdict is INCONCLUSIVE
    assert evidence in judgement.evidence


def test_an_object_that_the_cluster_refused_is_its_own_evidence():
    """Nothing was changed, and the objectives have to hold under that."""
    refused = log.Injected(2.0, (), ("VirtualService shop/typo: it is invalid",))
    events = [refused if isinstance(event, log.Injected) else event for event in course(hits=0)]
    judgement = judge(events)
    assert judgement.verdict is HELD
    assert judgement.evidence == (
        "refused by the cluster, nothing was changed: VirtualService shop/typo: it is invalid"
    )


def test_an_eviction_that_was_refused_besides_others_is_told():
    """The evidence is that of those that happened."""
    partly = log.Injected(2.0, ("eviction Pod shop/a",), ("Pod shop/b: the budget x needs 2",))
    events = [partly if isinstance(event, log.Injected) else event for event in killed()]
    assert judge(events).verdict is HELD
    assert judge(events).evidence.endswith("; refused by the cluster: Pod shop/b: the budget x needs 2")


def test_a_kill_of_nobody_proves_nothing():
    """All of none are gone, which is no evidence."""
    assert judge((*killed(), log.ReplacedSeen(4.5, (), (), 3, 3, 900, True))).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    ("hits", "total", "asked"), [(1, 1000, True), (300, 1000, True), (500, 1000, False), (0, 1000, False)]
)
def test_a_fault_that_is_aimed_at_some_requests_hits_any_of_them_but_no_more_than_asked(hits, total, asked):
    """How many it was aimed at is not known."""
    assert as_asked(30, Counts(hits, total), partial=True) is asked
    resolved = log.Resolved(1.0, ("a",), "share", 30.0, partial=True)
    events = [
        resolved if isinstance(event, log.Resolved) else event for event in course(hits=hits, requests=total)
    ]
    assert (judge(events).verdict is HELD) is asked


def test_a_verdict_of_a_run_that_preflight_would_have_refused_says_so():
    """Both definite ones; warnings are no reason of theirs."""
    caveat = Caveat("unbound", "refuse", "nobody sees it", "VirtualService shop/a spec.gateways", "add mesh")
    overridden = log.Cautioned.of(0.5, replace(caveat, overridden=True))
    for fields, verdict in (({}, HELD), ({"good": 500}, VIOLATED)):
        judgement = judge(course(extra=(overridden,), **fields))
        assert judgement.verdict is verdict
        [said] = [reason for reason in judgement.reasons if "preflight" in reason]
        assert "would have refused this run and was overridden" in said
        assert "VirtualService shop/a spec.gateways: nobody sees it; add mesh" in said
    warned = log.Cautioned.of(0.5, replace(caveat, severity="warn"))
    assert judge(course(extra=(warned,))) == judge(course())
