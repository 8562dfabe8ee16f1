"""How people stop what is at work in a mesh: a file on this machine, a label on the target's namespace, a key.

The file stops every run of this user on this machine, the label every run that aims at the namespace, from wherever.
Both stay until somebody takes them away, and until then no run begins. The key (q and Enter) stops the run in front
of which it is pressed, as Ctrl-C does.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from harness.changes import Manifest, Ref
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.ledger import Ledger

STOP: Final = "harness.mesh/stop"
"""The label of a namespace that, set to "true", stops every run that aims at it."""

_LOOK: Final = 0.5  # seconds between two looks at the namespace


def stop_file(ledger: Ledger) -> Path:
    """The file that stops every run with this ledger as long as it is there: `stop` beside the ledger's directory."""
    return ledger.directory.parent / "stop"


def stop(ledger: Ledger) -> Path:
    """Creates the file; gives its path."""
    path = stop_file(ledger)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise HarnessError(
            f"{path} cannot be created ({error.strerror}); press Ctrl-C in the run instead."
        ) from None
    return path


def resume(ledger: Ledger) -> Path:
    """Removes the file, so that runs may begin again; gives its path."""
    path = stop_file(ledger)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HarnessError(f"{path} cannot be removed ({error.strerror}); remove it by hand.") from None
    return path


def label(cluster: Cluster, namespace: str, *, stopped: bool) -> None:
    """Sets or removes the label `STOP` of a namespace."""

    def edit(current: Manifest) -> Manifest:
        meta = current["metadata"]
        others = {name: value for name, value in (meta.get("labels") or {}).items() if name != STOP}
        return {**current, "metadata": {**meta, "labels": {**others, STOP: "true"} if stopped else others}}

    cluster.patch(Ref("v1", "Namespace", "", namespace), edit)


class KillSwitch:
    """Looks whether somebody stops the runs in a namespace, from the beginning to the end of a `with` statement."""

    def __init__(self, cluster: Cluster, ledger: Ledger, namespace: str) -> None:
        self._cluster = cluster
        self._file = stop_file(ledger)
        self._namespace = Ref("v1", "Namespace", "", namespace)
        self._looked = -_LOOK
        self._terminal = _terminal()

    def check(self) -> None:
        """Returns when nobody stops the run. It is cheap: call it several times a second.

        Raises:
            HarnessError: somebody does; says by what.
        """
        if self._file.exists():
            raise HarnessError(f"Stopped by the file {self._file}; `harness resume` removes it.")
        if self._is_pressed():
            raise HarnessError("Stopped by the key q.")
        if time.monotonic() - self._looked >= _LOOK:
            self._looked = time.monotonic()
            if self._is_labelled():
                raise HarnessError(
                    f"Stopped by the label {STOP}=true of {self._namespace}; remove it to go on."
                )

    def close(self) -> None:
        """Leaves the terminal alone. Twice is harmless."""
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def __enter__(self) -> KillSwitch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_labelled(self) -> bool:
        try:
            namespace = self._cluster.get(self._namespace)
        except HarnessError:  # the other switches work without the API server, and so does the run
            return False
        return ((namespace or {}).get("metadata", {}).get("labels") or {}).get(STOP) == "true"

    def _is_pressed(self) -> bool:
        """Whether a line with a q was typed. The terminal stays as it is: nobody has to set it back after a crash."""
        try:
            if self._terminal < 0 or os.tcgetpgrp(self._terminal) != os.getpgrp():
                return False
            return os.read(self._terminal, 1024).strip().lower() == b"q"
        except OSError:  # nothing was typed, or the terminal is gone
            return False


def _terminal() -> int:
    """The terminal of this process, -1 when there is none; pytest has replaced the standard input."""
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1
