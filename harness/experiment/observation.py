"""The phases in which traffic is watched: before the fault (gate), until it shows, and while it is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness import journal as log
from harness.counts import Counts, spend, upper
from harness.errors import HarnessError
from harness.experiment.context import Context, History, Taken, live
from harness.faults import NoEvidence, Replaced, Scaled, Share
from harness.proof import ENOUGH_REQUESTS, as_asked, enough_requests
from harness.series import Missing, Window
from harness.slo import SLO, Probe
from harness.verdict import Verdict

_GATE_EVENTS = 50
_REACH = 2.5  # scrapes before a kill among which the last one is looked for: one of them may have failed
_SETTLED = 2.2  # scrapes after the replacement: two, and some room for when each target is scraped


def await_gate(context: Context, *, steady: bool) -> None:
    """Waits until traffic is flowing and counted, at a target that loses pods as well; nothing may be injected before.

    With `steady` the hypothesis must not be violated already. Raises HarnessError, saying what is amiss,
    when that is so or when too little was seen within the patience for the mesh.
    """
    meter, experiment = context.meter, context.experiment
    start = context.now()
    while True:
        window = Window(start, context.now())
        taken = context.count("gate", window)
        scraped = meter.learn_interval(experiment.hypothesis, window) is not None
        lacking = _lacking(experiment.hypothesis, taken) or _untouched(context, window)
        lacking = lacking or _unscraped(context, window)
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


def await_evidence(context: Context, injected: float) -> bool:
    """Waits until the fault shows as asked for, or a guardrail is breached.

    That is the share of requests that it hits, or the number of pods that it leaves; pods that it takes at once are
    for `observe` to see. False when it did not show within the patience for the mesh; the journal then says what was
    seen instead.
    """
    evidence = context.evidence
    if not isinstance(evidence, Share | Scaled):
        return True
    guard = Guard(context, injected)
    while True:
        now = context.now()
        shown, text = _shown(context, evidence, injected, now)
        context.watch.progress(_elapsed(context, injected), text)
        if shown:
            return True
        breached = guard.breached(context.meter.take(context.experiment.guardrails, Window(injected, now)))
        if breached or now - injected > min(context.mesh.patience, context.experiment.blast_radius.seconds):
            if isinstance(evidence, Share):
                _see_share(context, evidence, Window(injected, context.now()), "inject")
            return False
        context.wait()


def observe(context: Context, injected: float) -> float | None:
    """Counts while the fault is in force.

    Ends when the verdict is certain, a guardrail is breached or the time is up. A fault that does its harm
    at once is counted from the last scrape before that moment on, and until the pods that it took are replaced
    and two scrapes have passed since: only the second may be later than the time is up. Gives the time at which
    they were seen replaced, if that happened (Unix seconds).
    """
    experiment = context.experiment
    context.meter.begin()
    momentary = context.evidence.momentary
    start = injected if momentary else context.now()
    reach = _REACH * (context.meter.interval or 0.0) if momentary else 0.0
    deadline = min(context.now() + experiment.observe, injected + experiment.blast_radius.seconds)
    history, guard = History(experiment.hypothesis, experiment), Guard(context, start)
    proof = _Proof(context, injected)
    while True:
        window = Window(start, context.now(), reach)
        taken = context.count("observe", window)
        history.add(taken)
        seen = proof.look(window)
        spent = 1.0 - max(0.0, deadline - window.end) / experiment.observe
        context.watch.progress(max(history.done(), spent), f"{live(experiment.hypothesis, taken)}{seen}")
        if guard.breached(taken) or (window.end >= deadline and not proof.settling):
            break
        verdicts = history.verdicts().values()
        known = not any(isinstance(taken[slo.sli], Missing) for slo in experiment.hypothesis)
        held = proof.settled and known and Verdict.INCONCLUSIVE not in verdicts
        if proof.given and (Verdict.VIOLATED in verdicts or held):
            break
        context.wait()
    return proof.replaced_at


class Guard:
    """The guardrails of a run over the counts of one phase: over all of it, and over its last scrapes.

    All of it tells what breaks a promise by little; of what begins late it would tell late. Both keep the stated
    error whatever the number of looks: the k-th look at the last scrapes has 1 / (k (k + 1)) of a part of it.
    """

    def __init__(self, context: Context, since: float) -> None:
        self._context = context
        self._since = since
        self._looks = 0
        self._history = History(context.experiment.guardrails, context.experiment)

    def breached(self, taken: Taken) -> bool:
        """Whether a guardrail is violated by now; the journal says which one."""
        self._history.add(taken)
        for slo, verdict in self._history.verdicts().items():
            counts = taken[slo.sli]
            if verdict is Verdict.VIOLATED and isinstance(counts, Counts):
                return self._say(slo, counts)
        return self._breached_lately()

    def _breached_lately(self) -> bool:
        context, self._looks = self._context, self._looks + 1
        rails = [slo for slo in context.experiment.guardrails if not isinstance(slo.sli, Probe)]
        if not rails:
            return False
        now = context.now()
        lately = context.meter.take(
            rails, Window(max(self._since, now - _REACH * (context.meter.interval or 1.0)), now)
        )
        level = spend(self._history.errors.violated, self._looks)
        for slo in rails:
            counts = lately[slo.sli]
            if isinstance(counts, Counts) and counts.bad and upper(counts, level) < slo.at_least:
                return self._say(slo, counts)
        return False

    def _say(self, slo: SLO, counts: Counts) -> bool:
        event = log.GuardrailBreached(self._context.now(), slo.name, counts.good, counts.total)
        self._context.journal.write(event)
        return True


@dataclass
class _Proof:
    """Whether the evidence of the fault was seen while it was observed, and whether all its harm was."""

    context: Context
    injected: float
    given: bool = False
    settled: bool = True
    replaced_at: float | None = None
    _requests: int | None = None
    _last: log.ReplacedSeen | None = None

    @property
    def settling(self) -> bool:
        """The pods are replaced, and the scrapes that show the end of the harm are awaited."""
        return self.replaced_at is not None and not self.settled

    def look(self, window: Window) -> str:
        """Looks for the evidence, writes it to the journal and describes it for people."""
        evidence = self.context.evidence
        if isinstance(evidence, NoEvidence):
            self.given = True
            return ""
        if isinstance(evidence, Share):
            seen = _see_share(self.context, evidence, window, "observe")
            self.given = isinstance(seen, Counts) and as_asked(
                evidence.percent, seen, partial=evidence.partial
            )
            return f", fault seen in {_percent(seen)} of requests"
        if isinstance(evidence, Scaled):
            return self._scaled(evidence)
        return self._replaced(evidence)

    def _replaced(self, evidence: Replaced) -> str:
        now = self.context.now()
        ready, alive = self.context.pods_ready()
        before = len(self.context.scene.pods)
        gone = tuple(uid for uid in evidence.uids if uid not in alive)
        requests = self._before(evidence)
        self.given = len(gone) == len(evidence.uids) and requests >= ENOUGH_REQUESTS
        if len(gone) == len(evidence.uids) and ready >= before and self.replaced_at is None:
            self.replaced_at = now
        wait = _SETTLED * (self.context.meter.interval or 1.0)
        self.settled = self.replaced_at is not None and now - self.replaced_at >= wait
        event = log.ReplacedSeen(0.0, evidence.uids, gone, ready, before, requests, self.settled)
        if event != self._last:
            self._last = event
            self.context.journal.write(replace(event, at=now))
        return f", {len(gone)} of {len(evidence.uids)} pods gone, {ready} of {before} ready"

    def _scaled(self, evidence: Scaled) -> str:
        requests = self._before(evidence) if evidence.selector_all else None
        event = _see_scaled(self.context, evidence, "observe", requests)
        asked = event.present == event.ready == event.asked
        self.given = asked and (requests is None or requests >= ENOUGH_REQUESTS)
        return f", {event.present} pods of {evidence.workloads}, {event.asked} asked for"

    def _before(self, evidence: Replaced | Scaled) -> int:
        """The requests of the target from the gate to the kill; they are asked for once."""
        if self._requests is None:
            started = log.select(self.context.journal.events, log.PhaseStarted)
            gate = next((event.at for event in started if event.phase == "gate"), self.injected)
            seen = self.context.meter.requests(evidence, Window(gate, self.injected))
            self._requests = seen.total if isinstance(seen, Counts) else 0
        return self._requests


def _shown(context: Context, evidence: Share | Scaled, injected: float, now: float) -> tuple[bool, str]:
    """Whether the fault shows as asked for, and what is seen of it."""
    if isinstance(evidence, Scaled):
        seen = _see_scaled(context, evidence, "inject", None)
        return seen.present == seen.ready == seen.asked, f"{seen.present} of {seen.asked} pods left"
    share = _recent(context, evidence, injected, now)
    shown = isinstance(share, Counts) and as_asked(evidence.percent, share, partial=evidence.partial)
    return shown, f"fault seen in {_percent(share)} of requests"


def _see_share(context: Context, evidence: Share, window: Window, phase: str) -> Counts | Missing:
    (seen,) = context.meter.share(evidence, [window])
    if isinstance(seen, Counts):
        context.journal.write(log.ShareSeen(context.now(), phase, seen.good, seen.total))
    return seen


def _see_scaled(context: Context, evidence: Scaled, phase: str, requests: int | None) -> log.ScaledSeen:
    """Counts the pods and writes that to the journal."""
    present, ready = context.strength(evidence.workloads)
    event = log.ScaledSeen(context.now(), phase, evidence.replicas, present, ready, requests)
    context.journal.write(event)
    return event


def _recent(context: Context, evidence: Share, injected: float, now: float) -> Counts | Missing:
    """The latest requests of the target: the shortest time before now in which enough of them were counted."""
    scrape = context.meter.interval or 1.0
    windows = [Window(max(injected, now - scrapes * scrape), now) for scrapes in (2.5, 5, 10, 20)]
    seen = context.meter.share(evidence, windows)
    needed = enough_requests(evidence.percent, partial=evidence.partial)
    enough = [one for one in seen if isinstance(one, Counts) and one.total >= needed]
    return enough[0] if enough else seen[-1]


def _lacking(slos: Sequence[SLO], taken: Taken) -> str:
    """Which traffic has not been seen yet, as a phrase; empty when there is enough of all."""
    for slo in slos:
        found = taken[slo.sli]
        wanted = 1 if isinstance(slo.sli, Probe) else _GATE_EVENTS
        if isinstance(found, Missing):
            return f"no traffic for {slo.name}: {found.value}"
        if found.total < wanted:
            return (
                f"too little traffic for {slo.name}: {found.total} of the {wanted} events it takes to begin"
            )
    return ""


def _untouched(context: Context, window: Window) -> str:
    """Why it would teach nothing to take pods from the target, as a phrase; empty when it has requests to lose."""
    evidence, target = context.evidence, context.scene.target
    if not isinstance(evidence, Replaced | Scaled) or not evidence.selector_all:
        return ""
    seen = context.meter.requests(evidence, window)
    if isinstance(seen, Missing):
        return f"the load did not reach the target {target}: {seen.value}"
    if seen.total < ENOUGH_REQUESTS:
        return f"the load did not reach the target {target}: {seen.total} of the {ENOUGH_REQUESTS} requests needed"
    return ""


def _unscraped(context: Context, window: Window) -> str:
    """Which pods of the target nobody counts at, as a phrase; empty when all are scraped, or nobody can tell."""
    pods = context.meter.unscraped(context.scene.pods, window)
    return f"Prometheus does not scrape {', '.join(pods)} of {context.scene.target}" if pods else ""


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
