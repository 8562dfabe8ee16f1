"""From the journal to a verdict, purely: the same journal always gives the same judgement.

Which error is stated and how it is kept is told in harness.assessment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness import counts as statistics
from harness import journal
from harness.assessment import Errors, Verdict, assess, describe, lacking
from harness.counts import Counts
from harness.journal import Event, Objective, select
from harness.proof import evidence
from harness.soundness import doubtful, obstacles

__all__ = ["Finding", "Judgement", "Verdict", "judge", "merge"]


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
        stops = (*(obstacles(every) or (proof,)), *blame)
        return Judgement(Verdict.INCONCLUSIVE, tuple(dict.fromkeys(stops)), findings, proof)
    if violations:
        return Judgement(
            Verdict.VIOLATED,
            (*violations, *obstacles(every), *unproven, *_overridden(every)),
            findings,
            proof,
        )
    doubts = (
        *obstacles(every),
        *_reasons(findings, Verdict.INCONCLUSIVE),
        *unproven,
        *doubtful(started, every),
    )
    if doubts:
        return Judgement(Verdict.INCONCLUSIVE, tuple(dict.fromkeys(doubts)), findings, proof)
    return Judgement(Verdict.HELD, (*_reasons(findings, Verdict.HELD), *_overridden(every)), findings, proof)


def _overridden(events: tuple[Event, ...]) -> tuple[str, ...]:
    """What takes from a definite verdict: the run would have been refused for it, and was begun nevertheless."""
    found = (event.caveat for event in select(events, journal.Cautioned))
    return tuple(
        f"preflight would have refused this run and was overridden: {caveat}"
        for caveat in found
        if caveat.overridden
    )


def _findings(started: journal.RunStarted, events: tuple[Event, ...]) -> tuple[Finding, ...]:
    errors = Errors.of(started.confidence, started.objectives, started.guardrails)
    findings = []
    for objective in started.objectives:
        mine = [event for event in select(events, journal.Counted) if event.slo == objective.name]
        observed = [event for event in mine if event.phase == "observe"]
        findings.append(_observed(objective, observed, started.confidence, errors))
        recovered = [counts for event in mine if event.phase == "recover" and (counts := event.counts)]
        if recovered and recovered[-1].total:
            findings.append(_after(objective, recovered[-1], started.confidence, errors))
    return tuple(findings)


def _observed(
    objective: Objective, events: Sequence[journal.Counted], confidence: float, errors: Errors
) -> Finding:
    counted = [counts for event in events if (counts := event.counts) is not None]
    if not counted or events[-1].counts is None:
        why = f" ({events[-1].missing})" if events and events[-1].missing else ""
        reason = f"{objective.name}: could not be counted while the fault was observed{why}"
        return Finding(
            objective.name, "observe", objective.at_least, None, None, Verdict.INCONCLUSIVE, reason
        )
    verdict = assess(objective, counted, errors)
    reason = describe(objective, counted[-1], confidence)
    if verdict is Verdict.INCONCLUSIVE:
        reason += lacking(objective, counted[-1], errors)
    return _finding(objective, "observe", counted[-1], confidence, verdict=verdict, reason=reason)


def _after(objective: Objective, counts: Counts, confidence: float, errors: Errors) -> Finding:
    """The recover phase is too short to prove an objective; it can only contradict it."""
    bad = assess(objective, [counts], errors) is Verdict.VIOLATED
    verdict = Verdict.VIOLATED if bad else Verdict.HELD
    reason = describe(objective, counts, confidence)
    return _finding(objective, "recover", counts, confidence, verdict=verdict, reason=reason)


def _finding(
    objective: Objective, phase: str, counts: Counts, confidence: float, *, verdict: Verdict, reason: str
) -> Finding:
    bounds = statistics.interval(counts, confidence)
    return Finding(objective.name, phase, objective.at_least, counts, bounds, verdict, f"{reason} [{phase}]")


def _reasons(findings: Sequence[Finding], verdict: Verdict) -> tuple[str, ...]:
    return tuple(finding.reason for finding in findings if finding.verdict is verdict)


def _breach(event: journal.GuardrailBreached) -> str:
    return f"guardrail {event.slo} breached: {Counts(event.good, event.total)} good, reverted at once"


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
