"""What a run holds while it is at work: a watchdog that outlives it, the Lease of the mesh, and the kill switch."""

from __future__ import annotations

from types import TracebackType

from harness.cluster import Cluster
from harness.killswitch import KillSwitch
from harness.lease import Lease
from harness.ledger import Ledger
from harness.watchdog import Watchdog


class Tenure:
    """A run at work in a mesh, from the beginning to the end of a `with` statement.

    The watchdog comes up from the beginning on, beside whatever is done meanwhile; the mesh is taken by `take`. At the
    end, what the run could not undo is left to the watchdog.
    """

    def __init__(self, cluster: Cluster, ledger: Ledger, run: str, namespace: str) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._run = run
        self._switch = KillSwitch(cluster, ledger, namespace)
        self._watchdog = Watchdog(cluster, ledger)
        self._lease: Lease | None = None

    def take(self) -> None:
        """Takes the mesh. Raises HarnessError when another run is at work there, or somebody stops all runs."""
        self._switch.check()
        self._lease = Lease(self._cluster, self._ledger, self._run)

    def check(self) -> None:
        """Keeps the mesh. Raises HarnessError when the run has to end: it lost the mesh, or somebody stops it."""
        self._switch.check()
        if self._lease is not None:
            self._lease.renew()

    def await_watchdog(self) -> None:
        """Returns when the watchdog watches. Raises HarnessError when it does not: then nothing may be changed."""
        self._watchdog.await_ready()

    def __enter__(self) -> Tenure:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._lease is not None:
                self._lease.release()
        finally:
            self._switch.close()
            if self._ledger.pending(self._cluster.identity):
                self._watchdog.leave()
            else:
                self._watchdog.end()
