"""A small process that reverts what a run did when the run itself no longer can: after SIGKILL, or the OOM killer's.

It is started before the first change, in a session of its own, and waits for the end of the run's process with
everything loaded and a connection open. All it holds is the name of the kubeconfig and that of the ledger. When the
run says that it is over, it ends without a word. When the process is gone and has not said so, or says that it could
not undo everything, it reverts what the ledger says for two minutes, with whatever credentials the kubeconfig holds by
then, and writes what it did to `watchdog.log` beside the ledger. Several of them, or one and `harness heal`, may do so
at once.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.healing import Healing, heal, undone_again, unsettled
from harness.ledger import Ledger, Record

LOG: Final = "watchdog.log"
"""The file beside the ledger in which watchdogs say what they reverted."""

_READY: Final = b"ready\n"
_OVER: Final = b"over\n"
_LEFT: Final = b"left\n"
_UP_WITHIN: Final = 20.0  # seconds
_END_WITHIN: Final = 5.0
_PATIENCE: Final = 120.0  # seconds in which an API server may come back
_PAUSE: Final = 0.2  # before the second try; twice as long before each further one
_LONGEST_PAUSE: Final = 5.0
_LOOK: Final = 0.5
_LATE: Final = (
    1.0,
    2.0,
    3.0,
    5.0,
)  # seconds between looks for what was still on its way; a request may take 10 s


class Watchdog:
    """The watchdog of this process for one mesh, from the beginning to the end of a `with` statement.

    It comes up beside whatever is done meanwhile; `await_ready` has to be called before the first change.
    """

    def __init__(self, cluster: Cluster, ledger: Ledger) -> None:
        kubeconfig, context = cluster.opened
        arguments = [str(kubeconfig or ""), context or "", str(ledger.directory.absolute()), str(os.getpid())]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._ready = False

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def await_ready(self) -> None:
        """Returns as soon as it watches; at once when it was ready before.

        Raises:
            HarnessError: it did not come up, or is gone again; then nothing may be changed.
        """
        if self._ready and self._process.poll() is None:
            return
        if not self._ready and _read(_opened(self._process.stdout), _UP_WITHIN).endswith(_READY):
            self._ready = True
            return
        raise HarnessError(
            "The watchdog, which would revert the faults of a run that is killed, is not there, so nothing is "
            f"changed; try `{sys.executable} -c 'import {__name__}'`, and see whether the machine is short of memory."
        )

    def end(self) -> None:
        """Tells it that the run is over, and waits for its end. Twice is harmless."""
        self._say(_OVER)
        try:
            self._process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _opened(self._process.stdout).close()

    def leave(self) -> None:
        """Leaves what the run could not revert to the watchdog, which goes on also when this process ends."""
        self._say(_LEFT)
        _opened(self._process.stdout).close()
        threading.Thread(target=self._process.wait, daemon=True).start()  # whoever starts a process buries it

    def _say(self, word: bytes) -> None:
        pipe = _opened(self._process.stdin)
        with suppress(BrokenPipeError):  # it ended before us: there is nobody to tell
            if not pipe.closed:
                pipe.write(word)
                pipe.close()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def main() -> None:
    """The watchdog itself: `python -m harness.watchdog KUBECONFIG CONTEXT LEDGER PID`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the run does, and not before
    kubeconfig, context, directory, pid = sys.argv[1:]
    ledger = Ledger(Path(directory))
    with Cluster.connect(Path(kubeconfig) if kubeconfig else None, context or None) as cluster:
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        if not _await_end(int(pid)):
            _revert(cluster, ledger)


def _await_end(pid: int) -> bool:
    """Waits until the process that started this one says that it is over (True), or is gone or gives up (False).

    The pipe alone would tell too early: a process that is killed may close it before it gives up its locks.
    """
    said = _read(sys.stdin.buffer, None)
    if said in (_OVER, _LEFT):
        return said == _OVER
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        while os.getppid() == pid and not select.select([process], [], [], _LOOK)[0]:
            pass
    finally:
        os.close(process)
    return False


def _revert(cluster: Cluster, ledger: Ledger) -> None:
    """Reverts what is left until nothing fails or the patience is over, and writes it down."""
    deadline, pause = time.monotonic() + _PATIENCE, _PAUSE
    records = ledger.pending(cluster.identity)
    healing = _heal(cluster, ledger)
    _log(ledger, healing)
    while healing.failed and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        healing = _heal_anew(cluster, ledger)
        if not healing.failed or time.monotonic() > deadline:
            _log(ledger, healing)
    _look_again(cluster, ledger, unsettled(cluster, records))


def _look_again(cluster: Cluster, ledger: Ledger, records: Sequence[Record]) -> None:
    """Reverts what comes into force although whoever asked for it is gone: a server may be slow, and fail again."""
    pauses, deadline = list(_LATE) if records else [], time.monotonic() + _PATIENCE
    while pauses:
        time.sleep(pauses.pop(0))
        healing = undone_again(cluster, records)
        _log(ledger, healing)
        if healing.failed and not pauses and time.monotonic() < deadline:
            pauses.append(_LONGEST_PAUSE)


def _heal_anew(before: Cluster, ledger: Ledger) -> Healing:
    """As `_heal`, through a new connection with what the kubeconfig says now: a token may have been renewed."""
    try:
        with Cluster.connect(*before.opened) as cluster:
            if cluster.identity == before.identity:
                return _heal(cluster, ledger)
            return Healing(
                failed=("The kubeconfig names another mesh by now; run `harness heal` for this one.",)
            )
    except HarnessError as error:
        return Healing(failed=(str(error),))


def _heal(cluster: Cluster, ledger: Ledger) -> Healing:
    try:
        return heal(cluster, ledger, elsewhere=False)
    except HarnessError as error:
        return Healing(failed=(str(error),))


def _log(ledger: Ledger, healing: Healing) -> None:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # a full disk is no reason to leave a fault in force
    with suppress(OSError), (ledger.directory / LOG).open("a", encoding="utf-8") as log:
        log.writelines(f"{at} {sentence}\n" for sentence in healing.sentences)


def _read(pipe: IO[bytes], within: float | None) -> bytes:
    """The first line of a pipe; what there is of it when the pipe ends or the time is up."""
    said = b""
    while not said.endswith(b"\n") and select.select([pipe], [], [], within)[0]:
        if not (more := os.read(pipe.fileno(), 64)):
            break
        said += more
    return said


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - it was asked for
    return pipe


if __name__ == "__main__":
    main()
