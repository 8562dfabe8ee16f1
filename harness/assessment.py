"""What the counts of an objective say: HELD, VIOLATED, or INCONCLUSIVE while they do not tell.

How the stated error is kept. Let `alpha` be 1 - confidence. In each phase either definite verdict about a run is wrong
with at most the probability alpha / 2, whatever the true shares of good events are (events taken as independent), and
although the counts are looked at again and again: both come from a sequential test (harness.sequential), which is why
a phase ends as soon as the answer is certain, and at no other moment is anything lost by looking.

Several objectives: a run is HELD only if all of them are, so whoever wrongly says HELD was wrong about one that is not,
and nothing has to be corrected (an intersection-union test). A run is VIOLATED as soon as one of them is, or one of
the guardrails, so these share alpha / 2 in equal parts (Bonferroni); a guardrail has two of them, for it is looked at
over the whole phase and over the last scrapes. Holm's procedure would name further violated
objectives sooner after the first; the verdict itself would be the same.

An objective of 1.0 has no such error for VIOLATED: one bad event contradicts "every". Its HELD says how many events
were seen, and which share could still be bad unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import log

from harness import counts as statistics
from harness.counts import Counts
from harness.journal import Objective
from harness.sequential import for_held, for_violated, would_take


class Verdict(IntEnum):
    """Ordered so that the worst of several is their maximum."""

    HELD = 0
    INCONCLUSIVE = 1
    VIOLATED = 2


@dataclass(frozen=True)
class Errors:
    """With which probability, at most, HELD and VIOLATED may be said of one objective although they are wrong."""

    held: float
    violated: float

    @classmethod
    def of(
        cls, confidence: float, objectives: Iterable[Objective], guardrails: Iterable[Objective] = ()
    ) -> Errors:
        """The errors of each objective, and of each of the two ways to look at a guardrail, at that confidence."""
        uncertain = sum(one.at_least < 1.0 for one in (*objectives, *guardrails, *guardrails))
        half = (1.0 - confidence) / 2
        return cls(half, half / max(1, uncertain))


def assess(objective: Objective, counted: Sequence[Counts], errors: Errors) -> Verdict:
    """What the growing counts of one phase say about an objective; INCONCLUSIVE while they do not tell.

    `counted` is every count so far, in order. VIOLATED stands once it has fallen. HELD speaks of the last count, so
    more events may take it back, and it never falls before the objective's `planned` number of events.
    """
    if any(_violates(objective, counts, errors) for counts in counted):
        return Verdict.VIOLATED
    if counted and _holds(objective, counted[-1], errors):
        return Verdict.HELD
    return Verdict.INCONCLUSIVE


def describe(objective: Objective, counts: Counts, confidence: float) -> str:
    """The counts, what they say about the true share, what was promised and how fast the budget burns, as a phrase."""
    if counts.total == 0:
        return f"{objective.name}: no event was counted, so nothing can be said about it"
    low, high = statistics.interval(counts, confidence)
    promised = "every one" if objective.at_least >= 1.0 else f"{100 * objective.at_least:.6g} %"
    unsure = f", {counts.unsure:,} in a bucket that does not tell" if counts.unsure else ""
    return (
        f"{objective.name}: {counts.good:,} of {counts.total:,} good{unsure} = {100 * counts.good / counts.total:.4g} %"
        f" ({100 * low:.5g} to {100 * high:.5g} % at {100 * confidence:g} % confidence), promised {promised}"
        f"{_burning(objective, counts)}"
    )


def burn_rate(objective: Objective, counts: Counts) -> float | None:
    """How many times faster than allowed the error budget is used up: 1 uses it up just in time, 0 not at all.

    None without events, and without a budget, which an objective of 1.0 does not have.
    """
    if counts.total == 0 or objective.at_least >= 1.0:
        return None
    return counts.bad / counts.total / objective.error_budget


def lacking(objective: Objective, counts: Counts, errors: Errors) -> str:
    """Why the counts do not tell, and the number of events it would have taken, as a phrase to append."""
    if counts.total < objective.planned:
        return f"; only {counts.total:,} events, at least {objective.planned:,} are needed to tell"
    if objective.at_least >= 1.0:
        return "; too close to tell"
    wanted = would_take(counts, objective.at_least, alpha=min(errors.held, errors.violated))
    if wanted is None:
        return "; too close to tell, and with such a share no number of events would"
    return f"; too close to tell, {wanted:,} events with as few failures would be needed"


def _violates(objective: Objective, counts: Counts, errors: Errors) -> bool:
    if objective.at_least >= 1.0:
        return counts.bad > 0
    return for_violated(counts, objective.at_least) >= -log(errors.violated)


def _holds(objective: Objective, counts: Counts, errors: Errors) -> bool:
    if counts.total < objective.planned:
        return False
    if objective.at_least >= 1.0:
        return counts.good == counts.total
    return for_held(counts, objective.at_least) >= -log(errors.held)


def _burning(objective: Objective, counts: Counts) -> str:
    rate = burn_rate(objective, counts)
    if rate is None:
        return ""
    return f", burning its error budget of {100 * objective.error_budget:.4g} % at {rate:.3g} times the rate allowed"
