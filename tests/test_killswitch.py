"""The kill switch: a file, a label and a key, each of which ends a run."""

import os
import pty
import signal
import sys
import time

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.killswitch import STOP, KillSwitch, label, resume, stop, stop_file
from harness.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger(tmp_path / "harness" / "ledger")


@pytest.fixture
def switch(cluster, kube_api, ledger):
    """That of a run in the namespace shop."""
    kube_api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    with KillSwitch(cluster, ledger, "shop") as switch:
        switch.check()
        yield switch


def test_the_file_stops_until_it_is_removed(switch, ledger):
    """By the command or by hand; the message names it."""
    assert stop(ledger) == stop_file(ledger)
    with pytest.raises(HarnessError, match=r"Stopped by the file .*/stop"):
        switch.check()
    resume(ledger)
    resume(ledger)
    switch.check()


def test_the_label_stops_within_a_second(switch, cluster):
    """Whoever set it, from whatever machine."""
    label(cluster, "shop", stopped=True)
    began = time.monotonic()

    def watch():
        while time.monotonic() < began + 5:
            switch.check()

    with pytest.raises(HarnessError, match=f"Stopped by the label {STOP}=true of Namespace shop"):
        watch()
    assert time.monotonic() - began < 1.0
    label(cluster, "shop", stopped=False)
    assert STOP not in cluster.list("v1", "Namespace")[-1]["metadata"].get("labels", {})


def test_a_label_that_cannot_be_seen_stops_nothing(switch, kube_api):
    """An API server that refuses to answer is no reason to end a run."""
    kube_api.before = lambda request: kube_api.reply(403)
    switch._looked = 0.0
    switch.check()


PRESSED = """
import sys, time
from pathlib import Path
from harness.killswitch import KillSwitch
from harness.ledger import Ledger
class NoCluster:
    def get(self, ref):
        return None
switch = KillSwitch(NoCluster(), Ledger(Path(sys.argv[1])), "shop")
print("watching", flush=True)
while True:
    try:
        switch.check()
    except Exception as error:
        print(error, flush=True)
        break
    time.sleep(0.05)
"""


def test_the_key_stops_the_run_in_front_of_which_it_is_pressed(tmp_path):
    """In a terminal of its own; other lines do not."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", PRESSED, str(tmp_path)])  # noqa: S606 - in the child
    try:
        said = b""
        while b"watching" not in said:
            said += os.read(terminal, 1024)
        os.write(terminal, b"hello\n")
        os.write(terminal, b"q\n")
        while b"Stopped by the key q." not in said:
            said += os.read(terminal, 1024)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_the_commands_name_the_file_and_set_the_label(
    kube_api, write_kubeconfig, tmp_path, monkeypatch, capsys
):
    """What `harness stop` did, `harness resume` takes back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    kube_api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    more = ["--namespace", "shop", "--kubeconfig", str(write_kubeconfig(kube_api.url))]
    assert main(["stop", *more]) == 0
    assert str(tmp_path / "harness" / "stop") in capsys.readouterr().err
    assert (tmp_path / "harness" / "stop").exists()
    assert kube_api.objects["/api/v1/namespaces/shop"]["metadata"]["labels"] == {STOP: "true"}
    assert main(["resume", *more]) == 0
    assert not (tmp_path / "harness" / "stop").exists()
    assert STOP not in kube_api.objects["/api/v1/namespaces/shop"]["metadata"]["labels"]
