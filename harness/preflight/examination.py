"""All that preflight knows of, asked of one experiment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.caveats import Caveat
from harness.preflight.binding import unbound
from harness.preflight.budgets import budgets
from harness.preflight.callers import bare_callers, hidden_target, uncounted
from harness.preflight.ejection import default_5xx, no_ejection, no_failover
from harness.preflight.measurement import blind_reporter, short_window, undecidable
from harness.preflight.premises import Premises
from harness.preflight.retries import fault_before_policy, tries_beyond_timeout, uncovered_code

_QUESTIONS: tuple[Callable[[Premises], Iterable[Caveat]], ...] = (
    fault_before_policy,
    uncovered_code,
    tries_beyond_timeout,
    no_ejection,
    default_5xx,
    no_failover,
    bare_callers,
    uncounted,
    hidden_target,
    unbound,
    blind_reporter,
    short_window,
    undecidable,
    budgets,
)


def examine(premises: Premises) -> tuple[Caveat, ...]:
    """What the experiment cannot prove on these premises, what refuses it first; each caveat once."""
    found = dict.fromkeys(caveat for question in _QUESTIONS for caveat in question(premises))
    return tuple(sorted(found, key=lambda caveat: caveat.severity))
