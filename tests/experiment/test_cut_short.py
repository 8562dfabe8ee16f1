"""Runs that are cut short, however that happens: everything they did is undone."""

import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
from support import eventually
from trials import NO_RETRIES, experiment

from harness import journal as log
from harness.cluster import Cluster
from harness.faults import Abort
from harness.injection import heal
from harness.journal import select
from harness.ledger import Ledger
from harness.verdict import Verdict

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
from harness.indicators import availability
from harness.slo import SLO
kubeconfig, entry, prometheus, folder = sys.argv[1:]
with Cluster.connect(Path(kubeconfig)) as cluster, Journal(Path(folder) / "run.jsonl") as journal:
    run(
        Experiment(
            [SLO("availability", availability("payments", "shop"), at_least=0.95)],
            Target("payments", "shop"), Abort(503, 30), Load("browse", rate=100),
            BlastRadius(max_pods=3, seconds=60), observe=60.0,
        ),
        Mesh(cluster, entry, Prometheus(prometheus), 30.0),
        name="killed", run_id=Path(folder).name, seed=1, journal=journal, ledger=Ledger(Path(folder) / "ledger"),
    )
"""


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
            r"Another run is at work in the mesh at .*: .+@.+, run (one|two), since 2", stopped.reason
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
