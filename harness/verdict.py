"""From the journal to a verdict, purely: the same journal always gives the same judgement.

How the stated error is kept. Let `alpha` be 1 - confidence. Each of the two definite verdicts may be wrong
with at most the probability `alpha`, whatever the true share of good events is (events taken as
independent), although the counts are looked at again and again:

- VIOLATED is tested at looks that were fixed beforehand: when an SLO has counted 25, 50, 100, ... events, and
  at the end. The k-th look uses an exact upper bound at the level alpha / (k (k + 1)); all levels together are
  alpha (union bound).
- HELD is tested when there are enough events to say it although none, one, two, ... of them failed (`needed`),
  and when the time is up. These moments depend on the number of events only, never on how many were good. The
  k-th test uses the level alpha / (k (k + 1)) too.
- Between looks nothing is decided. VIOLATED stands once it has fallen. HELD needs more: the lower end of the
  interval of the last count, too, has to reach the objective, so that what came after the test is part of the
  verdict. A further condition only makes HELD rarer, so its error stays below alpha.

An objective of 1.0 has no such error for VIOLATED: one bad event contradicts "every". Its HELD says how many
events were seen, and which share could still be bad unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from harness import counts as statistics
from harness import journal
from harness.counts import Counts
from harness.journal import Event, Objective, select
from harness.proof import evidence

_FIRST_LOOK = 25


class Verdict(IntEnum):
    """Ordered so that the worst of several is their maximum."""

    HELD = 0
    INCONCLUSIVE = 1
    VIOLATED = 2


@dataclass(frozen=True)
class Finding:
    """What was found about one objective in one phase; `interval` is the one of the run's confidence."""

    slo: str
    phase: str
    at_least: float
    counts: Counts | None
    interval: tuple[float, float] | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Judgement:
    """The verdict of a run, why, on what numbers, and what proved the fault."""

    verdict: Verdict
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    evidence: str = ""


def merge(judgements: Iterable[Judgement]) -> Judgement:
    """The judgement over several: the worst verdict, everything that was found. Of none: INCONCLUSIVE."""
    every = tuple(judgements)
    if not every:
        return Judgement(Verdict.INCONCLUSIVE, ("nothing was judged",))
    return Judgement(
        max(one.verdict for one in every),
        tuple(reason for one in every for reason in one.reasons),
        tuple(finding for one in every for finding in one.findings),
        "; ".join(dict.fromkeys(one.evidence for one in every if one.evidence)),
    )


def assess(objective: Objective, counted: Sequence[Counts], *, confidence: float, ended: bool) -> Verdict:
    """What the growing counts of one phase say about an objective; INCONCLUSIVE while they do not tell.

    `counted` is every count so far, in order, so that the looks are the same for whoever asks again; `ended`
    says that the last one was taken when the time was up. HELD speaks of the last count, so more events may take
    it back; VIOLATED stands. See the module for the error that is kept.
    """
    if objective.at_least >= 1.0:
        return _assess_every(objective, counted)
    alpha, violated_looks, held_looks = 1.0 - confidence, 0, 0
    next_violated, next_held, held = _FIRST_LOOK, objective.planned, False
    for index, counts in enumerate(counted):
        last = ended and index == len(counted) - 1 and counts.total > 0
        if counts.total >= next_violated or last:
            violated_looks += 1
            if statistics.upper(counts, statistics.spend(alpha, violated_looks)) < objective.at_least:
                return Verdict.VIOLATED
            while next_violated <= counts.total:
                next_violated *= 2
        if counts.total >= next_held or last:
            held_looks += 1
            held |= statistics.lower(counts, statistics.spend(alpha, held_looks)) >= objective.at_least
            next_held = statistics.needed(objective.at_least, confidence=confidence, allow_bad=held_looks)
    if held and statistics.interval(counted[-1], confidence)[0] >= objective.at_least:
        return Verdict.HELD
    return Verdict.INCONCLUSIVE


