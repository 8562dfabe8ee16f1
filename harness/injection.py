"""Faults in force: changes applied, their inverses on disk first, and reverted by one and the same code.

`Injection.revert` undoes what this process did, `heal` what runs before it left behind. Both are harmless when there
is nothing to undo, and both go on past an object that cannot be restored. What is to be undone is in the ledger of
this machine. In the cluster, too, every object that was created or changed says how long its run claims it and how it
was before (see `harness.marks`), so `heal` of any machine undoes what has outlived its claim.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from uuid import uuid4
from weakref import WeakSet

from harness import clock
from harness.changes import (
    Attach,
    Change,
    Create,
    Delete,
    Eviction,
    Manifest,
    Patch,
    Recreate,
    Ref,
    Restore,
    Rotate,
    Unrotate,
    apply,
    edited,
    restore,
    undo,
)
from harness.cluster import Cluster
from harness.ephemeral import attach
from harness.errors import HarnessError
from harness.faults import BlastRadius, Fault, Scene
from harness.healing import Healing, heal, undone
from harness.ledger import Entries, Ledger, Record
from harness.marks import EXPIRES, Mark, claimed, digest, mark, unmark
from harness.resolution import resolve
from harness.roots import renewed, root_of, signing, trusting, with_root_of
from harness.wire import RefusedError, TransientError

__all__ = ["EXPIRES", "Healing", "Injection", "apply_changes", "heal", "inject", "resolve"]


class Injection:
    """Changes in force, until `revert` or the end of a `with` statement.

    Attributes:
        name: `<run>/<id>`: the owner of the objects it created.
        started: when the first change was about to be made, in seconds since the epoch.
        expires: until when the run claims it, in seconds since the epoch.
        refused: the objects whose change the cluster did not let happen, with its reason.
    """

    def __init__(self, cluster: Cluster, entries: Entries, run: str, expires_in: float) -> None:
        self.name = f"{run}/{uuid4().hex[:8]}"
        self.started = clock.now()
        self.expires = time.time() + expires_in  # others go by their own clocks
        self.refused: dict[Ref, str] = {}
        self._cluster = cluster
        self._entries = entries
        self._records: list[Record] = []
        self._unanswered: Record | None = None
        self._reach: tuple[str, Fault, Scene] | None = None
        self._roots: dict[
            Ref, Manifest
        ] = {}  # that are trusted, and are to sign; nowhere else are their keys

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes in force, in the order in which they were made."""
        return tuple(record.change for record in self._records)

    def go_on(self, changes: Sequence[Change]) -> None:
        """Makes more changes of the same fault.

        What this injection created is changed in place and needs no inverse of its own: it is deleted on revert.

        Raises:
            HarnessError: one of them failed; those made before it are in force.
        """
        created = {record.change.ref for record in self._records if isinstance(record.change, Create)}
        for change in changes:
            if isinstance(change, Patch) and change.ref in created:
                self._cluster.patch(change.ref, partial(edited, change))
                continue
            try:
                self._make(change)
            except TransientError:
                self._unanswered = self._records[-1] if self._records else None
                raise

    def revert(self) -> Healing:
        """Undoes the changes, the last one first; what was undone once is not undone again.

        Never raises for an object that cannot be restored: that is in `failed`, and stays in the ledger.
        """
        healing = Healing()
        for record in reversed(tuple(self._records)):
            outcome = undone(self._cluster, self._entries, record, answered=record is not self._unanswered)
            healing += outcome
            if not outcome.failed:
                self._records.remove(record)
        if not self._records:
            self._entries.close()
            _IN_FORCE.discard(self)
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
                marked = Create(claimed(manifest, self.name, self.expires))
                self._record(marked, self._cluster.get(change.ref))
                created = self._cluster.create(marked.manifest)
                self._records[-1] = self._entries.created(self._records[-1], created["metadata"]["uid"])
            case Patch(ref):
                key = self._key()
                self._cluster.patch(ref, lambda current: self._patched(change, key, current))
            case Delete(ref) | Eviction(ref):
                before = self._cluster.get(ref)
                inverse = undo(change, before)
                if isinstance(inverse, Recreate):
                    self._make(Create(self._keepsake(inverse)))
                self._record(change, before)
                uid = before["metadata"]["uid"] if before else ""
                if isinstance(change, Delete):
                    self._cluster.delete(ref, change.grace_seconds, uid=uid)
                elif why := self._cluster.evict(ref, uid=uid):
                    self._refuse(change, why)
            case Attach(ref):
                before = self._cluster.get(ref)
                self._record(change, before)
                attach(self._cluster, change, uid=before["metadata"]["uid"] if before else "")
            case Rotate():
                self._rotate(change)

    def _rotate(self, change: Rotate) -> None:
        """Puts a new root into a Secret, when the old one is kept in another one beside it.

        Keys stay in the cluster: the ledger has the name of the copy, and the copy says what it is for.
        """
        old = self._cluster.get(change.ref)
        inverse = undo(change, old)
        assert isinstance(inverse, Unrotate)  # noqa: S101 - the inverse of a rotation is nothing else
        assert old is not None  # noqa: S101 - `undo` has refused that
        new, key = self._next_root(change, old), self._key()
        inverse = replace(inverse, copy=f"harness-keeps-{key}", after=root_of(new))
        metadata = {"name": inverse.copy, "namespace": change.ref.namespace}
        copy: Manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": old["data"]}
        self._records.append(self._entries.record(self.name, change, inverse, expires=self.expires))
        self._cluster.create(mark(claimed(copy, self.name, self.expires), self._mark(key, old, inverse)))

        def rotated(current: Manifest) -> Manifest:
            if root_of(current) not in (root_of(old), inverse.after):
                raise HarnessError(f"{change.ref} was given another root by somebody else; try again later.")
            return with_root_of(current, new)

        self._cluster.patch(change.ref, rotated)

    def _next_root(self, change: Rotate, old: Manifest) -> Manifest:
        """The Secret as it is to be after a step of a rotation."""
        if change.step == "sign":
            if change.ref not in self._roots:
                raise HarnessError(
                    f"No new root of {change.ref} is trusted yet; rotate it by the step trust before."
                )
            return signing(old, self._roots.pop(change.ref))
        new = renewed(old)
        if change.step == "replace":
            return new
        self._roots[change.ref] = new
        return trusting(old, new)

    def _key(self) -> str:
        """Tells what this injection changes from what it changed before."""
        return f"{self.name.rpartition('/')[2]}-{len(self._records)}"

    def _make_or_note(self, change: Change) -> None:
        """Makes a change, or notes that the cluster does not admit it."""
        try:
            self._make(change)
        except RefusedError as error:
            self._refuse(change, str(error))

    def _need_eviction(self, changes: Sequence[Change]) -> None:
        refs = [change.ref for change in changes if isinstance(change, Eviction)]
        if refs and self.refused.keys() >= set(refs):
            why = " ".join(f"{ref}: {self.refused[ref]}." for ref in refs)
            raise HarnessError(f"No pod may be evicted, so nothing can be learnt: {why}")

    def _refuse(self, change: Change, why: str) -> None:
        """Takes back the record of a change that was not made."""
        self.refused[change.ref] = why
        if self._records and self._records[-1].change.ref == change.ref:
            self._entries.reverted(self._records.pop())

    def _record(self, change: Change, before: Manifest | None, mark: str = "") -> None:
        inverse = undo(change, before)
        if isinstance(inverse, Restore):
            inverse = replace(inverse, mark=mark)
        self._records.append(self._entries.record(self.name, change, inverse, expires=self.expires))

    def _patched(self, patch: Patch, key: str, current: Manifest) -> Manifest:
        """The object with a patch made and marked; what is recorded belongs to exactly the object to be written.

        When a write met a conflict or its answer was lost, this is called again, with an object that may hold the
        patch already. Then what it held before is what the earlier record says, wherever nobody else has changed it.
        """
        last = self._records[-1] if self._records and self._records[-1].change is patch else None
        base = current
        if last is not None:
            assert isinstance(last.undo, Restore)  # noqa: S101 - the inverse of a patch is nothing else
            base, _kept = restore(last.undo, unmark(current, key))
        inverse = undo(patch, base)
        assert isinstance(inverse, Restore)  # noqa: S101 - as above
        inverse = replace(inverse, mark=key)
        if last is None or inverse != last.undo:
            self._record(patch, base, key)
        if last is not None and inverse != last.undo:
            self._records.remove(last)
            self._entries.reverted(last)
        return mark(apply(patch, base), self._mark(key, base, inverse))

    def _keepsake(self, inverse: Recreate) -> Manifest:
        """A ConfigMap that keeps in the cluster what has to be created again."""
        key = self._key()
        metadata = {"name": f"harness-keeps-{key}", "namespace": inverse.ref.namespace or "default"}
        manifest: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return mark(manifest, self._mark(key, inverse.manifest, inverse))

    def _mark(self, key: str, before: Manifest, inverse: Restore | Recreate | Unrotate) -> Mark:
        return Mark(key, self.name, clock.now(), self.expires, digest(before), inverse)


