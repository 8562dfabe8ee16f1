"""What has to be undone, on disk before it is done.

One file of JSON lines per run. A change is recorded, with its inverse, and synced to disk before it is made; when it
was undone, a second line says so. A run that is killed in between leaves its file behind, and `pending` tells the
next one what to undo. While a run is alive it holds a lock on its file, which ends with the process however it ends.

All of this holds among the processes that share the directory. Runs on different machines do not see each other here.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from harness import clock
from harness.changes import Change, Uncreate, Undo, change_from_json, to_json, undo_from_json
from harness.errors import HarnessError

_TURN_WITHIN: Final = 30.0  # seconds; whoever is at it sends a few requests, each of which is bounded in time
_POLL: Final = 0.02


@dataclass(frozen=True)
class Record:
    """A change that was about to be made, and its inverse.

    Attributes:
        mesh: the identity of the cluster it was made in.
        run: the run that made it.
        injection: the injection within that run.
        number: tells the records of a run apart.
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
    """The open ledger of one run; with `claim`, the run counts as alive while it is open."""

    def __init__(self, path: Path, run: str, mesh: str, *, claim: bool = True) -> None:
        self._path = path
        self._run = run
        self._mesh = mesh
        self._file = _open_shared(path) if claim else _open(path)

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
        number = _read(self._path).lines
        record = Record(self._mesh, self._run, injection, number, change, undo, clock.now(), expires)
        self._append(vars(record) | {"change": to_json(change), "undo": to_json(undo)})
        return record

    def created(self, record: Record, uid: str) -> Record:
        """Writes down the UID of the object that the change of `record` created; gives the record that knows it."""
        self._append({"created": record.number, "uid": uid})
        return _identified(record, uid)

    def reverted(self, record: Record) -> None:
        """Writes down that `record` was undone, or that its change was never made."""
        self._append({"reverted": record.number})

    def close(self) -> None:
        """Ends the claim on the run; a file whose records are all reverted is removed. Twice is harmless."""
        if self._file < 0:
            return
        try:
            if _try_alone(self._file) and _read(self._path).is_done:
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

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    def open(self, run: str, mesh: str, *, claim: bool = True) -> Entries:
        """Opens the ledger of `run` against the mesh with identity `mesh` for writing; several times is fine.

        Args:
            run: the run.
            mesh: the identity of the cluster.
            claim: whether it is the run itself that opens it; else somebody who undoes what a dead one left.

        Raises:
            HarnessError: the directory or the file cannot be written.
        """
        if not re.fullmatch(r"[\w.-]+", run):
            raise HarnessError(f"The run {run!r} cannot name a file; use letters, digits, dots and dashes.")
        with _writing(self._directory):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if claim:
            self._own.add(run)
        return Entries(self._directory / f"{run}.jsonl", run, mesh, claim=claim)

    @contextmanager
    def turn(self, mesh: str) -> Iterator[None]:
        """Inside, no other run that shares this directory begins to change `mesh`.

        Raises:
            HarnessError: the directory cannot be written, or another one had the turn for half a minute.
        """
        with _writing(self._directory):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{re.sub(r'[^A-Za-z0-9-]', '-', mesh)}.lock"
        file = _open_alone(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(file)

    def pending(self, mesh: str) -> tuple[Record, ...]:
        """What is left in `mesh` by runs that are dead, or that hold it longer than they claimed; oldest first.

        What cannot be read is not in it; `damage` names that.
        """
        return tuple(record for record, claimed in self._left(mesh) if not claimed)

    def damage(self, mesh: str) -> tuple[str, ...]:
        """A sentence for each file that cannot be read as a whole, unless all it names is in other meshes."""
        contents = [_read(path) for path in self._paths()]
        return tuple(
            content.damage for content in contents if content.damage and mesh in (content.meshes or {mesh})
        )

    def claims(self, mesh: str) -> frozenset[str]:
        """The runs of others that are alive and hold changes in `mesh` which have not expired.

        Others are those who did not open their run through this object.
        """
        return frozenset(record.run for record, claimed in self._left(mesh) if claimed) - self._own

    def sweep(self) -> None:
        """Removes the files of dead runs that left nothing to undo, as a run does that was killed at its very end."""
        for path in self._paths():
            with _alone(path) as alone:
                if alone and _read(path).is_done:
                    path.unlink(missing_ok=True)
        for path in self._directory.glob("*.lock"):
            with _alone(path) as alone:
                if alone:
                    path.unlink(missing_ok=True)

    def _left(self, mesh: str) -> list[tuple[Record, bool]]:
        """The records that are not reverted, oldest first, and whether a living run claims them."""
        left: list[tuple[Record, bool]] = []
        for path in self._paths():
            with _alone(path) as alone:
                dead = alone
            left += [
                (record, not dead and record.expires > time.time())
                for record in _read(path).records
                if record.mesh == mesh
            ]
        return sorted(left, key=lambda item: (item[0].at, item[0].number))

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("*.jsonl"))


