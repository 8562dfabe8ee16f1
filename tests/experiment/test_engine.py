"""A run from its start to its verdict against a small world at the wire, with real traffic from locust."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise

import pytest
from support import eventually

from harness import journal as log
from harness.changes import ABSENT, Create, Edit, Patch, Ref
from harness.cluster import Cluster
from harness.experiment import Experiment, Mesh, run
from harness.faults import Abort, BlastRadius, Nothing, PodKill, Target
from harness.injection import heal
from harness.journal import Journal, select
from harness.ledger import Ledger
from harness.load import Load
from harness.prometheus import Prometheus
from harness.slo import SLO, availability, mtls_share, plaintext_refused
from harness.verdict import Verdict

SCRAPE = 0.1  # of the world
KILLED = """
import sys
from pathlib import Path
from harness.cluster import Cluster
from harness.experiment import Experiment, Mesh, run
from harness.faults import Abort, BlastRadius, Target
from harness.journal import Journal
from harness.ledger import Ledger
from harness.load import Load
from harness.prometheus import Prometheus
from harness.slo import SLO, availability
kubeconfig, entry, prometheus, folder = sys.argv[1:]
with Cluster.connect(Path(kubeconfig)) as cluster, Journal(Path(folder) / "run.jsonl") as journal:
    run(
        Experiment(
            [SLO("availability", availability("payments", "shop"), at_least=0.95)],
            Target("payments", "shop"), Abort(503, 30), Load("browse", rate=100),
            BlastRadius(max_pods=3, seconds=60), observe=60.0,
        ),
        Mesh(cluster, entry, Prometheus(prometheus), 30.0),
        name="killed", run_id="killed", seed=1, journal=journal, ledger=Ledger(Path(folder) / "ledger"),
    )