def judge(events: Sequence[Event]) -> Judgement:
    """The judgement of a run from its journal.

    HELD needs everything: evidence of the fault as asked, every objective held while all of its harm was
    observed, recovery in time, and a load generator that saw nothing else. VIOLATED needs a violation and the
    evidence: without it the fault cannot be blamed. All else is INCONCLUSIVE.
    """
    every = tuple(events)
    started = next(iter(select(every, journal.RunStarted)), None)
    if started is None:
        return Judgement(Verdict.INCONCLUSIVE, ("the journal holds no run",))
    findings = _findings(started, every)
    breaches = tuple(map(_breach, select(every, journal.GuardrailBreached)))
    proof, seen = evidence(every, breached=bool(breaches))
    too_late, unproven = _recovery(started, every)
    violations = (*_reasons(findings, Verdict.VIOLATED), *breaches, *too_late)
    if not seen:
        blame = tuple(f"{violation}, but the fault cannot be blamed for it" for violation in violations)
        stops = (*(_obstacles(every) or (proof,)), *blame)
        return Judgement(Verdict.INCONCLUSIVE, tuple(dict.fromkeys(stops)), findings, proof)
    if violations:
        return Judgement(Verdict.VIOLATED, (*violations, *_obstacles(every), *unproven), findings, proof)
    contradicted = _contradicted(started, every)
    doubts = (
        *_obstacles(every),
        *_reasons(findings, Verdict.INCONCLUSIVE),
        *unproven,
        *_unsettled(every),
        *contradicted,
    )
    if doubts:
        return Judgement(Verdict.INCONCLUSIVE, tuple(dict.fromkeys(doubts)), findings, proof)
    return Judgement(Verdict.HELD, _reasons(findings, Verdict.HELD), findings, proof)


def describe(objective: Objective, counts: Counts, confidence: float) -> str:
    """The counts, what they say about the true share, and what was promised, as one phrase."""
    if counts.total == 0:
        return f"{objective.name}: no event was counted, so nothing can be said about it"
    low, high = statistics.interval(counts, confidence)
    promised = "every one" if objective.at_least >= 1.0 else f"{100 * objective.at_least:.6g} %"
    return (
        f"{objective.name}: {counts.good:,} of {counts.total:,} good = {100 * counts.good / counts.total:.4g} %"
        f" ({100 * low:.5g} to {100 * high:.5g} % at {100 * confidence:g} % confidence), promised {promised}"
    )


def _assess_every(objective: Objective, counted: Sequence[Counts]) -> Verdict:
    if any(counts.bad for counts in counted):
        return Verdict.VIOLATED
    return Verdict.HELD if counted and counted[-1].total >= objective.planned else Verdict.INCONCLUSIVE


def _findings(started: journal.RunStarted, events: tuple[Event, ...]) -> tuple[Finding, ...]:
    counted = select(events, journal.Counted)
    ended = {event.phase for event in select(events, journal.PhaseEnded)}
    findings = []
    for objective in started.objectives:
        mine = [event for event in counted if event.slo == objective.name]
        observed = [event for event in mine if event.phase == "observe"]
        findings.append(_observed(objective, observed, started.confidence, ended="observe" in ended))
        recovered = [event for event in mine if event.phase == "recover"]
        if recovered and (finding := _after(objective, recovered[-1], started.confidence)):
            findings.append(finding)
    return tuple(findings)


def _observed(
    objective: Objective, events: Sequence[journal.Counted], confidence: float, *, ended: bool
) -> Finding:
    counted = [counts for event in events if (counts := _counts(event)) is not None]
    if not counted or _counts(events[-1]) is None:
        why = f" ({events[-1].missing})" if events and events[-1].missing else ""
        reason = f"{objective.name}: could not be counted while the fault was observed{why}"
        return Finding(
            objective.name, "observe", objective.at_least, None, None, Verdict.INCONCLUSIVE, reason
        )
    verdict = assess(objective, counted, confidence=confidence, ended=ended)
    reason = describe(objective, counted[-1], confidence)
    if verdict is Verdict.INCONCLUSIVE:
        reason += _lack(objective, counted[-1], confidence)
    return _finding(objective, "observe", counted[-1], confidence, verdict=verdict, reason=reason)


