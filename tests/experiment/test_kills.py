"""Killed pods: proven by their UIDs, harm counted to its end, recovery timed."""

import threading
import time

from trials import SCRAPE, UP, experiment

from harness import journal as log
from harness.faults import BlastRadius, PodKill
from harness.journal import select
from harness.slo import SLO
from harness.verdict import Verdict


def test_a_killed_pod_is_proven_by_its_uid_and_recovery_is_timed(world, perform):
    """The window holds the moment of the kill, and the replacement is seen."""
    judgement, events = perform(experiment(PodKill(1)))
    assert judgement.verdict is Verdict.HELD, judgement
    assert judgement.evidence.startswith("1 of 1 pods gone, 3 of 3 ready, ")
    injected = select(events, log.Injected)[0].at
    observed = [event for event in select(events, log.Counted) if event.phase == "observe"]
    assert observed[0].start < injected
    gone = next(event.at for event in select(events, log.ReplacedSeen) if event.ready == 3)
    assert observed[-1].end - gone >= 2 * SCRAPE
    assert select(events, log.ReplacedSeen)[-1].settled
    assert select(events, log.Recovered)[0].seconds < 2.0


def test_a_kill_is_not_judged_by_the_traffic_before_it(world, perform):
    """The callers fail for some seconds from the kill on: that is seen, however good the time before was."""
    world.outage = 1.0
    judgement, events = perform(experiment(PodKill(1)))
    assert judgement.verdict is Verdict.VIOLATED, judgement
    observed = [event for event in select(events, log.Counted) if event.phase == "observe"]
    assert observed[-1].good < observed[-1].total


def test_harm_that_lasts_until_the_pod_is_replaced_is_counted_to_its_end(world, perform):
    """Enough good events for the promise are no reason to stop before the harm is over."""
    world.replaces = False  # until a second later
    world.outage = 5.0

    def replace_later():
        deadline = time.monotonic() + 15
        while world.killed is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1.0)  # the subject: how long the pod is away
        world.add_pod()
        world.outage = 0.0

    lenient = SLO("availability", UP.sli, at_least=0.001)
    thread = threading.Thread(target=replace_later)
    thread.start()
    _, events = perform(experiment(PodKill(1), hypothesis=[lenient]))
    thread.join()
    replaced = next(e.at for e in select(events, log.ReplacedSeen) if e.gone and e.ready == 3)
    observed = [event for event in select(events, log.Counted) if event.phase == "observe"]
    assert observed[-1].end - replaced >= 2 * SCRAPE
    assert observed[-1].total - observed[-1].good > 80


def test_pods_are_killed_again_and_again_until_the_revert(world, perform):
    """Every kill is in the evidence; each waits until the pod before it is replaced."""
    chosen = experiment(PodKill(every=1), blast_radius=BlastRadius(max_pods=21, seconds=20))
    judgement, events = perform(chosen)
    assert judgement.verdict is Verdict.HELD, judgement
    again = select(events, log.Continued)
    assert [event.time for event in again] == sorted({event.time for event in again})
    last = select(events, log.ReplacedSeen)[-1]
    assert last.times == 1 + len(again) >= 2
    assert len(set(last.asked)) == len(last.asked) == last.times
    assert f"killed {last.times} times" in judgement.evidence


def test_pods_that_do_not_come_back_end_the_kills(world, perform):
    """The second time is left out, and once is not again."""
    world.replaces = False
    chosen = experiment(PodKill(every=1), blast_radius=BlastRadius(max_pods=21, seconds=20))
    judgement, events = perform(chosen)
    assert not any(event.uids for event in select(events, log.Continued))
    assert judgement.verdict is not Verdict.HELD
    assert "killed 1 times, 2 are needed to tell" in judgement.evidence


def test_a_pod_that_goes_besides_tells_that_the_radius_was_left(world, perform):
    """Two are gone where one was asked for: whatever holds then is not what was tested."""
    replace_pod = world.api.after

    def greedy(request):
        replace_pod(request)
        if request.method == "DELETE" and "/pods/" in request.path:
            del world.api.objects[next(path for path in world.api.objects if "/pods/" in path)]
            world.add_pod()

    world.api.after = greedy
    judgement, _ = perform(experiment(PodKill(1)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "outside the target 1 pods were lost" in judgement.evidence


def test_pods_that_nobody_asks_are_not_killed(world, perform):
    """The load has to reach the target, or the promise is not tested by taking its pods."""
    world.bypassed = True
    judgement, events = perform(experiment(PodKill(1)), patience=2.0)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "the load did not reach the target shop/payments" in judgement.reasons[0]
    assert not select(events, log.Injected)


def test_a_pod_that_does_not_come_back_is_a_violation(world, perform):
    """The promise includes recovery."""
    world.replaces = False
    judgement, _ = perform(experiment(PodKill(1), recover_within=1.0))
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert "2 of 3 pods ready" in " ".join(judgement.reasons)
