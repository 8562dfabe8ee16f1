"""The phases in which traffic is watched: before the fault (gate), until it shows, and while it is in force."""

from __future__ import annotations

from collections.abc import Sequence

from harness import journal as log
from harness.counts import Counts, spend, upper
from harness.errors import HarnessError
from harness.experiment.context import Context, History, Taken, live
from harness.experiment.sighting import Proof, at_full, see_share
from harness.faults import OnEach, Recurring, Replaced, Restarted, Scaled, Share
from harness.proof import ENOUGH_REQUESTS
from harness.series import Missing, Window
from harness.slo import SLO, Probe
from harness.verdict import Verdict

_GATE_EVENTS = 50
_REACH = 2.5  # scrapes before a kill among which the last one is looked for: one of them may have failed


def await_gate(context: Context, *, steady: bool) -> None:
    """Waits until traffic is flowing and counted, at a target that loses pods as well; nothing may be injected before.

    With `steady` neither the hypothesis nor what the recovery promises must be violated already. Raises HarnessError,
    saying what is amiss, when that is so or when too little was seen within the patience for the mesh.
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
    promised = (*experiment.hypothesis, *experiment.recovery)
    if steady and (amiss := _violated(promised, taken, experiment.confidence)):
        raise HarnessError(f"Gate not met, nothing was injected: {amiss} before the fault")


def await_evidence(context: Context, injected: float) -> bool:
    """Waits until the fault shows as asked for, or a guardrail is breached.

    That is the share of requests that it hits, the number of pods that it leaves, or what it runs in them; pods that
    it takes at once are for `observe` to see. A fault that rises is waited for until it is at its full strength.
    What the mesh may take until it copes with the fault (`mitigated_within`) has passed as well then.
    False when it did not show within the patience for the mesh; the journal then says what was
    seen instead.
    """
    evidence = context.evidence
    if not isinstance(evidence, Share | Scaled | OnEach):
        return True
    full = injected + _rise(evidence)
    guard, mitigated = Guard(context, injected), injected + context.experiment.mitigated_within
    while True:
        now = context.now()
        shown, text = at_full(context, evidence, full, now)
        context.watch.progress(_elapsed(context, injected), text)
        if shown and now >= mitigated:
            return True
        breached = guard.breached(context.count("inject", Window(injected, now)))
        late = (
            now - max(full, mitigated) > context.mesh.patience
            or now - injected > context.experiment.blast_radius.seconds
        )
        if breached or late:
            if isinstance(evidence, Share):
                see_share(context, evidence, Window(min(full, now), context.now()), "inject")
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
    proof = Proof(context, injected)
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


def _rise(evidence: Share | Scaled | OnEach) -> float:
    """Seconds that the fault takes by its nature until it shows."""
    match evidence:
        case Share():
            return evidence.after
        case OnEach():
            return evidence.within
    return 0.0


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
    if (
        not isinstance(evidence, Replaced | Recurring | Restarted | Scaled | OnEach)
        or not evidence.selector_all
    ):
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
