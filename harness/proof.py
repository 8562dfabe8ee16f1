"""What proves a fault: whether its evidence, as the journal has it, is what was asked for. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import counts as statistics
from harness import journal
from harness.counts import Counts
from harness.journal import Event, select

_EVIDENCE_CONFIDENCE = 0.999
_EVIDENCE_HITS = 10  # expected ones, so that none at all cannot pass for what was asked


ENOUGH_REQUESTS = 50
"""Requests a target must have had before its pods are taken: nobody can miss a pod that nobody asks."""


LEAST_TIMES = 2
"""How often pods have to be taken for it to have been again."""


def enough_requests(asked_percent: float, *, partial: bool = False) -> int:
    """The requests it takes to see whether the share that the fault hits is the one asked for."""
    if partial:
        return 1
    return math.ceil(_EVIDENCE_HITS * 100 / max(asked_percent, 1e-3))


def as_asked(asked_percent: float, seen: Counts, *, partial: bool = False) -> bool:
    """Whether the share of requests that the fault hit, the good ones of `seen`, is the one asked for.

    That is so when the share asked for is within the interval (99.9 %) that the counts leave to chance. A fault that
    is aimed at some of the requests only (`partial`) must not hit more. No hit at all is never what was asked for,
    and too few requests tell nothing.
    """
    if seen.good == 0 or seen.total < enough_requests(asked_percent, partial=partial):
        return False
    low, high = statistics.interval(seen, _EVIDENCE_CONFIDENCE)
    return low <= asked_percent / 100 and (partial or asked_percent / 100 <= high)


def is_shunned(asked_percent: float, seen: Sequence[journal.ShareSeen], *, partial: bool = False) -> bool:
    """Whether the fault hit enough requests as it began, and the target had none at all while it was observed.

    Callers that eject a pod ask it no more, so the harm is proven by what came before.
    """
    enough = enough_requests(asked_percent, partial=partial)
    began = any(one.phase == "inject" and one.hits >= enough for one in seen)
    return began and seen[-1].phase == "observe" and seen[-1].total == 0


def evidence(events: tuple[Event, ...], *, breached: bool) -> tuple[str, bool]:
    """What the evidence of a run shows, and whether it is what was asked for.

    `breached` says that a guardrail cut the fault short, so that it may not have come to its full strength.
    """
    resolved, injected = select(events, journal.Resolved), select(events, journal.Injected)
    if not resolved or not injected:
        return "no fault was injected", False
    refused = "; ".join(injected[0].refused)
    if refused and not injected[0].changes:
        return f"refused by the cluster, nothing was changed: {refused}", True
    text, seen = _shown(resolved[0], events, breached=breached)
    return f"{text}; refused by the cluster: {refused}" if refused else text, seen


def _shown(resolved: journal.Resolved, events: tuple[Event, ...], *, breached: bool) -> tuple[str, bool]:
    match resolved.evidence:
        case "none":
            return "no fault, so none", True
        case "replaced" | "restarted" | "recurring" as kind:
            return _taken(kind, select(events, journal.ReplacedSeen))
        case "scaled":
            return _scaled(select(events, journal.ScaledSeen), breached=breached)
        case "oneach":
            return _on_each(select(events, journal.PodsSeen), breached=breached)
    text, seen = _shares(resolved, events, breached=breached)
    places = sorted({place for event in select(events, journal.OutsideSeen) for place in event.places})
    if places:
        return f"{text}; it showed outside the target as well, at {', '.join(places)}", False
    return text, seen


def _shares(resolved: journal.Resolved, events: tuple[Event, ...], *, breached: bool) -> tuple[str, bool]:
    shares = select(events, journal.ShareSeen)
    if select(events, journal.Stopped) and not any(seen.phase == "observe" and seen.total for seen in shares):
        return f"asked {resolved.asked_percent:g} %, the run was stopped before it could be told", False
    if is_shunned(resolved.asked_percent, shares, partial=resolved.partial):
        hits = max(seen.hits for seen in shares)
        text = f"seen in {hits:,} requests at the target, which was not asked any more then"
        return f"asked {resolved.asked_percent:g} %, {text}", True
    return _share(resolved, shares[-1] if shares else None, breached=breached)


def _share(resolved: journal.Resolved, seen: journal.ShareSeen | None, *, breached: bool) -> tuple[str, bool]:
    asked, partial = resolved.asked_percent, resolved.partial
    if seen is None or seen.total == 0:
        return f"asked {asked:g} %, but no request reached the target, so the fault hit nothing", False
    counts = Counts(seen.hits, seen.total)
    low, high = statistics.interval(counts, _EVIDENCE_CONFIDENCE)
    text = f"asked {asked:g} %, seen {100 * seen.hits / seen.total:.3g} % of {seen.total:,} requests at the target"
    if breached and seen.hits:  # a breach cuts the ramp-up of the fault short
        return text, True
    if seen.phase == "observe" and as_asked(asked, counts, partial=partial):
        return text, True
    if seen.total < (enough := enough_requests(asked, partial=partial)):
        return f"{text}, {enough:,} are needed to tell", False
    return (
        f"{text} ({100 * low:.3g} to {100 * high:.3g} % at {100 * _EVIDENCE_CONFIDENCE:g} % confidence)",
        False,
    )


def _taken(kind: str, seen: Sequence[journal.ReplacedSeen]) -> tuple[str, bool]:
    if not seen:
        return "whether the pods were killed was not seen", False
    last = seen[-1]
    what = "proxies started again" if kind == "restarted" else "pods gone"
    text = f"{len(last.gone)} of {len(last.asked)} {what}, {last.ready} of {last.before} ready"
    if kind == "recurring":
        text = f"{text}, killed {last.times} times"
        if last.times < LEAST_TIMES:
            return f"{text}, {LEAST_TIMES} are needed to tell", False
    if last.spoiled:
        return (
            f"{text}; outside the target {len(last.spoiled)} pods were lost or started again as well",
            False,
        )
    if last.requests < ENOUGH_REQUESTS:
        had = f"the target had {last.requests} requests before, {ENOUGH_REQUESTS} are needed"
        return f"{text}, but the load did not reach the target: {had}", False
    return f"{text}, {last.requests:,} requests at the target before", bool(last.asked) and set(
        last.gone
    ) == set(last.asked)


def _scaled(seen: Sequence[journal.ScaledSeen], *, breached: bool) -> tuple[str, bool]:
    if not seen:
        return "whether the number of pods changed was not seen", False
    odd = [one for one in seen if one.phase == "observe" and not one.present == one.ready == one.asked]
    last = odd[0] if odd else seen[-1]
    text = f"{last.present} pods, {last.ready} of them ready, asked {last.asked}"
    if last.requests is not None and last.requests < ENOUGH_REQUESTS:
        had = f"the target had {last.requests} requests before, {ENOUGH_REQUESTS} are needed"
        return f"{text}, but the load did not reach the target: {had}", False
    if odd:
        return f"{text}: not as asked while the fault was observed", False
    shown = last.present == last.ready == last.asked
    return text, shown and (last.phase == "observe" or breached)


def _on_each(seen: Sequence[journal.PodsSeen], *, breached: bool) -> tuple[str, bool]:
    if not seen:
        return "whether the pods showed the fault was not seen", False
    odd = [one for one in seen if one.phase == "observe" and set(one.shown) != set(one.asked)]
    last = odd[0] if odd else seen[-1]
    text = f"{len(last.shown)} of {len(last.asked)} pods {last.sign}"
    if last.requests is not None and last.requests < ENOUGH_REQUESTS:
        had = f"the target had {last.requests} requests before, {ENOUGH_REQUESTS} are needed"
        return f"{text}, but the load did not reach the target: {had}", False
    if odd:
        return f"{text}: not as asked while the fault was observed", False
    shown = bool(last.asked) and set(last.shown) == set(last.asked)
    return text, shown and (last.phase == "observe" or breached)
