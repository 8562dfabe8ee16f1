"""The watchdog: what a killed process left is reverted at once, and a process that ended well is not second-guessed."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from support import eventually

from harness.changes import Create, Edit, Patch, Ref, to_json
from harness.errors import HarnessError
from harness.injection import heal
from harness.ledger import Ledger
from harness.watchdog import LOG, Watchdog

ROUTE = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
FILTER = Ref("networking.istio.io/v1alpha3", "EnvoyFilter", "shop", "extra")
CHANGES = (
    Patch(ROUTE, (Edit(("spec", "hosts"), ["nobody"]),)),
    Create(
        {
            "apiVersion": FILTER.api_version,
            "kind": FILTER.kind,
            "metadata": {"name": FILTER.name, "namespace": FILTER.namespace},
            "spec": {},
        }
    ),
)

RUN = """
import json, sys, time
from pathlib import Path
from harness.changes import change_from_json
from harness.cluster import Cluster
from harness.injection import apply_changes
from harness.lease import Lease
from harness.ledger import Ledger
from harness.watchdog import Watchdog
kubeconfig, directory, changes = sys.argv[1:]
ledger = Ledger(Path(directory))
with Cluster.connect(Path(kubeconfig)) as cluster, Watchdog(cluster, ledger) as watchdog, Lease(cluster, ledger, "run"):
    watchdog.await_ready()
    with apply_changes(
        cluster, [change_from_json(c) for c in json.loads(changes)], run="run", ledger=ledger, expires_in=60
    ):
        print(watchdog.pid, flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def shop(kube_api):
    """A route that is there before."""
    kube_api.put(
        {
            "apiVersion": ROUTE.api_version,
            "kind": ROUTE.kind,
            "metadata": {"name": "catalog", "namespace": "shop"},
            "spec": {"hosts": ["catalog"]},
        }
    )
    return kube_api


@pytest.fixture
def start(cluster, tmp_path):
    """Starts a process with changes in force; gives it and the process id of its watchdog."""
    started = []

    def start(*, wait=True):
        changes = json.dumps([to_json(change) for change in CHANGES])
        arguments = [
            sys.executable,
            "-c",
            RUN,
            str(tmp_path / "kubeconfig"),
            str(tmp_path / "ledger"),
            changes,
        ]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, int(process.stdout.readline()) if wait else 0

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_a_killed_process_left_is_reverted_at_once(shop, start, tmp_path):
    """Objects, the Lease and the ledger; the log says what was done."""
    before = shop.state()
    process, watchdog = start()
    assert shop.state() != before
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    eventually(lambda: shop.state() == before)
    assert time.monotonic() - killed < 5
    eventually(lambda: _gone(watchdog))
    assert [path.name for path in (tmp_path / "ledger").iterdir()] == [LOG]
    said = (tmp_path / "ledger" / LOG).read_text()
    assert "VirtualService shop/catalog spec.hosts is set back." in said
    assert "EnvoyFilter shop/extra is deleted again." in said


def test_a_process_that_ends_well_has_its_watchdog_end_without_a_word(shop, start, tmp_path):
    """It leaves no log and no process."""
    before = shop.state()
    process, watchdog = start()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(20) == 0
    eventually(lambda: _gone(watchdog))
    assert shop.state() == before
    assert list((tmp_path / "ledger").iterdir()) == []


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_request_that_has_its_effect_after_the_death_of_its_sender_is_reverted_too(shop, start, method):
    """A slow server may change the object when the watchdog has found nothing to do."""
    before, path = shop.state(), {"PUT": "virtualservices", "POST": "envoyfilters"}[method]
    came, go, gone = threading.Event(), threading.Event(), threading.Event()

    def before_it(request):
        if request.method == method and path in request.path and not came.is_set():
            came.set()
            assert go.wait(20)
            shop.after = lambda _request: gone.set()

    shop.before = before_it
    process, _ = start(wait=False)
    assert came.wait(20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: shop.state() == before)
    go.set()
    assert gone.wait(5)
    eventually(lambda: shop.state() == before)


def test_a_full_disk_does_not_keep_the_watchdog_from_its_work(shop, start, tmp_path):
    """It reverts, and tries again, although it cannot write down what it did."""
    before = shop.state()
    process, _ = start()
    (tmp_path / "ledger" / LOG).symlink_to("/dev/full")
    shop.before = lambda request: shop.reply(401)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: any(request.method == "GET" for request in shop.requests[-2:]))
    shop.requests.clear()
    eventually(lambda: len(shop.requests) > 3)
    shop.before = lambda request: None
    eventually(lambda: shop.state() == before)


def test_a_watchdog_does_not_end_before_its_run(shop, start):
    """Neither Ctrl-C in the terminal nor a signal to all processes of the user takes the net away."""
    before = shop.state()
    process, watchdog = start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        subprocess.run(["kill", f"-{int(number)}", str(watchdog)], check=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: shop.state() == before)


def test_a_watchdog_tries_again_until_the_api_server_takes_its_requests(shop, start, tmp_path):
    """Through a new connection, with whatever credentials the kubeconfig holds by then."""
    before = shop.state()
    process, watchdog = start()
    shop.before = lambda request: shop.reply(401)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually((tmp_path / "ledger" / LOG).exists, 30)
    assert shop.state() != before
    shop.before = lambda request: None
    eventually(lambda: shop.state() == before, 30)
    eventually(lambda: _gone(watchdog))


def test_a_watchdog_and_heal_at_once_are_harmless(shop, start, cluster, tmp_path):
    """Whoever comes first, and between any two requests."""
    before = shop.state()
    process, watchdog = start()
    process.send_signal(signal.SIGKILL)
    process.wait()
    while not _gone(watchdog):
        assert heal(cluster, Ledger(tmp_path / "ledger"), elsewhere=False).failed == ()
    assert heal(cluster, Ledger(tmp_path / "ledger"), elsewhere=False).failed == ()
    assert shop.state() == before


def test_without_a_watchdog_nothing_is_changed(shop, cluster, tmp_path):
    """One that is gone when the first change is due is an error that says so."""
    with Watchdog(cluster, Ledger(tmp_path / "ledger")) as watchdog:
        watchdog.await_ready()
        subprocess.run(["kill", "-KILL", str(watchdog.pid)], check=True)
        eventually(lambda: _gone(watchdog.pid))
        with pytest.raises(HarnessError, match=r"watchdog, .* is not there"):
            watchdog.await_ready()