# Of one mesh they are all there are: other processes are kept out by the ledger and by the Lease.
_IN_FORCE: WeakSet[Injection] = WeakSet()


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

    The blast radius is that of all faults together that this process has in force in this mesh.

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
    reaches = [injection._reach for injection in _IN_FORCE if injection._reach]
    blast_radius.check(fault, scene, [reach[1:] for reach in reaches if reach[0] == cluster.identity])
    changes, refusable = fault.changes(scene), fault.refusable
    injection = apply_changes(
        cluster, changes, run=scene.run, ledger=ledger, expires_in=seconds, refusable=refusable
    )
    injection._reach = cluster.identity, fault, scene
    _IN_FORCE.add(injection)
    return injection


def apply_changes(
    cluster: Cluster,
    changes: Sequence[Change],
    *,
    run: str,
    ledger: Ledger,
    expires_in: float,
    refusable: bool = False,
) -> Injection:
    """Applies changes as `inject` does, without a fault and without a blast radius.

    Of several runs that share the ledger's directory one at a time looks whether it is alone, and makes its changes.
    Runs on different machines do not keep each other out; that is what `harness.lease` is for.

    Args:
        cluster: where.
        changes: what, in this order.
        run: the run that makes them.
        ledger: where the inverses are kept.
        expires_in: for how long the run claims them, in seconds.
        refusable: a change that the cluster does not admit is noted in `Injection.refused` and is no failure.

    Raises:
        HarnessError: another run is at work in this mesh, the ledger is damaged, a change failed, or no eviction was
            allowed; those made before are reverted.
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
                (injection._make_or_note if refusable else injection._make)(change)
            injection._need_eviction(changes)
        except BaseException as error:  # Ctrl-C, too, must not leave half a fault behind
            if isinstance(error, TransientError) and injection._records:
                injection._unanswered = injection._records[-1]
            failed = injection.end().failed
            if failed and isinstance(error, HarnessError):
                raise HarnessError(f"{error} {_leftover(failed)}") from error
            raise
    return injection


def _leftover(failed: Sequence[str]) -> str:
    return f"Left behind: {' '.join(failed)} Run `harness heal` when the cause is gone."
