"""Faults in force: changes applied, their inverses on disk first, and reverted by one and the same code.

`Injection.revert` undoes what this process did, `heal` what runs before it left behind. Both are harmless when there
is nothing to undo, and both go on past an object that cannot be restored. What is to be undone is in the ledger of
this machine. EnvoyFilters say in the cluster, too, how long their run claims them, so `heal` finds those of all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from types import TracebackType
from typing import Final
from uuid import uuid4

from harness.changes import (
    OWNER,
    Change,
    Create,
    Delete,
    LeftToController,
    Manifest,
    Patch,
    Recreate,
    Ref,
    Restore,
    Uncreate,
    apply,
    owner_of,
    render,
    restore,
    undo,
)
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.faults import BlastRadius, Fault, Scene, Target
from harness.ledger import Entries, Ledger, Record
from harness.leftovers import EXPIRES, Leftovers, leftovers, stamp

__all__ = ["EXPIRES", "Healing", "Injection", "apply_changes", "heal", "inject", "resolve"]

_GRACE: Final = 30.0  # seconds that Kubernetes gives a pod to end unless it says otherwise
_LONGEST_GRACE: Final = 120.0
_MARGIN: Final = 10.0
_POLL: Final = 0.1


@dataclass(frozen=True)
class Healing:
    """What a revert did, in sentences.

    Attributes:
        done: objects that are as they were before.
        kept: fields or objects that were left alone, since somebody else changed them meanwhile.
        failed: objects that could not be restored, with the reason; they stay in the ledger.
        claimed: faults in force that `heal` left alone, since the run that made them claims them still.
        unseen: what `heal` could not look for, with the reason.
    """

    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    def __add__(self, other: Healing) -> Healing:
        return Healing(**{name: mine + vars(other)[name] for name, mine in vars(self).items()})

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it."""
        return tuple(text for texts in vars(self).values() for text in texts)


