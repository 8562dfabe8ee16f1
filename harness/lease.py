"""One run per mesh at a time, among all machines: a Lease in the cluster that a run holds while it is at work.

The Lease is `harness-run` in the namespace `default`, one for the whole mesh: a fault in one namespace shows in the
traffic of another. A run that ends deletes it. One that is killed leaves it to whoever heals on that machine, since
its inverse is in the ledger like that of any other change; other machines take it over when it has expired.
"""

from __future__ import annotations

import getpass
import socket
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from harness.changes import OWNER, Create, Manifest, Ref, Uncreate, owner_of
from harness.cluster import Cluster, ExistsError
from harness.errors import HarnessError
from harness.ledger import Ledger, Record
from harness.wire import TransientError

LEASE: Final = Ref("coordination.k8s.io/v1", "Lease", "default", "harness-run")
"""The object that the run at work in a mesh holds."""

DURATION: Final = 30.0
"""Seconds after its last renewal from which a Lease counts as left behind."""

_EVERY: Final = 5.0  # seconds between two renewals
_WATCH: Final = 2 * _EVERY  # for how long one that looks expired is watched: clocks differ
_TRIES: Final = 3
_POLL: Final = 0.2
_IN_LEDGER: Final = 7 * 86_400.0
_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class Lease:
    """The Lease of a mesh, held by one run until `release` or the end of a `with` statement.

    Args:
        cluster: the mesh.
        ledger: where the inverse is kept.
        run: the run that holds it.
        watch: for how long, in seconds, a Lease that looks expired is watched before it is taken over.

    Raises:
        HarnessError: another run holds it; names the holder, its run and since when.
    """

    def __init__(self, cluster: Cluster, ledger: Ledger, run: str, *, watch: float = _WATCH) -> None:
        self._cluster = cluster
        self._run = run
        self._entries = ledger.open(run, cluster.identity)
        self._record: Record | None = None
        self._answered = True
        try:
            self._uid = self._acquire(watch)
        except BaseException:  # Ctrl-C, too, must not leave the claim behind
            self.release()
            raise
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Says in the cluster that the run is still at work, if it is time to say so again.

        Raises:
            HarnessError: the run does not hold the Lease any more, or could not renew it until it expired.
        """
        since = time.monotonic() - self._renewed
        if since < _EVERY:
            return
        try:
            self._cluster.patch(LEASE, self._renewal)
        except HarnessError as error:
            if since > DURATION or isinstance(error, _LostError):
                raise
        else:
            self._renewed = time.monotonic()

    def release(self) -> None:
        """Deletes the Lease if the run still holds it. Twice is harmless; what cannot be deleted expires.

        When the server has not answered whether it created it, it may do so yet: then that stays in the ledger.
        """
        try:
            if self._record is not None:
                current = self._cluster.get(LEASE)
                if current is not None and owner_of(current) == self._run:
                    self._cluster.delete(LEASE, uid=current["metadata"]["uid"])
                if self._answered:
                    self._entries.reverted(self._record)
                self._record = None
        except HarnessError:  # it stays in the ledger for the next heal, and expires by itself
            pass
        finally:
            self._entries.close()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _acquire(self, watch: float) -> str:
        undo = Uncreate(LEASE, self._run)
        for _ in range(_TRIES):
            held = self._cluster.get(LEASE)
            if held is not None:
                self._take_over(held, watch)
            create = Create(self._manifest())
            self._record = self._entries.record(self._run, create, undo, expires=time.time() + _IN_LEDGER)
            try:
                return str(self._cluster.create(create.manifest)["metadata"]["uid"])
            except TransientError:
                self._answered = False
                raise
            except ExistsError:  # somebody else was faster, and nothing was created
                self._entries.reverted(self._record)
                self._record = None
        raise HarnessError(_held(self._cluster, self._cluster.get(LEASE) or {}))

    def _take_over(self, held: Manifest, watch: float) -> None:
        """Deletes a Lease that has expired.

        Raises:
            HarnessError: it has not, or its holder renewed it while it was watched.
        """
        if _is_live(held):
            raise HarnessError(_held(self._cluster, held))
        deadline = time.monotonic() + watch
        while time.monotonic() < deadline:
            time.sleep(_POLL)
            now = self._cluster.get(LEASE)
            if now is None:
                return
            if now["metadata"]["resourceVersion"] != held["metadata"]["resourceVersion"]:
                raise HarnessError(_held(self._cluster, now))
        meta = held["metadata"]
        self._cluster.delete(LEASE, uid=meta["uid"], version=meta["resourceVersion"])

    def _renewal(self, current: Manifest) -> Manifest:
        if current["metadata"]["uid"] != self._uid:
            raise _LostError(f"The run lost the mesh: {_held(self._cluster, current)}")
        return {**current, "spec": {**current["spec"], "renewTime": _now()}}

    def _manifest(self) -> Manifest:
        now = _now()
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {
                "name": LEASE.name,
                "namespace": LEASE.namespace,
                "labels": {"app.kubernetes.io/managed-by": "harness"},
                "annotations": {OWNER: self._run},
            },
            "spec": {
                "holderIdentity": f"{_user()}@{socket.gethostname()}",
                "leaseDurationSeconds": int(DURATION),
                "acquireTime": now,
                "renewTime": now,
            },
        }


class _LostError(HarnessError):
    """Somebody else holds the Lease by now."""


def _is_live(held: Manifest) -> bool:
    """Whether its last renewal is less than its duration away from now, by the clock of this machine."""
    spec = held.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(spec["renewTime"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return False
    return abs(time.time() - renewed) < float(spec.get("leaseDurationSeconds") or DURATION)


def _held(cluster: Cluster, held: Manifest) -> str:
    spec = held.get("spec") or {}
    return (
        f"Another run is at work in the mesh at {cluster.host}: {spec.get('holderIdentity') or '(unknown)'}, "
        f"run {owner_of(held) or '(unknown)'}, since {spec.get('acquireTime') or '(unknown)'}; wait for its end, or "
        f"stop it with `harness stop`. {LEASE} is free {DURATION:g} s after its last renewal."
    )


def _now() -> str:
    return datetime.now(UTC).strftime(_FORMAT)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "(unknown)"
