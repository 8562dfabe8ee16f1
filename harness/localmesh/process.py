"""Child processes that die with the process that started them, even when that one is killed by SIGKILL.

The kernel sends the death signal when the *thread* that forked ends (prctl(2), PR_SET_PDEATHSIG), so everything here
must be called from a thread that lives as long as the mesh: the control loop runs in the main thread for that reason.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SETPRIV = shutil.which("setpriv") or "/usr/bin/setpriv"
_STILL_THERE = 'unset PWD; [ "$PPID" = "$0" ] && exec "$@"'


def mortal(argv: Sequence[str], parent: int) -> list[str]:
    """The command that runs `argv` and is killed when `parent`, the process that starts it, ends.

    By setpriv(1) and a shell that looks whether the parent is still there, because a `preexec_fn` costs a fork of this
    process, whose memory is large (measured: 15 ms instead of 3), and is not safe beside threads.
    """
    return [_SETPRIV, "--pdeathsig", "KILL", "/bin/sh", "-c", _STILL_THERE, str(parent), *argv]


@dataclass(frozen=True)
class Process:
    """A started child; `pidfd` becomes readable when it ends, and names it without the danger of a reused id."""

    name: str
    child: subprocess.Popen[bytes]
    pidfd: int
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), or None while it runs."""
        return self.child.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal; one that has ended is left alone."""
        if self.child.poll() is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> None:
        """Kills it if it still runs, waits for its end and gives its handle back."""
        self.signal(signal.SIGKILL)
        self.child.wait()
        os.close(self.pidfd)

    def last_words(self) -> str:
        """The last line it logged that is not empty, or "" if there is none."""
        try:
            lines = self.log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def start(name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> Process:
    """Starts `argv` with exactly the environment `env`, standard output and error appended to `log`.

    Raises:
        OSError: the program is not there or may not be run.
    """
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    with log.open("ab") as output:
        child = subprocess.Popen(
            mortal(argv, os.getpid()),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return Process(name, child, os.pidfd_open(child.pid), log)
