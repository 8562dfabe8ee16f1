"""What is seen of a fault while it is in force, by the kind of its evidence, and written to the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness import journal as log
from harness.counts import Counts
from harness.experiment.context import Context
from harness.faults import NoEvidence, OnEach, Pod, Recurring, Replaced, Restarted, Scaled, Share
from harness.proof import ENOUGH_REQUESTS, LEAST_TIMES, as_asked, enough_requests, is_shunned
from harness.series import Missing, Window

_LATELY = 2.5  # scrapes: two at least
_SETTLED = 2.2  # scrapes after the replacement: two, and some room for when each target is scraped


@dataclass
class Proof:
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
        match self.context.evidence:
            case NoEvidence():
                self.given = True
                return ""
            case Share() as evidence:
                seen = see_share(self.context, evidence, window, "observe")
                _see_outside(self.context, evidence, window, self._calm)
                before = log.select(self.context.journal.events, log.ShareSeen)
                self.given = isinstance(seen, Counts) and (
                    as_asked(evidence.percent, seen, partial=evidence.partial)
                    or is_shunned(evidence.percent, before, partial=evidence.partial)
                )
                return f", fault seen in {_percent(seen)} of requests"
            case Scaled() as evidence:
                return self._scaled(evidence)
            case OnEach() as evidence:
                return self._on_each(evidence)
            case Recurring() as evidence:
                return self._recurring(evidence)
            case Replaced() | Restarted() as evidence:
                return self._taken(evidence)

    def _taken(self, evidence: Replaced | Restarted) -> str:
        """Pods that were replaced, or a container of theirs: once, all at the beginning."""
        now, pods = self.context.now(), self.context.pods()
        asked, done, spoiled = lost(evidence, self.context.scene.pods, pods)
        event = self._counted(evidence, asked, done, spoiled, pods)
        all_done = len(done) == len(asked)
        self.given = all_done and event.requests >= ENOUGH_REQUESTS
        if all_done and event.ready >= event.before and self.replaced_at is None:
            self.replaced_at = now
        wait = _SETTLED * (self.context.meter.interval or 1.0)
        self.settled = self.replaced_at is not None and now - self.replaced_at >= wait
        self._write(replace(event, settled=self.settled))
        what = "pods gone" if isinstance(evidence, Replaced) else "proxies ended"
        return f", {len(done)} of {len(asked)} {what}, {event.ready} of {event.before} ready"

    def _recurring(self, evidence: Recurring) -> str:
        """Pods that are taken again and again: all of them so far."""
        more = log.select(self.context.journal.events, log.Continued)
        asked = (*evidence.uids, *(uid for event in more for uid in event.uids))
        times = 1 + sum(bool(event.uids) for event in more)
        pods = self.context.pods()
        _, gone, spoiled = lost(Replaced(asked, evidence.selector_all), self.context.scene.pods, pods)
        event = self._counted(evidence, asked, gone, spoiled, pods)
        self.given = len(gone) == len(asked) and times >= LEAST_TIMES and event.requests >= ENOUGH_REQUESTS
        self._write(replace(event, times=times, settled=True))
        return f", {len(gone)} pods gone in {times} times, {event.ready} of {event.before} ready"

    def _counted(
        self,
        evidence: Replaced | Recurring | Restarted,
        asked: tuple[str, ...],
        done: tuple[str, ...],
        spoiled: tuple[str, ...],
        pods: Sequence[Pod],
    ) -> log.ReplacedSeen:
        ready = sum(pod.ready and not pod.terminating for pod in pods)
        before, requests = len(self.context.scene.pods), self._before(evidence)
        return log.ReplacedSeen(0.0, asked, done, ready, before, requests, spoiled=spoiled)

    def _write(self, event: log.ReplacedSeen) -> None:
        """Writes it unless it is what was written last."""
        if event != self._last:
            self._last = event
            self.context.journal.write(replace(event, at=self.context.now()))

    def _scaled(self, evidence: Scaled) -> str:
        requests = self._before(evidence) if evidence.selector_all else None
        event = _see_scaled(self.context, evidence, "observe", requests)
        asked = event.present == event.ready == event.asked
        self.given = asked and (requests is None or requests >= ENOUGH_REQUESTS)
        return f", {event.present} pods of {evidence.workloads}, {event.asked} asked for"

    def _on_each(self, evidence: OnEach) -> str:
        requests = self._before(evidence) if evidence.selector_all else None
        event = _see_pods(self.context, evidence, "observe", requests)
        enough = requests is None or requests >= ENOUGH_REQUESTS
        self.given = set(event.shown) == set(event.asked) and enough
        return f", {len(event.shown)} of {len(event.asked)} pods {event.sign}"

    def _before(self, evidence: Replaced | Recurring | Restarted | Scaled | OnEach) -> int:
        """The requests of the target from the gate to the kill; they are asked for once."""
        if self._requests is None:
            seen = self.context.meter.requests(evidence, self._calm)
            self._requests = seen.total if isinstance(seen, Counts) else 0
        return self._requests

    @property
    def _calm(self) -> Window:
        """From the gate to the injection."""
        started = log.select(self.context.journal.events, log.PhaseStarted)
        gate = next((event.at for event in started if event.phase == "gate"), self.injected)
        return Window(gate, self.injected)


def at_full(context: Context, evidence: Share | Scaled | OnEach, full: float, now: float) -> tuple[bool, str]:
    """Whether the fault shows as asked for, and what is seen of it; `full` is when it has come to its full strength."""
    if isinstance(evidence, Scaled):
        seen = _see_scaled(context, evidence, "inject", None)
        return seen.present == seen.ready == seen.asked, f"{seen.present} of {seen.asked} pods left"
    if isinstance(evidence, OnEach):
        told = _see_pods(context, evidence, "inject", None)
        return set(told.shown) == set(told.asked), f"{len(told.shown)} of {len(told.asked)} pods {told.sign}"
    if now <= full:
        return False, f"rising for {full - now:.0f} s more"
    share = _recent(context, evidence, full, now)
    shown = isinstance(share, Counts) and as_asked(evidence.percent, share, partial=evidence.partial)
    if not shown and not _is_shunned(context, evidence, full, now):
        return False, f"fault seen in {_percent(share)} of requests"
    see_share(context, evidence, _since(context, full, now), "inject")
    return True, f"fault seen in {_percent(share)} of requests"


def see_share(context: Context, evidence: Share, window: Window, phase: str) -> Counts | Missing:
    """Counts the requests that the fault hits, and writes that to the journal."""
    (seen,) = context.meter.share(evidence, [window])
    if isinstance(seen, Counts):
        context.journal.write(log.ShareSeen(context.now(), phase, seen.good, seen.total))
    return seen


def _see_outside(context: Context, evidence: Share, window: Window, calm: Window) -> None:
    """Writes down where else the mark of the fault was counted, unless it was there before the fault, too."""
    found = context.meter.elsewhere(evidence, window)
    if not found:
        return
    before = context.meter.elsewhere(evidence, calm)
    if places := tuple(sorted(found - before)):
        context.journal.write(log.OutsideSeen(context.now(), places))


def _see_scaled(context: Context, evidence: Scaled, phase: str, requests: int | None) -> log.ScaledSeen:
    """Counts the pods and writes that to the journal."""
    present, ready = context.strength(evidence.workloads)
    event = log.ScaledSeen(context.now(), phase, evidence.replicas, present, ready, requests)
    context.journal.write(event)
    return event


def _see_pods(context: Context, evidence: OnEach, phase: str, requests: int | None) -> log.PodsSeen:
    """Asks which pods show the fault, and writes that to the journal."""
    now = context.now()
    shown = context.witness.look(context.mesh.cluster, evidence, now)
    asked = tuple(pod.name for pod in evidence.pods)
    known = tuple(name for name in asked if name in shown)
    event = log.PodsSeen(now, phase, asked, known, str(evidence.witness), requests)
    context.journal.write(event)
    return event


def lost(
    evidence: Replaced | Restarted, scene: Sequence[Pod], pods: Sequence[Pod]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The pods that were to lose something, those that have, and those that have lost what they were to keep.

    Args:
        evidence: what was to be lost, by which pods.
        scene: the pods of the target before.
        pods: the pods of the target now.
    """
    now = {pod.uid: pod for pod in pods}
    if isinstance(evidence, Replaced):
        asked = evidence.uids
        done = tuple(uid for uid in asked if uid not in now)
        return asked, done, tuple(pod.uid for pod in scene if pod.uid not in now and pod.uid not in asked)
    asked = tuple(evidence.before)
    done = tuple(
        uid for uid in asked if uid in now and evidence.container in _risen(evidence.before[uid], now[uid])
    )
    spoiled = [
        uid
        for uid in asked
        if uid not in now or _risen(evidence.before[uid], now[uid]) - {evidence.container}
    ]
    others = [pod for pod in scene if pod.uid not in asked]
    spoiled += [pod.uid for pod in others if pod.uid not in now or _risen(pod.restarts, now[pod.uid])]
    return asked, done, tuple(spoiled)


