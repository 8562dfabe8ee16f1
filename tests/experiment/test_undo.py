"""Whatever goes wrong around a run, what it changed is undone, and what stays is not passed over."""

import threading
import time

import pytest
from judging import judge
from support import eventually
from trials import NO_RETRIES, experiment

from harness import journal as log
from harness.cluster import Cluster
from harness.faults import Abort
from harness.journal import Journal, select
from harness.verdict import Verdict
from harness.watchdog import LOG


@pytest.fixture
def perform(world, write_kubeconfig, tmp_path):
    """Runs an abort with a weakened policy, after `meddle(journal)`; gives the judgement and the events."""

    def perform(*, watch=None, meddle=None):
        path = tmp_path / f"run-{len(list(tmp_path.glob('*.jsonl')))}.jsonl"
        with Cluster.connect(write_kubeconfig(world.api.url)) as cluster, Journal(path) as journal:
            if meddle:
                meddle(journal)
            judgement = judge(
                experiment(Abort(503, 30)),
                cluster,
                world.entry_url,
                world.prometheus_url,
                journal,
                run_id=path.stem,
                watch=watch,
                weaken=[NO_RETRIES],
            )
        return judgement, log.read(path)

    return perform


class _Gone:
    """The reader of a pipe that went away."""

    def phase(self, name):
        """Fails as a print into such a pipe does."""
        raise BrokenPipeError(32, "Broken pipe")

    def progress(self, done, text):
        """As above."""
        raise BrokenPipeError(32, "Broken pipe")


def test_a_run_that_nobody_can_watch_any_more_goes_on_and_is_undone(world, perform):
    """As when the reader of its output is gone."""
    before = world.api.state()
    judgement, events = perform(watch=_Gone())
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert len(select(events, log.Reverted)) == 2
    assert world.api.state() == before


def test_a_full_disk_under_the_journal_does_not_keep_the_fault_in_force(world, perform):
    """The run fails, with fault and weakening undone."""
    before = world.api.state()
    threads = []

    def fill_up(journal):
        def wait():
            deadline = time.monotonic() + 20
            while not any("envoyfilters" in path for path in list(world.api.objects)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            journal._file.close()
            journal._file = open("/dev/full", "a")  # noqa: SIM115 - the journal closes it

        threads.append(threading.Thread(target=wait))
        threads[0].start()

    with pytest.raises((OSError, ValueError)):
        perform(meddle=fill_up)
    threads[0].join()
    assert world.api.state() == before


def test_what_a_run_could_not_undo_is_undone_before_the_next_one(world, perform):
    """By its watchdog or by the next run, whoever is first; while it is impossible, no run begins."""
    before = world.api.state()
    answer = world.api.before

    def refuse(request):
        if request.method == "DELETE" and "envoyfilters" in request.path:
            return world.api.reply(
                403, {"kind": "Status", "reason": "Forbidden", "message": "no", "code": 403}
            )
        return answer(request)

    world.api.before = refuse
    _, events = perform()
    assert select(events, log.Reverted)[0].failed
    judgement, events = perform()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    # while the watchdog is just trying, what was left counts as held by somebody who is alive
    told = ("has to be undone first", "A fault of another run is in force")
    assert any(one in reason for reason in judgement.reasons for one in told), judgement
    assert not select(events, log.Injected)
    world.api.before = answer
    judgement, events = perform()
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert world.api.state() == before


def _when_injected(world, act):
    """Lets `act` happen as soon as the fault is in force."""
    answer, done = world.api.after, []

    def after(request):
        if request.method == "POST" and "envoyfilters" in request.path and not done:
            done.append(request)
            act()
        return answer(request)

    world.api.after = after


def test_a_token_that_expires_in_mid_run_is_read_again(world, perform, write_kubeconfig):
    """Whoever renews it in the kubeconfig has the run go on to its verdict."""
    before = world.api.state()

    def renew():
        world.api.token = "renewed"
        write_kubeconfig(world.api.url, "renewed")

    _when_injected(world, renew)
    judgement, events = perform()
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert not any(event.failed for event in select(events, log.Reverted))
    assert world.api.state() == before


def test_a_token_that_expires_for_good_leaves_the_fault_to_the_watchdog(
    world, perform, write_kubeconfig, tmp_path
):
    """The run says so in a sentence; the fault goes as soon as the kubeconfig holds a token that is accepted."""
    before = world.api.state()
    _when_injected(world, lambda: setattr(world.api, "token", "renewed"))
    _, events = perform()
    for event in select(events, log.Reverted):
        assert "does not accept the credentials of the current context of" in event.failed[0]
    assert world.api.state() != before
    write_kubeconfig(world.api.url, "renewed")
    eventually(lambda: world.api.state() == before, 20)
    eventually((tmp_path / "ledger" / LOG).exists)
    eventually(lambda: "is deleted again" in (tmp_path / "ledger" / LOG).read_text())


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_is_set_in_mid_run_neither_prolongs_the_fault_nor_makes_it_hold(
    world, perform, monkeypatch, step
):
    """The clock of this machine and with it that of Prometheus: the samples of before are in another hour."""
    before, real, began = world.api.state(), time.time, time.monotonic()
    _when_injected(world, lambda: monkeypatch.setattr(time, "time", lambda: real() + step))
    judgement, _ = perform()
    assert judgement.verdict is not Verdict.HELD, judgement
    assert time.monotonic() - began < 40
    assert world.api.state() == before
