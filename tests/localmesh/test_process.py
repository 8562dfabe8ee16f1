"""Child processes."""

import os
import signal
import subprocess
import sys

import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.localmesh.process import start

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
PARENT = """
import os, pathlib, sys, time
from harness.localmesh.process import start
child = start("child", [sys.executable, "-c", "import time; time.sleep(60)"], env={}, log=pathlib.Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _gone(pid):
    wait = Retrying(
        stop=stop_after_delay(10), wait=wait_fixed(0.01), retry=retry_if_result(bool), reraise=True
    )
    return not wait(_alive, pid)


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path):
    """SIGKILL leaves the parent no moment to clean up, and still nothing of it is left."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.kill()
    assert _gone(child)


def test_what_a_child_said_last_can_be_told(tmp_path):
    """The last line that is not empty explains why it ended."""
    code = "import sys; print('first'); print('the reason'); print(); sys.exit(3)"
    process = start("child", [sys.executable, "-c", code], env={}, log=tmp_path / "log")
    process.child.wait()
    assert process.exit_code == 3
    assert process.last_words() == "the reason"
    process.reap()


def test_a_child_gets_the_environment_it_is_given_and_no_other(tmp_path):
    """Nothing of ours leaks into a workload."""
    os.environ["LEAK"] = "1"
    code = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"
    process = start("child", [sys.executable, "-c", code], env={"A": "1"}, log=tmp_path / "log")
    process.child.wait()
    del os.environ["LEAK"]
    assert process.last_words() == "['A']"
    process.reap()


def test_reaping_ends_a_child_that_still_runs(tmp_path):
    """After it, the process is gone and cannot be signalled any more."""
    process = start("child", SLEEP, env={}, log=tmp_path / "log")
    process.reap()
    assert process.exit_code == -signal.SIGKILL
    process.signal(signal.SIGTERM)


def test_a_program_that_is_not_there_is_an_error_at_once(tmp_path):
    """It is not a child that ends with a code nobody understands."""
    with pytest.raises(FileNotFoundError):
        start("child", ["/no/such/program"], env={}, log=tmp_path / "log")