class Injection:
    """Changes in force, until `revert` or the end of a `with` statement.

    Attributes:
        name: `<run>/<id>`: the owner of the objects it created.
        started: when the first change was about to be made, in seconds since the epoch.
        expires: until when the run claims it, in seconds since the epoch.
    """

    def __init__(self, cluster: Cluster, entries: Entries, run: str, expires_in: float) -> None:
        self.name = f"{run}/{uuid4().hex[:8]}"
        self.started = time.time()
        self.expires = self.started + expires_in
        self._cluster = cluster
        self._entries = entries
        self._records: list[Record] = []

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes in force, in the order in which they were made."""
        return tuple(record.change for record in self._records)

    def revert(self) -> Healing:
        """Undoes the changes, the last one first; what was undone once is not undone again.

        Never raises for an object that cannot be restored: that is in `failed`, and stays in the ledger.
        """
        healing = Healing()
        for record in reversed(tuple(self._records)):
            outcome = _undo(self._cluster, self._entries, record)
            healing += outcome
            if not outcome.failed:
                self._records.remove(record)
        if not self._records:
            self._entries.close()
        return healing

    def end(self) -> Healing:
        """Reverts, and ends the claim: what could not be undone is from now on for `heal` to undo."""
        try:
            return self.revert()
        finally:
            self._entries.close()

    def __enter__(self) -> Injection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = self.end().failed
        if failed and error is None:
            raise HarnessError(_leftover(failed))

    def _make(self, change: Change) -> None:
        """Makes a change; its inverse is on disk before."""
        match change:
            case Create(manifest):
                marked = Create(self._marked(manifest))
                self._record(marked, self._cluster.get(change.ref))
                created = self._cluster.create(marked.manifest)
                self._records[-1] = self._entries.created(self._records[-1], created["metadata"]["uid"])
            case Patch(ref):
                self._cluster.patch(ref, lambda current: self._patched(change, current))
            case Delete(ref, grace_seconds):
                before = self._cluster.get(ref)
                self._record(change, before)
                uid = before["metadata"]["uid"] if before else None
                self._cluster.delete(ref, grace_seconds, uid=uid)

    def _record(self, change: Change, before: Manifest | None) -> None:
        inverse = undo(change, before)
        self._records.append(self._entries.record(self.name, change, inverse, expires=self.expires))

    def _patched(self, patch: Patch, current: Manifest) -> Manifest:
        """The object with a patch made; what is recorded belongs to exactly the object that will be written.

        When a write met a conflict or its answer was lost, this is called again, with an object that may hold the
        patch already. Then what it held before is what the earlier record says, wherever nobody else has changed it.
        """
        last = self._records[-1] if self._records and self._records[-1].change is patch else None
        if last is None:
            self._record(patch, current)
            return apply(patch, current)
        assert isinstance(last.undo, Restore)  # noqa: S101 - the inverse of a patch is nothing else
        base, _kept = restore(last.undo, current)
        if undo(patch, base) != last.undo:
            self._record(patch, base)
            self._records.remove(last)
            self._entries.reverted(last)
        return apply(patch, base)

    def _marked(self, manifest: Manifest) -> Manifest:
        marked = deepcopy(manifest)
        marked["metadata"].setdefault("annotations", {}).update(
            {OWNER: self.name, EXPIRES: stamp(self.expires)}
        )
        return marked


def resolve(cluster: Cluster, target: Target, *, run: str, seed: int) -> Scene:
    """The ready pods of a target that are not about to end.

    Raises:
        HarnessError: there is none.
    """
    pods = cluster.pods(target.namespace, target.labels)
    return Scene(target, tuple(pod for pod in pods if pod.ready and not pod.terminating), run, seed)


def inject(
    cluster: Cluster,
    fault: Fault,
    scene: Scene,
    *,
    ledger: Ledger,
    blast_radius: BlastRadius,
    expires_in: float | None = None,
) -> Injection:
    """Puts a fault in force; nothing is written before everything has been checked.

    Args:
        cluster: where.
        fault: what.
        scene: the pods it acts on.
        ledger: where the inverses are kept.
        blast_radius: what the fault must stay within.
        expires_in: for how long the run claims it, in seconds, the time to revert it included; default is
            `blast_radius.seconds`. After that, `heal` of any other process may undo it.

    Raises:
        HarnessError: the fault reaches too far or cannot bite, another run is at work in this mesh, or a change
            failed; then those made before it have been reverted.
    """
    seconds = blast_radius.seconds if expires_in is None else expires_in
    blast_radius.check(fault, scene)
    return apply_changes(cluster, fault.changes(scene), run=scene.run, ledger=ledger, expires_in=seconds)


def apply_changes(
    cluster: Cluster, changes: Sequence[Change], *, run: str, ledger: Ledger, expires_in: float
) -> Injection:
    """Applies changes as `inject` does, without a fault and without a blast radius.

    Of several runs that share the ledger's directory one at a time looks whether it is alone, and makes its changes.
    Runs on different machines do not keep each other out; only `heal` sees the EnvoyFilters of the others.

    Args:
        cluster: where.
        changes: what, in this order.
        run: the run that makes them.
        ledger: where the inverses are kept.
        expires_in: for how long the run claims them, in seconds.

    Raises:
        HarnessError: another run is at work in this mesh, the ledger is damaged, or a change failed; those made
            before are reverted.
    """
    with ledger.turn(cluster.identity):
        if others := sorted(ledger.claims(cluster.identity)):
            raise HarnessError(
                f"Another run is at work in the mesh at {cluster.host}: {', '.join(others)}; wait for its end."
            )
        if damage := ledger.damage(cluster.identity):
            raise HarnessError(damage[0])
        injection = Injection(cluster, ledger.open(run, cluster.identity), run, expires_in)
        try:
            for change in changes:
                injection._make(change)
        except BaseException as error:  # Ctrl-C, too, must not leave half a fault behind
            failed = injection.end().failed
            if failed and isinstance(error, HarnessError):
                raise HarnessError(f"{error} {_leftover(failed)}") from error
            raise
    return injection


def heal(cluster: Cluster, ledger: Ledger, *, elsewhere: bool = True) -> Healing:
    """Reverts what runs that ended without it left in this mesh, newest first.

    That is what the ledger of this machine knows, and the EnvoyFilters of runs of any machine, in all namespaces,
    whose claim is over. The changes of a run that is still alive are left alone until they expire. A ledger that
    cannot be read is named in `failed`, when everything else has been done.

    Args:
        cluster: where.
        ledger: what runs of this machine wrote down.
        elsewhere: whether to look for what runs of other machines left, too.

    Raises:
        HarnessError: the ledger cannot be written.
    """
    healing = Healing()
    with ExitStack() as stack:
        runs: dict[str, Entries] = {}
        for record in reversed(ledger.pending(cluster.identity)):
            if record.run not in runs:
                runs[record.run] = stack.enter_context(ledger.open(record.run, record.mesh))
            healing += _undo(cluster, runs[record.run], record)
    if elsewhere:
        healing += _remove(cluster, leftovers(cluster)) + Healing(failed=ledger.damage(cluster.identity))
    ledger.sweep()
    return healing


def _remove(cluster: Cluster, found: Leftovers) -> Healing:
    """Deletes the leftovers whose claim is over, and names the others."""
    healing = Healing(claimed=found.claimed, unseen=found.unseen)
    for ref, uid in found.expired:
        try:
            cluster.delete(ref, uid=uid)
            healing += Healing(done=(f"{ref}, which a run left whose claim is over, is deleted.",))
        except HarnessError as error:
            healing += Healing(failed=(f"{ref}, which a run left whose claim is over, is in force: {error}",))
    return healing


def _undo(cluster: Cluster, entries: Entries, record: Record) -> Healing:
    """Undoes one change and writes that down."""
    try:
        healing = _restore(cluster, record)
    except HarnessError as error:
        return Healing(failed=(f"{record.undo.ref} is not restored: {error}",))
    try:
        entries.reverted(record)
    except HarnessError as error:
        return healing + Healing(
            failed=(f"That {record.undo.ref} is restored is not in the ledger: {error}",)
        )
    return healing


def _restore(cluster: Cluster, record: Record) -> Healing:
    match record.undo:
        case Uncreate():
            return _uncreate(cluster, record.undo)
        case Restore():
            return _restore_fields(cluster, record.undo)
        case Recreate():
            return _recreate(cluster, record.undo)
        case LeftToController(ref):
            return Healing(done=(f"{ref} is replaced by its controller.",))


def _uncreate(cluster: Cluster, undo: Uncreate) -> Healing:
    current = cluster.get(undo.ref)
    if current is not None:
        uid = current["metadata"]["uid"]
        if uid != undo.uid and owner_of(current) != undo.owner:
            return Healing(kept=(f"{undo.ref} was created by somebody else meanwhile; it is left alone.",))
        cluster.delete(undo.ref, uid=uid)
    return Healing(done=(f"{undo.ref} is deleted again.",))


def _recreate(cluster: Cluster, undo: Recreate) -> Healing:
    current = _when_gone(cluster, undo.ref)
    if current is None:
        cluster.create(undo.manifest)
        return Healing(done=(f"{undo.ref} is created again.",))
    if undo.uid and current["metadata"].get("uid") == undo.uid:
        return Healing(done=(f"{undo.ref} was never deleted.",))
    return Healing(kept=(f"{undo.ref} exists again; it is left as it is.",))


def _when_gone(cluster: Cluster, ref: Ref) -> Manifest | None:
    """An object that is about to stay, or None when there is none; one that is being deleted is waited for.

    Raises:
        HarnessError: it is not gone some seconds after the time it was given to end.
    """
    began = time.monotonic()
    while (current := cluster.get(ref)) is not None and "deletionTimestamp" in current["metadata"]:
        grace = current["metadata"].get("deletionGracePeriodSeconds", _GRACE)
        waited = time.monotonic() - began
        if waited > min(grace, _LONGEST_GRACE) + _MARGIN:
            raise HarnessError(
                f"It is still being deleted after {waited:.0f} s; see what holds it up (its finalizers, its node)."
            )
        time.sleep(_POLL)
    return current


def _restore_fields(cluster: Cluster, undo: Restore) -> Healing:
    if cluster.get(undo.ref) is None:
        return Healing(kept=(f"{undo.ref} was deleted by somebody else meanwhile; it stays so.",))
    kept: list[str] = []

    def edit(current: Manifest) -> Manifest:
        restored, paths = restore(undo, current)
        kept[:] = [f"{undo.ref} {render(path)} was changed by somebody else meanwhile." for path in paths]
        return restored

    cluster.patch(undo.ref, edit)
    paths = ", ".join(render(field.path) for field in undo.fields)
    return Healing(done=() if kept else (f"{undo.ref} {paths} is set back.",), kept=tuple(kept))


def _leftover(failed: Sequence[str]) -> str:
    return f"Left behind: {' '.join(failed)} Run `harness heal` when the cause is gone."
