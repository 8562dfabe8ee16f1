"""Runs in a small world whose measurement goes wrong: none of them is HELD."""

import os
import re
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from trials import UP, experiment

from harness import journal as log
from harness.experiment import necessary
from harness.faults import Abort, Nothing, PodKill
from harness.indicators import latency
from harness.journal import select
from harness.load import Load
from harness.slo import SLO
from harness.verdict import Verdict

EXPERIMENT = experiment(Nothing(), load=Load("browse", rate=100))
PATIENT = replace(EXPERIMENT, hypothesis=[replace(UP, enough=100_000)])


@pytest.fixture
def perform(perform):
    """Runs an experiment in the world, with less patience; gives the judgement and the journal."""
    return partial(perform, patience=5.0)


def when(phase, tmp_path, act):
    """Does something as soon as a phase of the run has counted good events."""

    def wait():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            path = tmp_path / "run.jsonl"
            if path.exists() and re.search(rf'"phase": "{phase}", "good": [1-9]', path.read_text()):
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_what_the_entry_counted_is_what_was_sent(world, perform):
    """Nothing is amiss, so the verdict is HELD, and the journal has both numbers."""
    judgement, events = perform(EXPERIMENT)
    assert judgement.verdict is Verdict.HELD, judgement
    (sent,), (counted,) = select(events, log.LoadReported), select(events, log.EntryCounted)
    assert abs(sent.sent - counted.total) <= sent.users + counted.edge
    assert select(events, log.LoadWatched)[-1].cpu < 0.9 or len(select(events, log.LoadWatched)) == 0


def test_requests_that_the_entry_did_not_count_take_held_back(world, perform):
    """As when Prometheus scrapes half of the gateway's pods."""
    world.forgets = 0.5
    judgement, _ = perform(EXPERIMENT)
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "the counters miss requests" in " ".join(judgement.reasons)


@pytest.mark.parametrize("fault", [Abort(503, 30), PodKill(1), Nothing()], ids=str)
def test_a_prometheus_that_stops_scraping_in_mid_phase_is_never_held(world, perform, tmp_path, fault):
    """It goes on answering, with what it knew."""
    thread = when("observe", tmp_path, lambda: setattr(world, "prometheus", "deaf"))
    judgement, _ = perform(replace(PATIENT, fault=fault))
    thread.join()
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "stopped scraping" in judgement.findings[0].reason


def test_a_load_generator_that_dies_in_mid_phase_is_never_held(world, perform, tmp_path):
    """Its end is the reason."""

    def kill():
        children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()
        (locust,) = (pid for pid in children if "locust" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(int(locust), signal.SIGKILL)

    thread = when("observe", tmp_path, kill)
    judgement, _ = perform(PATIENT)
    thread.join()
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "the load generator ended" in " ".join(judgement.reasons)


def test_a_latency_is_not_held_under_a_load_that_cannot_keep_its_schedule(world, perform):
    """One user cannot ask twenty thousand times per second."""
    fast = SLO("fast", latency("payments", "shop", quantile=0.9), at_most=0.25)
    load = Load("browse", rate=20_000, users=1)
    judgement, _ = perform(replace(EXPERIMENT, hypothesis=[fast], load=load))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "fell behind its schedule" in " ".join(judgement.reasons)


def test_counters_that_begin_again_lose_nothing_that_was_scraped(world, perform, tmp_path):
    """The sidecar restarts in mid-phase: failures before and after it are in the counts."""
    world.broken = 0.0

    def restart():
        world.broken = 0.5
        world.restart()

    thread = when("observe", tmp_path, restart)
    judgement, events = perform(replace(PATIENT, load=Load("browse", rate=200)))
    thread.join()
    assert judgement.verdict is Verdict.VIOLATED, judgement
    last = [event for event in select(events, log.Counted) if event.phase == "observe"][-1]
    assert 0 < last.good < last.total


def test_the_traffic_that_a_verdict_takes_is_known_before():
    """598 events for 99 %: six seconds at 100/s, if none fails."""
    chosen = replace(EXPERIMENT, hypothesis=[SLO("up", UP.sli, at_least=0.99)])
    (one,) = necessary(chosen)
    assert (one.events, one.seconds) == (598, pytest.approx(5.98))
    assert not one.decidable
    assert "cannot be HELD" in str(one)
    (fits,) = necessary(replace(chosen, observe=10.0))
    assert str(fits) == "up: at least 598 events, 6.0 s of the load"