"""
TARGET = Target("payments", "shop")
UP = SLO("availability", availability("payments", "shop"), at_least=0.95)
ENCRYPTED = SLO("mTLS", mtls_share("payments", "shop"), at_least=1.0, enough=50)
REFUSED = SLO("plaintext refused", plaintext_refused(TARGET, 8080), at_least=1.0, enough=6)
NO_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 0, "retries"), ABSENT),),
)
PERMISSIVE = Patch(
    Ref("security.istio.io/v1", "PeerAuthentication", "shop", "payments"),
    (Edit(("spec", "mtls", "mode"), "PERMISSIVE"),),
)


def experiment(fault, **fields):
    """An experiment on payments with quick limits."""
    values = {
        "hypothesis": [UP],
        "target": TARGET,
        "fault": fault,
        "load": Load("browse", rate=200),
        "blast_radius": BlastRadius(max_pods=3, seconds=20),
        "recover_within": 4.0,
        "observe": 4.0,
    }
    return Experiment(**(values | fields))


@pytest.fixture
def perform(world, write_kubeconfig, tmp_path, monkeypatch):
    """Runs an experiment in the world; gives the judgement and the journal."""

    def perform(chosen, *, weaken=(), prometheus_url=None, patience=10.0, entry_url=None):
        timeout = 0.5 if world.prometheus == "hang" else 5.0
        prometheus = Prometheus(prometheus_url or world.prometheus_url, timeout=timeout)
        with (
            closing(prometheus),
            Cluster.connect(write_kubeconfig(world.api.url)) as cluster,
            Journal(tmp_path / "run.jsonl") as journal,
        ):
            judgement = run(
                chosen,
                Mesh(cluster, entry_url or world.entry_url, prometheus, patience),
                name="test",
                run_id="run-1",
                seed=3,
                journal=journal,
                ledger=Ledger(tmp_path / "ledger"),
                weaken=weaken,
            )
        return judgement, log.read(journal.path)

    return perform


def phases(events):
    """The phases that were begun, in order."""
    return [event.phase for event in select(events, log.PhaseStarted)]


def test_retries_hide_a_failing_callee(world, perform):
    """The fault bites as asked, the promise holds, and the mesh is as it was before."""
    before = world.api.state()
    judgement, events = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.HELD, judgement
    assert "asked 30 %, seen" in judgement.evidence
    assert phases(events) == ["resolve", "gate", "inject", "observe", "revert", "recover"]
    assert world.api.state() == before
    (sent,) = select(events, log.LoadReported)
    assert sent.sent > 100


def test_without_retries_the_same_fault_violates_the_promise(world, perform):
    """The control turns the verdict red, and the policy is restored."""
    before = world.api.state()
    judgement, events = perform(experiment(Abort(503, 30)), weaken=[NO_RETRIES])
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert select(events, log.Weakened)[0].changes == ("patch VirtualService shop/payments",)
    assert world.api.state() == before


def test_a_breached_guardrail_reverts_at_once(world, perform):
    """Long before the time is up the fault is gone again."""
    # The promise alone would be watched for the whole time: 4,000 events are planned.
    patient = SLO("availability", UP.sli, at_least=0.001, enough=100_000)
    chosen = experiment(
        Abort(503, 90),
        hypothesis=[patient],
        guardrails=[SLO("guardrail", UP.sli, at_least=0.9)],
        observe=15.0,
    )
    began = time.monotonic()
    judgement, events = perform(chosen, weaken=[NO_RETRIES])
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert select(events, log.GuardrailBreached)
    assert time.monotonic() - began < 12


def test_a_guardrail_that_is_breached_late_reverts_within_a_second(world, perform):
    """Thousands of good requests before do not hide it; the counters are looked at more than once a second."""
    answer, moments, looks = world.api.before, {}, []

    def before(request):
        if request.method == "DELETE" and "envoyfilters" in request.path:
            moments["reverted"] = time.monotonic()
        return answer(request)

    def spoil():
        eventually(lambda: any("envoyfilters" in path for path in list(world.api.objects)), 30)
        enough = len(looks) + 20
        eventually(lambda: len(looks) > enough)
        world.broken, moments["broken"] = 0.9, time.monotonic()

    def query(text, at, ask=world.query):
        looks.append(time.monotonic())
        return ask(text, at)

    world.api.before, world.query = before, query
    thread = threading.Thread(target=spoil)
    thread.start()
    chosen = experiment(
        Abort(503, 30),
        hypothesis=[SLO("availability", UP.sli, at_least=0.001, enough=100_000)],
        guardrails=[SLO("guardrail", UP.sli, at_least=0.9)],
        observe=15.0,
    )
    judgement, _ = perform(chosen)
    thread.join()
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert any("guardrail guardrail breached" in reason for reason in judgement.reasons)
    assert moments["reverted"] - moments["broken"] < 1.0 + SCRAPE
    in_force = [at for at in looks if moments["broken"] - 2.0 < at < moments["reverted"]]
    assert max(later - at for at, later in pairwise(in_force)) < 1.0


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


def test_a_fault_that_shows_at_another_workload_is_inconclusive(world, perform):
    """Though it shows at the target as asked."""
    world.spills = True
    judgement, _ = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "it showed outside the target as well, at shop/cart" in judgement.evidence


def test_a_fault_rises_to_what_was_asked_and_is_measured_then(world, perform):
    """Ten steps, one object, and nothing left of it."""
    before = world.api.state()
    judgement, events = perform(experiment(Abort(503, 30, ramp=2)))
    assert judgement.verdict is Verdict.HELD, judgement
    again = select(events, log.Continued)
    assert again[-1].time == 9
    assert {event.changes for event in again} == {
        ("patch EnvoyFilter shop/harness-run-1-abort-503-payments",)
    }
    (injected,) = select(events, log.Injected)
    observed = next(event.at for event in select(events, log.PhaseStarted) if event.phase == "observe")
    assert observed - injected.at >= 2
    assert "asked 30 %, seen" in judgement.evidence
    assert world.api.state() == before


def test_pods_that_nobody_asks_are_not_killed(world, perform):
    """The load has to reach the target, or the promise is not tested by taking its pods."""
    world.bypassed = True
    judgement, events = perform(experiment(PodKill(1)), patience=2.0)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "the load did not reach the target shop/payments" in judgement.reasons[0]
    assert not select(events, log.Injected)


def test_failures_that_only_the_load_generator_saw_are_not_held(world, perform):
    """The counters say that all is well, the clients that it is not: nobody knows."""
    world.lies = 0.3
    judgement, _ = perform(experiment(Nothing()))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "the counters know of 0 failures" in judgement.reasons[0]


def test_a_pod_that_does_not_come_back_is_a_violation(world, perform):
    """The promise includes recovery."""
    world.replaces = False
    judgement, _ = perform(experiment(PodKill(1), recover_within=1.0))
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert "2 of 3 pods ready" in " ".join(judgement.reasons)


def test_enforced_mutual_tls_holds_and_permissive_violates_it(world, perform):
    """Plaintext to each pod is refused under STRICT; the control is caught by the first answer."""
    chosen = experiment(Nothing(), hypothesis=[ENCRYPTED, REFUSED])
    judgement, events = perform(chosen)
    assert judgement.verdict is Verdict.HELD, judgement
    assert select(events, log.Probed)[-1].refused >= 6
    judgement, _ = perform(chosen, weaken=[PERMISSIVE])
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert any("plaintext refused" in reason for reason in judgement.reasons)


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


def test_an_empty_target_is_refused_before_anything_is_written(world, perform):
    """The reason names the target."""
    judgement, _ = perform(experiment(Abort(503, 30), target=Target("nobody", "shop")))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "nobody" in judgement.reasons[0]
    assert world.api.writes() == []


def test_too_wide_a_fault_is_refused_before_anything_is_written(world, perform):
    """The limit is checked before the first write, even before the policy is weakened."""
    chosen = experiment(Abort(503, 30), blast_radius=BlastRadius(max_pods=1))
    judgement, _ = perform(chosen, weaken=[NO_RETRIES])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert world.api.writes() == []


def test_a_policy_is_not_weakened_by_a_secret(world, perform):
    """Nothing of it comes into the journal; it is refused in the first phase."""
    metadata = {"name": "token", "namespace": "shop"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"a": "aHVzaCBodXNo"}}
    judgement, events = perform(experiment(Abort(503, 30)), weaken=[Create(secret)])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "Secret shop/token cannot be changed" in judgement.reasons[0]
    assert phases(events) == ["resolve"]
    assert "aHVzaCBodXNo" not in repr(events)
    assert world.api.writes() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_undoes_everything_and_ends_the_run(world, perform, tmp_path, number):
    """Whoever ends the harness gets the mesh back as it was."""
    before, answer = world.api.state(), world.api.after
    inherited = signal.getsignal(number)

    def interrupt(request):
        # While the fault comes into force: in the middle of an answer of Prometheus, the socket would be left to the
        # garbage collector, which warns.
        if request.method == "POST" and "envoyfilters" in request.path:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        return answer(request)

    world.api.after = interrupt
    with pytest.raises(KeyboardInterrupt, match=number.name):
        perform(experiment(Abort(503, 30), observe=15.0), weaken=[NO_RETRIES])
    assert world.api.state() == before
    assert signal.getsignal(number) is inherited
    assert [stop.reason for stop in select(log.read(tmp_path / "run.jsonl"), log.Stopped)] == [
        f"interrupted by {number.name}"
    ]


def test_the_stop_file_ends_a_run_within_a_second_with_everything_undone(world, perform, tmp_path):
    """The verdict is INCONCLUSIVE and says why; the next run does not begin before the file is gone."""
    before = world.api.state()
    stopped: list[float] = []

    def stop_when_injected(request):
        if request.method == "POST" and "envoyfilters" in request.path and not stopped:
            (tmp_path / "stop").touch()
            stopped.append(time.monotonic())
        if request.method == "DELETE" and "envoyfilters" in request.path:
            stopped.append(time.monotonic())
        return answer(request)

    answer = world.api.before
    world.api.before = stop_when_injected
    judgement, events = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement
    assert "Stopped by the file" in select(events, log.Stopped)[0].reason
    assert stopped[1] - stopped[0] < 1.5
    assert world.api.state() == before


def test_a_run_without_the_rights_it_needs_is_refused_before_anything_is_written(world, perform):
    """All that is missing is named at once."""
    world.api.forbidden.add("create")
    judgement, _ = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "create envoyfilters.networking.istio.io in namespace shop" in judgement.reasons[0]
    assert "harness rbac" in judgement.reasons[0]
    assert world.api.writes() == []


def test_of_two_harnesses_that_start_at_once_one_works_and_the_other_names_it(
    world, write_kubeconfig, tmp_path
):
    """As on two machines: each has a ledger of its own, and only the mesh itself tells them apart."""
    before, runs = world.api.state(), []
    kubeconfig = write_kubeconfig(world.api.url)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        arguments = [kubeconfig, world.entry_url, world.prometheus_url, tmp_path / name]
        runs.append(subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)]))
    try:
        eventually(lambda: any(run.poll() is not None for run in runs), 40)
        eventually(lambda: any("envoyfilters" in path for path in list(world.api.objects)), 30)
        [refused] = [name for name, run in zip(("one", "two"), runs, strict=True) if run.poll() is not None]
        [stopped] = select(log.read(tmp_path / refused / "run.jsonl"), log.Stopped)
        assert re.match(
            r"Another run is at work in the mesh at .*: .+@.+, run killed, since 2", stopped.reason
        )
        assert len([path for path in list(world.api.objects) if "envoyfilters" in path]) == 1
    finally:
        for run in runs:
            run.terminate()
            run.wait(20)
    eventually(lambda: world.api.state() == before)


@pytest.mark.parametrize("moment", [("GET", "leases", 0), ("POST", "envoyfilters", 1)], ids=str)
def test_a_disk_that_is_full_neither_lets_a_fault_begin_nor_keeps_it_in_force(
    world, perform, tmp_path, write_kubeconfig, moment
):
    """What cannot be written down before is not done, and what is done is undone though nobody can note it."""
    before, answer, (method, kind, made) = world.api.state(), world.api.after, moment
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(request):
        if request.method == method and kind in request.path:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        return answer(request)

    world.api.after = fill
    try:
        perform(experiment(Abort(503, 30)))
    except OSError:  # the journal is on the same disk
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    created = [
        request for request in world.api.writes() if request.method == "POST" and "env" in request.path
    ]
    assert len(created) == made
    assert not any("envoyfilters" in path for path in world.api.objects)
    with Cluster.connect(write_kubeconfig(world.api.url)) as cluster:
        eventually(lambda: heal(cluster, Ledger(tmp_path / "ledger")).failed == ())
    eventually(lambda: world.api.state() == before)


def test_a_run_that_is_killed_is_undone_by_its_watchdog(world, write_kubeconfig, tmp_path):
    """With the fault in force and traffic flowing; the Lease of the mesh goes, too."""
    before = world.api.state()
    arguments = [write_kubeconfig(world.api.url), world.entry_url, world.prometheus_url, tmp_path]
    with subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)]) as process:
        eventually(lambda: any("envoyfilters" in path for path in list(world.api.objects)), 30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.monotonic()
        eventually(lambda: world.api.state() == before)
    assert time.monotonic() - killed < 3.0
