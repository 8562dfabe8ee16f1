"""Whether what was measured in a run can be believed: what forbids HELD however good the counts are. Pure."""

from __future__ import annotations

import math

from harness import counts as statistics
from harness import journal
from harness.counts import Counts
from harness.journal import Event, select

_BUSY = 0.9  # of a core
_SCHEDULE = 0.8  # of the rate asked for
_STARVED = 0.5  # of the rate that its users could keep, given the answers they got
_INEXACT = 0.01  # of what was sent: redirects, health checks of others, and a scrape that takes its time


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


def doubtful(started: journal.RunStarted, events: tuple[Event, ...]) -> tuple[str, ...]:
    """Why the counts of a run may be wrong or incomplete; empty when they can be believed."""
    return (
        *_unsettled(events),
        *_contradicted(started, events),
        *_overloaded(events),
        *_behind(started, events),
        *_unreconciled(events),
    )


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


def _overloaded(events: tuple[Event, ...]) -> tuple[str, ...]:
    """A load generator without time to spare measures itself: its latencies, its rate, its timeouts."""
    return tuple(
        f"the load generator used {100 * event.cpu:.0f} % of a core in {event.phase}, at most"
        f" {100 * _BUSY:.0f} % leave it time to measure anything but itself; lower the rate"
        for event in select(events, journal.LoadWatched)
        if event.cpu > _BUSY
    )


def _behind(started: journal.RunStarted, events: tuple[Event, ...]) -> tuple[str, ...]:
    """Whether requests were sent later than they should have been.

    Users who wait for slow answers send less than was asked for. That leaves fewer requests to count, which the verdict
    takes into account; but latencies are better with less traffic, and what was not sent cannot be served. A generator
    that sends far less than its users could with such answers has been too slow itself.
    """
    loads = select(events, journal.LoadReported)
    if not loads or not loads[-1].sent:
        return ()
    last, reasons = loads[-1], []
    told = f"{last.rate:.0f} requests/s of the {last.asked:g} asked for, with answers after {1000 * last.mean:.0f} ms"
    paced = [objective.name for objective in started.objectives if objective.paced]
    if paced and last.rate < _SCHEDULE * last.asked:
        reasons.append(f"the load fell behind its schedule, {told}: {', '.join(paced)} not tested; add users")
    possible = min(last.asked, last.users / last.mean) if last.mean else last.asked
    if last.rate < _STARVED * possible:
        reasons.append(
            f"the load generator fell behind its own schedule, {told}: it was too busy, lower the rate"
        )
    return tuple(reasons)


def _unreconciled(events: tuple[Event, ...]) -> tuple[str, ...]:
    """Where the entry counted other requests than were sent, beyond what was in flight or between two scrapes.

    Failed requests need not have reached the entry. Others may come in where the load generator is not alone.
    """
    loads, counted = select(events, journal.LoadReported), select(events, journal.EntryCounted)
    if not loads or not counted:
        return ()
    load, total = loads[-1], counted[-1].total
    if total is None:
        return (f"what the entry counted cannot be compared with what was sent: {counted[-1].missing}",)
    explained = load.users + counted[-1].edge + math.ceil(_INEXACT * load.sent)
    if total < load.sent - load.failed - explained:
        what = "the counters miss requests"
    elif load.alone and total > load.sent + explained:
        what = (
            "others use the entry as well (then say alone=False of the load), or something is counted twice"
        )
    else:
        return ()
    return (
        f"the load generator sent {load.sent:,} requests, the entry counted {total:,}, and {explained:,} is all that"
        f" could be explained: {what}",
    )
