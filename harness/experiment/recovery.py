"""The phase after the fault: how long until everything is as it was."""

from __future__ import annotations

from harness import journal as log
from harness.counts import Counts, upper
from harness.experiment.context import Context, live
from harness.faults import NoEvidence, Scaled, Share
from harness.series import Missing, Window


def recover(context: Context, *, since: float, ready_at: float | None) -> None:
    """Waits until the pods are ready as before and a scrape of good traffic shows no trace of the fault.

    Good is what neither the hypothesis nor what the experiment promises of the `recovery` contradicts.

    `since` is the end of the fault, `ready_at` when its pods were seen replaced (Unix seconds). What is
    written to the journal is the time from `since` to the moment from which on everything was good; it takes
    two scrapes to see.
    """
    if isinstance(context.evidence, NoEvidence):
        context.journal.write(log.Recovered(context.now(), 0.0))
        return
    scrape = context.meter.interval or 1.0
    within = context.experiment.recover_within
    start = max(since, ready_at) if ready_at is not None else None
    context.meter.begin()
    while True:
        now = context.now()
        amiss, blameless = _pods_amiss(context), False
        if amiss:
            start = None
        else:
            start = start if start is not None else now
            amiss, blameless, spoiled = _traffic_amiss(context, Window(start, now), 2.2 * scrape)
            if spoiled:
                start = now
                context.meter.begin()
        context.watch.progress(min(1.0, (now - since) / within), amiss or "good again")
        if not amiss and start is not None:
            context.journal.write(log.Recovered(now, max(0.0, start - since)))
            return
        if now - since > within and (start is None or start - since > within or now - start > 5 * scrape):
            context.journal.write(log.Recovered(now, None, amiss, blameless))
            return
        context.wait()


def _pods_amiss(context: Context) -> str:
    ready = context.pods_ready()
    before = len(context.scene.pods)
    if ready < before:
        return f"{ready} of {before} pods ready"
    if not isinstance(context.evidence, Scaled):
        return ""
    workloads, before = context.evidence.workloads, context.evidence.before
    present, ready = context.strength(workloads)
    return f"{ready} of {before} pods of {workloads} ready" if ready < before or present > before else ""


def _traffic_amiss(context: Context, window: Window, long_enough: float) -> tuple[str, bool, bool]:
    """What is amiss with the traffic, whether the mesh is blameless, and whether the window is spoiled."""
    taken = context.count("recover", window)
    experiment = context.experiment
    promised = (*experiment.hypothesis, *experiment.recovery)
    for slo in promised:
        found = taken[slo.sli]
        if isinstance(found, Counts) and found.bad and upper(found, 1 - experiment.confidence) < slo.at_least:
            return f"{live([slo], taken)}", False, True
    if isinstance(context.evidence, Share):
        (seen,) = context.meter.share(context.evidence, [window])
        if isinstance(seen, Counts) and seen.good:
            return f"{seen.good} requests still carry the mark of the fault", True, True
    if window.end - window.start < long_enough:
        return "waiting for a scrape", True, False
    for slo in promised:
        found = taken[slo.sli]
        if isinstance(found, Missing) or found.total == 0:
            return f"no traffic for {slo.name}", True, False
    return "", False, False