def _risen(before: Mapping[str, int], pod: Pod) -> set[str]:
    """The containers of a pod that were started again since."""
    return {name for name, count in pod.restarts.items() if count > before.get(name, 0)}


def _recent(context: Context, evidence: Share, since: float, now: float) -> Counts | Missing:
    """The latest requests of the target: the shortest time before now in which enough of them were counted."""
    scrape = context.meter.interval or 1.0
    windows = [Window(max(since, now - scrapes * scrape), now) for scrapes in (_LATELY, 5, 10, 20)]
    seen = context.meter.share(evidence, windows)
    needed = enough_requests(evidence.percent, partial=evidence.partial)
    enough = [one for one in seen if isinstance(one, Counts) and one.total >= needed]
    return enough[0] if enough else seen[-1]


def _is_shunned(context: Context, evidence: Share, since: float, now: float) -> bool:
    """Whether the fault hit enough requests of the target, and its callers have not asked it since: ejection.

    What the fault hit then shares its one scrape with requests from before it, so no share tells.
    """
    lately = Window(now - _LATELY * (context.meter.interval or 1.0), now)
    if lately.start < since:
        return False
    whole, rest = context.meter.share(evidence, [_since(context, since, now), lately])
    if not isinstance(whole, Counts) or not isinstance(rest, Counts):
        return False
    return rest.total == 0 and whole.good >= enough_requests(evidence.percent, partial=evidence.partial)


def _since(context: Context, begin: float, now: float) -> Window:
    """All that was counted since a moment: from the last scrape before it on, for a burst may fall before the next."""
    return Window(begin, now, _LATELY * (context.meter.interval or 1.0))


def _percent(seen: Counts | Missing) -> str:
    return f"{seen.good / seen.total:.1%}" if isinstance(seen, Counts) and seen.total else "none"
