"""The phases in which traffic is watched: before the fault (gate), until it shows, and while it is in force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness import journal as log
from harness.counts import Counts, interval, upper
from harness.errors import HarnessError
from harness.experiment.context import Context, History, Taken, live
from harness.faults import NoEvidence, Replaced, Share
from harness.series import Missing, Window
from harness.slo import SLO, Ratio
from harness.verdict import Verdict

_GATE_EVENTS = 50
_EVIDENCE_HITS = 10  # expected ones, so that none at all cannot pass for what was asked
_EVIDENCE_CONFIDENCE = 0.999


def await_gate(context: Context, *, steady: bool) -> None:
    """Waits until traffic is flowing and counted; nothing may be injected before.

    With `steady` the hypothesis must not be violated already. Raises HarnessError, saying what is amiss,
    when that is so or when too little was seen within the patience for the mesh.
    """
    meter, experiment = context.meter, context.experiment
    start = context.now()
    while True:
        window = Window(start, context.now())
        taken = context.count("gate", window)
        scraped = meter.learn_interval(experiment.hypothesis, window) is not None
        lacking = _lacking(experiment.hypothesis, taken)
        context.watch.progress(_elapsed(context, start), live(experiment.hypothesis, taken))
        if scraped and not lacking:
            break
        if window.end - start > context.mesh.patience:
            what = lacking or "fewer than three scrapes were seen; be more patient than three of them take"
            raise HarnessError(
                f"Gate not met after {context.mesh.patience:g} s, nothing was injected: {what}"
            )
        context.wait()
    if steady and (amiss := _violated(experiment.hypothesis, taken, experiment.confidence)):
        raise HarnessError(f"Gate not met, nothing was injected: {amiss} before the fault")


def await_share(context: Context, injected: float) -> bool:
    """Waits until the share of requests that the fault hits is the one asked for, or a guardrail is breached.

    False when that did not happen within the patience for the mesh; the journal then says what was seen
    instead.
    """
    evidence = context.evidence
    if not isinstance(evidence, Share):
        return True
    guard = Guard(context)
    while True:
        now = context.now()
        seen = _recent(context, evidence, injected, now)
        context.watch.progress(_elapsed(context, injected), f"fault seen in {_percent(seen)} of requests")
        if _as_asked(evidence, seen):
            return True
        if guard.breached(context.meter.take(context.experiment.guardrails, Window(injected, now))):
            _see_share(context, evidence, Window(injected, context.now()))
            return False
        if now - injected > min(context.mesh.patience, context.experiment.blast_radius.seconds):
            _see_share(context, evidence, Window(injected, now))
            return False
        context.wait()


def observe(context: Context, injected: float) -> float | None:
    """Counts while the fault is in force.

    Ends when the verdict is certain, a guardrail is breached or the time is up. A fault that does its harm
    at once is observed from before that moment on. Gives the time at which the pods that it took were seen
    replaced, if that happened (Unix seconds).
    """
    experiment = context.experiment
    context.meter.begin()
    start = injected - 1.5 * (context.meter.interval or 0.0) if context.evidence.momentary else context.now()
    deadline = min(context.now() + experiment.observe, injected + experiment.blast_radius.seconds)
    history, guard = History(experiment.hypothesis, experiment.confidence), Guard(context)
    proof = _Proof(context)
    while True:
        window = Window(start, context.now())
        taken = context.count("observe", window)
        history.add(taken)
        seen = proof.look(window)
        spent = 1.0 - max(0.0, deadline - window.end) / experiment.observe
        context.watch.progress(max(history.done(), spent), f"{live(experiment.hypothesis, taken)}{seen}")
        if guard.breached(taken) or window.end >= deadline:
            break
        verdicts = history.verdicts().values()
        certain = Verdict.VIOLATED in verdicts or Verdict.INCONCLUSIVE not in verdicts
        if proof.given and certain:
            break
        context.wait()
    return proof.replaced_at


class Guard:
    """The guardrails of a run over the counts of one phase."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._history = History(context.experiment.guardrails, context.experiment.confidence)

    def breached(self, taken: Taken) -> bool:
        """Whether a guardrail is violated by now; the journal says which one."""
        self._history.add(taken)
        for slo, verdict in self._history.verdicts().items():
            counts = taken[slo.sli]
            if verdict is Verdict.VIOLATED and isinstance(counts, Counts):
                event = log.GuardrailBreached(self._context.now(), slo.name, counts.good, counts.total)
                self._context.journal.write(event)
                return True
        return False


