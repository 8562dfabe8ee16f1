"""A mesh as a process of its own: start it, find it again, end it.

A running mesh holds a lock on its folder, which the kernel gives up when it ends, however it ends: that lock, and no
process id, says whether a mesh is up. Its folder is `$XDG_RUNTIME_DIR/harness/NAME` (or `/tmp/harness-UID/NAME`),
readable by its owner only, since it holds keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from harness.localmesh.errors import MeshError
from harness.localmesh.process import mortal

_STATE = "mesh.json"
_LOG = "mesh.log"
READY = "READY "
"""Begins the line in which a mesh tells its addresses to whoever launched it."""

FAILED = "FAILED "
"""Begins the line in which it says why it cannot come up."""

_DOWN_WITHIN = 10.0
_CLAIM_WITHIN = 0.5
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")


@dataclass(frozen=True)
class Addresses:
    """All that anybody needs to know of a mesh. The Prometheus URL holds its password."""

    kubeconfig: Path
    entry_url: str
    prometheus_url: str

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps({**asdict(self), "kubeconfig": str(self.kubeconfig)})

    @classmethod
    def from_json(cls, text: str) -> Addresses:
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(Path(fields["kubeconfig"]), fields["entry_url"], fields["prometheus_url"])


@dataclass(frozen=True)
class Running:
    """A mesh that is up: its process, and its addresses once it is ready."""

    pid: int
    addresses: Addresses | None


def home(name: str) -> Path:
    """The folder of the mesh of that name.

    Raises:
        MeshError: the name is none, or the folder of all meshes is not this user's alone.
    """
    if not _NAME.fullmatch(name):
        raise MeshError(f'"{name}" is no name for a mesh; use lower case letters, digits and dashes.')
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "harness" if runtime else Path("/tmp") / f"harness-{os.getuid()}"  # noqa: S108
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise MeshError(f"{base} is not a folder of yours alone; set XDG_RUNTIME_DIR to one that is.")
    return base / name


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[Callable[[Addresses], None]]:
    """Holds the folder for a mesh in this process, and gives the function that tells others its addresses.

    What a mesh that was killed left in it is removed first; at the end the folder is removed.

    Raises:
        MeshError: a mesh is up there.
    """
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _claim(directory)
    with lock:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        _write_state(directory, None)
        try:
            yield lambda addresses: _write_state(directory, addresses)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            _lock_file(directory).unlink(missing_ok=True)


def find(directory: Path) -> Running | None:
    """The mesh that is up in the folder, or None; what one that was killed left there is removed."""
    if not _lock_file(directory).exists():
        return None
    lock = _locked(directory)
    if lock is None:
        return _read_state(directory)
    with lock:
        shutil.rmtree(directory, ignore_errors=True)
        _lock_file(directory).unlink(missing_ok=True)
    return None


def end(directory: Path, within: float = _DOWN_WITHIN) -> bool:
    """Takes the mesh in the folder down and waits until it is gone; False when there was none.

    Args:
        directory: the folder of the mesh.
        within: seconds after which it is killed, which ends its processes too.
    """
    running = find(directory)
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(running.pid)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            if not _ends(pidfd, within):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                _ends(pidfd, within)
        finally:
            os.close(pidfd)
    find(directory)
    return True


def detach(directory: Path, manifests: Sequence[Path], announce: Callable[[str], None]) -> Addresses:
    """Brings a mesh up that stays up after this process has ended, until `end`.

    Raises:
        MeshError: it does not come up.
    """
    child = _spawn(directory, manifests, parent=None)
    try:
        return _await_ready(child, announce)
    finally:
        if child.stdout is not None:
            child.stdout.close()


@contextlib.contextmanager
def launch(
    manifests: Sequence[Path], announce: Callable[[str], None], directory: Path | None = None
) -> Iterator[Addresses]:
    """A mesh for as long as the block lasts; it ends with this process too, even if that one is killed.

    Call it from the main thread: the mesh dies with the thread that launched it.

    Raises:
        MeshError: it does not come up.
    """
    directory = directory or _own_home()
    child = _spawn(directory, manifests, parent=os.getpid())
    try:
        yield _await_ready(child, announce)
    finally:
        child.terminate()
        try:
            child.wait(_DOWN_WITHIN)
        except subprocess.TimeoutExpired:
            child.kill()
        with child:
            find(directory)


def _own_home() -> Path:
    """A folder for a mesh of this process; what those of killed processes left beside it is removed."""
    own = home(f"run-{os.getpid()}")
    for lock in own.parent.glob("run-*.lock"):
        find(lock.with_name(lock.name.removesuffix(".lock")))
    return own


def _claim(directory: Path) -> IO[str]:
    """The lock of the folder. Whoever only looks (harness status) holds it for a moment too: that is waited for."""
    deadline = time.monotonic() + _CLAIM_WITHIN
    while (lock := _locked(directory)) is None:
        if time.monotonic() > deadline:
            raise MeshError(
                f"A mesh is already up in {directory}; take it down (harness down) or give this one another --name."
            )
        time.sleep(0.02)
    return lock


def _lock_file(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.lock")


def _locked(directory: Path) -> IO[str] | None:
    """The lock of the folder, held until it is closed; None when a mesh holds it."""
    path = _lock_file(directory)
    while True:
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed the file since it was opened: then it is no lock any more.
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        except FileNotFoundError:
            pass
        except BlockingIOError:
            lock.close()
            return None
        lock.close()


def _spawn(directory: Path, manifests: Sequence[Path], parent: int | None) -> subprocess.Popen[str]:
    argv = [sys.executable, "-P", "-m", "harness.localmesh", str(directory), *map(str, manifests)]
    return subprocess.Popen(
        mortal(argv, parent) if parent else argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A session of its own: Ctrl-C in the terminal ends the experiment first, which then ends its mesh.
        start_new_session=True,
    )


def _await_ready(child: subprocess.Popen[str], announce: Callable[[str], None]) -> Addresses:
    if child.stdout is None:
        raise AssertionError("the mesh's output is a pipe")
    said = ""
    for line in child.stdout:
        said = line.rstrip("\n")
        if said.startswith(READY):
            return Addresses.from_json(said.removeprefix(READY))
        if said.startswith(FAILED):
            raise MeshError(said.removeprefix(FAILED))
        announce(said)
    child.wait()
    raise MeshError(
        said or f"The mesh ended with code {child.returncode} without a word; look at {_LOG} in its folder."
    )


def _ends(pidfd: int, within: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(within * 1000))


def _write_state(directory: Path, addresses: Addresses | None) -> None:
    state = {"pid": os.getpid(), "addresses": addresses.to_json() if addresses else None}
    new = directory / f".{_STATE}"
    new.touch(mode=0o600)
    new.write_text(json.dumps(state))
    new.replace(directory / _STATE)


def _read_state(directory: Path) -> Running | None:
    try:
        state = json.loads((directory / _STATE).read_text())
    except FileNotFoundError:
        return None
    addresses = Addresses.from_json(state["addresses"]) if state["addresses"] else None
    return Running(state["pid"], addresses)