@dataclass(frozen=True)
class _Content:
    """What a file says: the records that are not reverted, the meshes it names, and what is wrong with it."""

    records: tuple[Record, ...] = ()
    meshes: frozenset[str] = frozenset()
    lines: int = 0
    damage: str = ""

    @property
    def is_done(self) -> bool:
        return not self.records and not self.damage


def _read(path: Path) -> _Content:
    """The content of a file; a torn last line does not count, since what it announces was never done."""
    try:
        *whole, _torn = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return _Content()
    except OSError as error:
        return _Content(damage=_damage(path, error))
    records: dict[int, Record] = {}
    reverted: set[int] = set()
    meshes: set[str] = set()
    damage = ""
    for number, text in enumerate(whole, start=1):
        try:
            line = json.loads(text)
            match line:
                case {"reverted": int(of)}:
                    reverted.add(of)
                case {"created": int(of), "uid": str(uid)}:
                    records[of] = _identified(records[of], uid)
                case {"mesh": str(mesh)}:
                    meshes.add(mesh)
                    record = _record(line)
                    records[record.number] = record
                case _:
                    raise ValueError("no line of a ledger")
        except (HarnessError, AttributeError, LookupError, TypeError, ValueError) as error:
            damage = damage or _damage(path, error, number)
    left = tuple(record for record in records.values() if record.number not in reverted)
    return _Content(left, frozenset(meshes), len(whole), damage)


def _record(line: dict[str, Any]) -> Record:
    record = Record(
        **line | {"change": change_from_json(line["change"]), "undo": undo_from_json(line["undo"])}
    )
    if record.change.ref != record.undo.ref or not record.at + record.expires >= 0:
        raise ValueError("change and inverse do not belong together")
    return record


def _identified(record: Record, uid: str) -> Record:
    return (
        replace(record, undo=replace(record.undo, uid=uid)) if isinstance(record.undo, Uncreate) else record
    )


def _damage(path: Path, error: Exception, number: int = 0) -> str:
    where = f"{path}, line {number}," if number else str(path)
    return (
        f"The ledger {where} cannot be read ({type(error).__name__}: {error}); "
        "look in it for what has to be undone, undo it by hand and remove the file."
    )


def _open_alone(path: Path) -> int:
    """Opens a file, created if need be, under a lock that nobody else has."""
    deadline = time.monotonic() + _TURN_WITHIN
    while True:
        with _writing(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if _try_alone(file) and os.fstat(file).st_nlink:  # else whoever had it has removed it
            return file
        os.close(file)
        if time.monotonic() > deadline:
            raise HarnessError(
                f"Another run has been changing the mesh for {_TURN_WITHIN:g} s and holds {path}; wait for its end."
            )
        time.sleep(_POLL)


def _open(path: Path) -> int:
    """Opens a file for appending, created if need be."""
    with _writing(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)


def _open_shared(path: Path) -> int:
    """Opens a file for appending, under a lock that those who write it share."""
    while True:
        file = _open(path)
        with _writing(path):
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file).st_nlink:  # else it was removed between the two calls
                _sync_directory(path.parent)
                return file
            os.close(file)


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether no living run holds the file; if so, none can open it until the end of the `with` statement.

    A file that may not be opened belongs to somebody else, whom nobody knows to be alive or dead: it counts as held.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        yield isinstance(error, FileNotFoundError)
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
