"""What has to be undone, on disk before it is done.

One file of JSON lines per run. A change is recorded, with its inverse, and synced to disk before it is made; when it
was undone, a second line says so. A run that is killed in between leaves its file behind, and `pending` tells the
next one what to undo. While a run is alive it holds a lock on its file, which ends with the process however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.changes import Change, Undo, change_from_json, to_json, undo_from_json
from harness.errors import HarnessError


@dataclass(frozen=True)
class Record:
    """A change that was about to be made, and its inverse.

    Attributes:
        mesh: the identity of the cluster it was made in.
        run: the run that made it.
        injection: the injection within that run.
        number: counts the records of a run from 0.
        change: what was to be done.
        undo: how to undo it.
        at: when it was written down, in seconds since the epoch.
        expires: until when the run claims it, in seconds since the epoch; then anybody may undo it.
    """

    mesh: str
    run: str
    injection: str
    number: int
    change: Change
    undo: Undo
    at: float
    expires: float


class Entries:
    """The open ledger of one run; while it is open, the run counts as alive."""

    def __init__(self, path: Path, run: str, mesh: str) -> None:
        self._path = path
        self._run = run
        self._mesh = mesh
        self._file = _open_shared(path)

    def record(self, injection: str, change: Change, undo: Undo, *, expires: float) -> Record:
        """Writes down a change that is about to be made; it is on disk when this returns.

        Args:
            injection: the injection that makes it.
            change: what is to be done.
            undo: how to undo it.
            expires: until when the run claims it, in seconds since the epoch.

        Raises:
            HarnessError: it could not be written, so the change must not be made.
        """
        number = sum("change" in line for line in _lines(self._path))
        record = Record(self._mesh, self._run, injection, number, change, undo, time.time(), expires)
        self._append(vars(record) | {"change": to_json(change), "undo": to_json(undo)})
        return record

    def reverted(self, record: Record) -> None:
        """Writes down that `record` was undone, or that its change was never made."""
        self._append({"reverted": record.number})

    def close(self) -> None:
        """Ends the claim on the run; a file whose records are all reverted is removed. Twice is harmless."""
        if self._file < 0:
            return
        try:
            if _try_alone(self._file) and not _unreverted(self._path):
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Entries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, content: dict[str, Any]) -> None:
        with _writing(self._path):
            _cut_torn_line(self._file)
            line = memoryview(json.dumps(content).encode() + b"\n")
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)


class Ledger:
    """A directory with one file per run.

    Args:
        directory: default is `harness/ledger` in $XDG_STATE_HOME, which is ~/.local/state if unset. It is created,
            for its owner only, when the first run is opened.
    """

    def __init__(self, directory: Path | None = None) -> None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        self._directory = directory or state / "harness" / "ledger"
        self._own: set[str] = set()

    def open(self, run: str, mesh: str) -> Entries:
        """Opens the ledger of `run` against the mesh with identity `mesh` for writing; several times is fine.

        Raises:
            HarnessError: the directory or the file cannot be written.
        """
        if not re.fullmatch(r"[\w.-]+", run):
            raise HarnessError(f"The run {run!r} cannot name a file; use letters, digits, dots and dashes.")
        with _writing(self._directory):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own.add(run)
        return Entries(self._directory / f"{run}.jsonl", run, mesh)

    def pending(self, mesh: str) -> tuple[Record, ...]:
        """What is left in `mesh` by runs that are dead, or that hold it longer than they claimed; oldest first.

        Raises:
            HarnessError: a file cannot be read.
        """
        return tuple(record for record, claimed in self._left(mesh) if not claimed)

    def claims(self, mesh: str) -> frozenset[str]:
        """The runs of others that are alive and hold changes in `mesh` which have not expired.

        Others are those who did not open their run through this object.

        Raises:
            HarnessError: a file cannot be read.
        """
        return frozenset(record.run for record, claimed in self._left(mesh) if claimed) - self._own

    def sweep(self) -> None:
        """Removes the files of dead runs that left nothing to undo, as a run does that was killed at its very end."""
        for path in self._directory.glob("*.jsonl"):
            with _alone(path) as alone:
                if alone and not _unreverted(path):
                    path.unlink(missing_ok=True)

    def _left(self, mesh: str) -> list[tuple[Record, bool]]:
        """The records that are not reverted, oldest first, and whether a living run claims them."""
        left: list[tuple[Record, bool]] = []
        for path in sorted(self._directory.glob("*.jsonl")):
            with _alone(path) as alone:
                dead = alone
            left += [
                (record, not dead and record.expires > time.time())
                for record in _unreverted(path)
                if record.mesh == mesh
            ]
        return sorted(left, key=lambda item: (item[0].at, item[0].number))


def _unreverted(path: Path) -> list[Record]:
    lines = _lines(path)
    reverted = {line["reverted"] for line in lines if "reverted" in line}
    try:
        return [_record(line) for line in lines if "change" in line and line["number"] not in reverted]
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, error) from None


def _record(line: dict[str, Any]) -> Record:
    return Record(**line | {"change": change_from_json(line["change"]), "undo": undo_from_json(line["undo"])})


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; a torn last one does not count, since what it announces was never done."""
    try:
        *whole, _torn = path.read_bytes().split(b"\n")
        return [json.loads(line) for line in whole]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _corrupt(path, error) from None


def _corrupt(path: Path, error: Exception) -> HarnessError:
    return HarnessError(
        f"The ledger {path} cannot be read ({type(error).__name__}: {error}); "
        "look in it for what has to be undone, undo it by hand and remove the file."
    )


def _open_shared(path: Path) -> int:
    """Opens a file for appending, under a lock that those who write it share."""
    while True:
        with _writing(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file).st_nlink:  # else it was removed between the two calls
                _sync_directory(path.parent)
                return file
            os.close(file)


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether no living run holds the file; if so, none can open it until the end of the `with` statement."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _try_alone(file)
    finally:
        os.close(file)


def _try_alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cut_torn_line(file: int) -> None:
    """Removes what an interrupted write left after the last whole line."""
    size = os.fstat(file).st_size
    tail = os.pread(file, size, 0)
    if not tail.endswith(b"\n"):
        os.ftruncate(file, tail.rfind(b"\n") + 1)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"The ledger {path} cannot be written ({error.strerror}), so nothing more is changed in the mesh; "
            "make room or make it writable, or choose another directory."
        ) from None