def _after(objective: Objective, event: journal.Counted, confidence: float) -> Finding | None:
    """The recover phase is too short to prove an objective; it can only contradict it."""
    counts = _counts(event)
    if counts is None or counts.total == 0:
        return None
    bad = statistics.upper(counts, 1.0 - confidence) < objective.at_least
    verdict = Verdict.VIOLATED if bad else Verdict.HELD
    reason = describe(objective, counts, confidence)
    return _finding(objective, "recover", counts, confidence, verdict=verdict, reason=reason)


def _finding(
    objective: Objective, phase: str, counts: Counts, confidence: float, *, verdict: Verdict, reason: str
) -> Finding:
    bounds = statistics.interval(counts, confidence)
    return Finding(objective.name, phase, objective.at_least, counts, bounds, verdict, f"{reason} [{phase}]")


def _counts(event: journal.Counted) -> Counts | None:
    return None if event.good is None or event.total is None else Counts(event.good, event.total)


def _lack(objective: Objective, counts: Counts, confidence: float) -> str:
    if counts.total < objective.planned:
        return f"; only {counts.total:,} events, {objective.planned:,} are needed to tell"
    if objective.at_least < 1.0 and counts.good / counts.total > objective.at_least:
        more = statistics.needed(objective.at_least, confidence=confidence, allow_bad=counts.bad)
        return f"; too close to tell, {more:,} events with as few failures would be needed"
    return "; too close to tell"


def _reasons(findings: Sequence[Finding], verdict: Verdict) -> tuple[str, ...]:
    return tuple(finding.reason for finding in findings if finding.verdict is verdict)


def _breach(event: journal.GuardrailBreached) -> str:
    return f"guardrail {event.slo} breached: {Counts(event.good, event.total)} good, reverted at once"


def _obstacles(events: tuple[Event, ...]) -> tuple[str, ...]:
    """Why the run itself was not sound, whatever its counts say."""
    stops = tuple(event.reason for event in select(events, journal.Stopped))
    failed = tuple(
        f"could not be undone: {what}" for event in select(events, journal.Reverted) for what in event.failed
    )
    kept = tuple(
        f"not undone: {what}"
        for event in select(events, journal.Reverted)
        if event.what != "leftovers"
        for what in event.kept
    )
    loads = select(events, journal.LoadReported)
    silent = ("the load generator sent no request",) if loads and loads[-1].sent == 0 else ()
    return (*stops, *failed, *kept, *silent)


def _unsettled(events: tuple[Event, ...]) -> tuple[str, ...]:
    """A kill that was not watched to its end may have done harm that was not counted."""
    seen = select(events, journal.ReplacedSeen)
    if not seen or seen[-1].settled:
        return ()
    return ("the observation ended before the pods were replaced and two scrapes had passed",)


def _contradicted(started: journal.RunStarted, events: tuple[Event, ...]) -> tuple[str, ...]:
    """Where the load generator saw an objective missed, and not only by what the counters saw as well."""
    loads = select(events, journal.LoadReported)
    if not loads:
        return ()
    sent, failed = loads[-1].sent, loads[-1].failed
    reasons = []
    for objective in started.objectives:
        last = {
            event.phase: event for event in select(events, journal.Counted) if event.slo == objective.name
        }
        known = sum(counts.bad for event in last.values() if (counts := _counts(event)) is not None)
        seen = Counts(sent - max(0, failed - known), sent)
        if objective.answers and statistics.upper(seen, 1.0 - started.confidence) < objective.at_least:
            reasons.append(
                f"{objective.name}: the counters know of {known:,} failures in the whole run, but of the load"
                f" generator's {sent:,} requests {failed:,} failed"
            )
    return tuple(reasons)


def _recovery(
    started: journal.RunStarted, events: tuple[Event, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reasons for VIOLATED, and reasons for INCONCLUSIVE, that recovery gives."""
    last = next(iter(reversed(select(events, journal.Recovered))), None)
    if last is None:
        return (), ("recovery was not observed",)
    limit = f"{started.recover_within:g} s"
    if last.seconds is None:
        reason = f"not recovered within {limit} of the end of the fault: {last.amiss}"
        return ((), (reason,)) if last.blameless else ((reason,), ())
    if last.seconds > started.recover_within:
        return (f"recovered after {last.seconds:.1f} s, promised {limit}",), ()
    return (), ()
