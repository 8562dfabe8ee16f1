"""Whether what was measured in a run can be believed: what forbids HELD however good the counts are. Pure."""

from __future__ import annotations

from harness import counts as statistics
from harness import journal
from harness.counts import Counts
from harness.journal import Event, select


def obstacles(events: tuple[Event, ...]) -> tuple[str, ...]:
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
        known = sum(counts.bad for event in last.values() if (counts := event.counts) is not None)
        seen = Counts(sent - max(0, failed - known), sent)
        if objective.answers and statistics.upper(seen, 1.0 - started.confidence) < objective.at_least:
            reasons.append(
                f"{objective.name}: the counters know of {known:,} failures in the whole run, but of the load"
                f" generator's {sent:,} requests {failed:,} failed"
            )
    return tuple(reasons)


def doubtful(started: journal.RunStarted, events: tuple[Event, ...]) -> tuple[str, ...]:
    """Why the counts of a run may be wrong or incomplete; empty when they can be believed."""
    return (*_unsettled(events), *_contradicted(started, events))
