"""Runs that tell nothing: no evidence, no traffic, no numbers, or a fault that showed elsewhere."""

import socket
import threading
import time

import pytest
from trials import experiment, phases

from harness import journal as log
from harness.faults import Abort, Nothing
from harness.journal import select
from harness.load import Load
from harness.verdict import Verdict


def test_a_fault_that_shows_at_another_workload_is_inconclusive(world, perform):
    """Though it shows at the target as asked."""
    world.spills = True
    judgement, _ = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "it showed outside the target as well, at shop/cart" in judgement.evidence


def test_failures_that_only_the_load_generator_saw_are_not_held(world, perform):
    """The counters say that all is well, the clients that it is not: nobody knows."""
    world.lies = 0.3
    judgement, _ = perform(experiment(Nothing()))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "the counters know of 0 failures" in judgement.reasons[0]


def test_a_fault_that_does_not_bite_is_inconclusive_though_all_looks_well(world, perform):
    """No evidence, no verdict."""
    world.deaf = True
    judgement, events = perform(experiment(Abort(503, 30)), patience=4.0)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "asked 30 %, seen 0 %" in judgement.reasons[0]
    assert "observe" not in phases(events)


def test_without_traffic_nothing_is_injected(world, perform):
    """The gate is not met, and says why."""
    world.silent = True
    judgement, events = perform(experiment(Abort(503, 30)), patience=1.0)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "no traffic for availability" in judgement.reasons[0]
    assert not select(events, log.Injected)
    assert not [request for request in world.api.writes() if "envoyfilters" in request.path]


def test_a_load_generator_that_dies_is_inconclusive_with_its_last_words(world, perform, tmp_path):
    """A profile that cannot be loaded ends locust; its log says why."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no such shop')\n")
    judgement, _ = perform(experiment(Nothing(), load=Load(str(broken), rate=10)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "no such shop" in judgement.reasons[0]


def test_a_promise_that_is_broken_already_is_not_tested(world, perform):
    """Whoever is down without a fault learns nothing from one."""
    world.broken = 0.5
    judgement, events = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "already violated" in judgement.reasons[0]
    assert not select(events, log.Injected)


@pytest.mark.parametrize("state", ["hang", "500", "html", "empty", "nan", "refused"])
def test_a_prometheus_that_does_not_tell_is_inconclusive_and_never_held(world, perform, state):
    """Not answering, errors, other pages, no data and NaN: each is a reason, none is zero."""
    world.prometheus = state
    url = None
    if state == "refused":
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://user:geheim@127.0.0.1:{taken.getsockname()[1]}"
    judgement, events = perform(
        experiment(Abort(503, 30)), prometheus_url=url, patience=4.0 if state == "nan" else 1.0
    )
    assert judgement.verdict is Verdict.INCONCLUSIVE
    expected = {
        "hang": "does not answer",
        "500": "refused the query",
        "html": "not as Prometheus does",
        "empty": "has no samples",
        "nan": "NaN",
        "refused": "does not answer",
    }
    assert expected[state] in judgement.reasons[0]
    assert "geheim" not in " ".join(judgement.reasons)
    assert not select(events, log.Injected)


def test_a_prometheus_that_goes_away_while_the_fault_is_in_force_reverts_it(world, perform):
    """Flying blind is no reason to leave a fault behind."""
    before = world.api.state()

    def blind():
        deadline = time.monotonic() + 60
        while "EnvoyFilter" not in str(list(world.api.objects)) and time.monotonic() < deadline:
            if any("envoyfilters" in path for path in list(world.api.objects)):
                break
            time.sleep(0.02)
        world.prometheus = "500"

    thread = threading.Thread(target=blind)
    thread.start()
    judgement, events = perform(experiment(Abort(503, 30)))
    thread.join()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "refused the query" in " ".join(judgement.reasons)
    assert select(events, log.Reverted)
    assert world.api.state() == before