@dataclass
class _Proof:
    """Whether the evidence of the fault was seen while it was observed."""

    context: Context
    given: bool = False
    replaced_at: float | None = None
    _last: tuple[int, int] = field(default=(-1, -1))

    def look(self, window: Window) -> str:
        """Looks for the evidence, writes it to the journal and describes it for people."""
        evidence = self.context.evidence
        if isinstance(evidence, NoEvidence):
            self.given = True
            return ""
        if isinstance(evidence, Share):
            seen = _see_share(self.context, evidence, window)
            self.given = isinstance(seen, Counts) and seen.good > 0
            return f", fault seen in {_percent(seen)} of requests"
        return self._replaced(evidence)

    def _replaced(self, evidence: Replaced) -> str:
        ready, alive = self.context.pods_ready()
        before = len(self.context.scene.pods)
        gone = tuple(uid for uid in evidence.uids if uid not in alive)
        self.given = len(gone) == len(evidence.uids)
        if (len(gone), ready) != self._last:
            self._last = len(gone), ready
            event = log.ReplacedSeen(self.context.now(), evidence.uids, gone, ready, before)
            self.context.journal.write(event)
        if self.given and ready >= before and self.replaced_at is None:
            self.replaced_at = self.context.now()
        return f", {len(gone)} of {len(evidence.uids)} pods gone, {ready} of {before} ready"


def _see_share(context: Context, evidence: Share, window: Window) -> Counts | Missing:
    (seen,) = context.meter.share(evidence, [window])
    if isinstance(seen, Counts):
        context.journal.write(log.ShareSeen(context.now(), "observe", seen.good, seen.total))
    return seen


def _recent(context: Context, evidence: Share, injected: float, now: float) -> Counts | Missing:
    """The latest requests of the target: the shortest time before now in which enough of them were counted."""
    scrape = context.meter.interval or 1.0
    windows = [Window(max(injected, now - scrapes * scrape), now) for scrapes in (2.5, 5, 10, 20)]
    seen = context.meter.share(evidence, windows)
    enough = [one for one in seen if isinstance(one, Counts) and one.total >= _enough(evidence)]
    return enough[0] if enough else seen[-1]


def _enough(evidence: Share) -> int:
    """The requests it takes to see whether the share of hits is the one asked for."""
    return math.ceil(_EVIDENCE_HITS * 100 / max(evidence.percent, 1e-3))


def _as_asked(evidence: Share, seen: Counts | Missing) -> bool:
    if isinstance(seen, Missing) or seen.total < _enough(evidence):
        return False
    low, high = interval(seen, _EVIDENCE_CONFIDENCE)
    return low <= evidence.percent / 100 <= high


def _lacking(slos: Sequence[SLO], taken: Taken) -> str:
    """Which traffic has not been seen yet, as a phrase; empty when there is enough of all."""
    for slo in slos:
        found = taken[slo.sli]
        wanted = _GATE_EVENTS if isinstance(slo.sli, Ratio) else 1
        if isinstance(found, Missing):
            return f"no traffic for {slo.name}: {found.value}"
        if found.total < wanted:
            return (
                f"too little traffic for {slo.name}: {found.total} of the {wanted} events it takes to begin"
            )
    return ""


def _violated(slos: Sequence[SLO], taken: Taken, confidence: float) -> str:
    for slo in slos:
        found = taken[slo.sli]
        if isinstance(found, Missing):
            continue
        if upper(found, 1.0 - confidence) < slo.at_least and found.bad:
            return f"{slo.name} was already violated with {found} good"
    return ""


def _elapsed(context: Context, since: float) -> float:
    return min(1.0, (context.now() - since) / context.mesh.patience)


def _percent(seen: Counts | Missing) -> str:
    return f"{seen.good / seen.total:.1%}" if isinstance(seen, Counts) and seen.total else "none"
