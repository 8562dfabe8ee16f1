"""Undoing what runs did: one change of the ledger after the other, and what objects of the cluster say of themselves.

All of it may be done twice, and by several at once. It goes on past an object that cannot be restored.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from harness.changes import (
    LeftToController,
    Manifest,
    Outlast,
    Recreate,
    Ref,
    Restore,
    Uncreate,
    Undo,
    Unrotate,
    owner_of,
    ref_of,
    render,
    restore,
)
from harness.cluster import Cluster, MissingError
from harness.ephemeral import ended, has, outlast
from harness.errors import HarnessError
from harness.ledger import Entries, Ledger, Record
from harness.leftovers import Leftovers, leftovers
from harness.marks import SETTLED, Mark, annotated, digest, unmark
from harness.roots import root_of, with_root_of

_GRACE: Final = 30.0  # seconds that Kubernetes gives a pod to end unless it says otherwise
_LONGEST_GRACE: Final = 120.0
_MARGIN: Final = 10.0
_POLL: Final = 0.1
_PAUSE: Final = 1.0


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


def heal(cluster: Cluster, ledger: Ledger, *, elsewhere: bool = True, patience: float = 0.0) -> Healing:
    """Reverts what runs that ended without it left in this mesh, newest first.

    That is what the ledger of this machine knows, and what runs of any machine created or changed, in all namespaces,
    and claim no longer. The changes of a run that is still alive are left alone until they expire. A ledger that
    cannot be read is named in `failed`, when everything else has been done.

    Args:
        cluster: where.
        ledger: what runs of this machine wrote down.
        elsewhere: whether to look for what runs of other machines left, too.
        patience: for how long, in seconds, what fails is tried again.

    Raises:
        HarnessError: the ledger cannot be written.
    """
    deadline = time.monotonic() + patience
    healing = _heal_once(cluster, ledger, elsewhere)
    while (healing.failed or healing.unseen) and time.monotonic() < deadline:
        time.sleep(min(_PAUSE, patience))
        again = _heal_once(cluster, ledger, elsewhere)
        healing = replace(again, done=healing.done + again.done, kept=healing.kept + again.kept)
    return healing


def _heal_once(cluster: Cluster, ledger: Ledger, elsewhere: bool) -> Healing:
    healing = Healing()
    with ExitStack() as stack:
        runs: dict[str, Entries] = {}
        for record in reversed(ledger.pending(cluster.identity)):
            if record.run not in runs:
                runs[record.run] = stack.enter_context(ledger.open(record.run, record.mesh, claim=False))
            healing += undone(cluster, runs[record.run], record)
    if elsewhere:
        healing += _elsewhere(cluster, leftovers(cluster)) + Healing(failed=ledger.damage(cluster.identity))
    ledger.sweep()
    return healing


def _elsewhere(cluster: Cluster, found: Leftovers) -> Healing:
    """Undoes the leftovers whose claim is over, the newest first, and names the others."""
    healing = Healing(claimed=found.claimed, unseen=found.unseen, failed=found.broken)
    for manifest, made in found.changed:
        ref = ref_of(manifest)
        try:
            healing += _by_mark(cluster, manifest, made)
        except HarnessError as error:
            healing += Healing(
                failed=(f"{ref}, which a run changed whose claim is over, is not restored: {error}",)
            )
    keepsakes = {
        ref_of(manifest) for manifest, made in found.changed if isinstance(made.undo, Recreate | Unrotate)
    }
    for ref, uid in found.created:
        if ref in keepsakes:
            continue
        try:
            cluster.delete(ref, uid=uid)
            _when_gone(cluster, ref)
            healing += Healing(done=(f"{ref}, which a run left whose claim is over, is deleted.",))
        except HarnessError as error:
            healing += Healing(failed=(f"{ref}, which a run left whose claim is over, is in force: {error}",))
    return healing


def _by_mark(cluster: Cluster, manifest: Manifest, made: Mark) -> Healing:
    """Undoes what an object says of itself; of what it keeps for another one, it is the only trace, and goes last."""
    if isinstance(made.undo, Recreate):
        healing = _recreate(cluster, made.undo)
        cluster.delete(ref_of(manifest))
        return healing
    if isinstance(made.undo, Unrotate):
        return _unrotate(cluster, made.undo)
    healing, restored = _restore_fields(cluster, replace(made.undo, mark=made.key), manifest)
    if healing.done and restored is not None and digest(restored) != made.before:
        return healing + Healing(
            kept=(f"{made.undo.ref} differs from what it was in other fields; they stay as they are.",)
        )
    return healing


def undone(cluster: Cluster, entries: Entries, record: Record, *, answered: bool = True) -> Healing:
    """Undoes one change and writes that down; what keeps it from that is in `failed`.

    When the request that made the change was never `answered`, the server may still be at it. Then what is undone
    now is not the last word, and stays in the ledger.
    """
    try:
        healing = _restore(cluster, record)
    except HarnessError as error:
        return Healing(failed=(f"{record.undo.ref} is not restored: {error}",))
    if not answered and not isinstance(record.undo, LeftToController):
        why = "the request that changes it got no answer and may still be on its way; it has to be looked at again"
        return Healing(failed=(f"{record.undo.ref} is as before, but {why}.",))
    try:
        entries.reverted(record)
    except HarnessError as error:
        return healing + Healing(
            failed=(f"That {record.undo.ref} is restored is not in the ledger: {error}",)
        )
    return healing


def unsettled(cluster: Cluster, records: Sequence[Record]) -> tuple[Record, ...]:
    """Of changes that were undone, those whose request may still be on its way, and have its effect after all."""

    def may_come(undo: Undo) -> bool:
        match undo:
            case Recreate(_, uid):
                # a request to delete names the UID of the object: another one is safe from it
                try:
                    current = cluster.get(undo.ref)
                except HarnessError:  # nobody knows, so somebody looks
                    return True
                return current is not None and current["metadata"].get("uid") == uid
            case Uncreate(_, _, uid):
                return not uid
            case Outlast():
                current = cluster.get(undo.ref)
                same = current is not None and current["metadata"]["uid"] == undo.uid
                return same and not has(current or {}, undo.container)
        return isinstance(undo, Restore | Unrotate)

    return tuple(record for record in records if may_come(record.undo))


def undone_again(cluster: Cluster, records: Sequence[Record]) -> Healing:
    """Undoes those changes that have come into force since they were undone."""
    healing = Healing()
    for record in reversed(records):
        try:
            if _is_in_force(cluster, record.undo):
                healing += _restore(cluster, record)
        except HarnessError as error:
            healing += Healing(failed=(f"{record.undo.ref} is not looked at again: {error}",))
    return healing


def _is_in_force(cluster: Cluster, undo: Undo) -> bool:
    """Whether an object shows the very change that this one undoes."""
    if isinstance(undo, LeftToController):
        return False
    current = cluster.get(_copy_of(undo) if isinstance(undo, Unrotate) else undo.ref)
    match undo:
        case Uncreate(_, owner, uid):
            return current is not None and (owner_of(current) == owner or current["metadata"]["uid"] == uid)
        case Restore(_, _, key):
            return current is not None and unmark(current, key) is not current
        case Recreate():
            return current is None
        case Outlast(_, uid, container):
            same = current is not None and current["metadata"]["uid"] == uid
            return same and has(current or {}, container) and not ended(current or {}, container)
        case Unrotate():
            return current is not None


def _restore(cluster: Cluster, record: Record) -> Healing:
    match record.undo:
        case Uncreate():
            return _uncreate(cluster, record.undo)
        case Restore():
            return _restore_fields(cluster, record.undo)[0]
        case Recreate():
            return _recreate(cluster, record.undo)
        case LeftToController(ref):
            return Healing(done=(f"{ref} is replaced by its controller.",))
        case Outlast():
            return Healing(done=(outlast(cluster, record.undo),))
        case Unrotate():
            return _unrotate(cluster, record.undo)


def _uncreate(cluster: Cluster, undo: Uncreate) -> Healing:
    current = cluster.get(undo.ref)
    if current is not None:
        uid = current["metadata"]["uid"]
        if uid != undo.uid and owner_of(current) != undo.owner:
            return Healing(kept=(f"{undo.ref} was created by somebody else meanwhile; it is left alone.",))
        cluster.delete(undo.ref, uid=uid)
        if current["metadata"].get("finalizers"):
            _when_gone(cluster, undo.ref)
    return Healing(done=(f"{undo.ref} is deleted again.",))


def _unrotate(cluster: Cluster, undo: Unrotate) -> Healing:
    """Puts the old root back from its copy, unless somebody else has given the mesh another one since.

    Without a copy nothing was changed yet, or another one who heals was faster. As long as the copy is there, the
    Secret is written in any case: so a request to put the new root there that is still on its way comes too late, for
    it names the version that it replaces. With an `overlap` that much time is left to sidecars before, to get a
    certificate of the root that is to stay while the other one is trusted still.
    """
    copy = cluster.get(_copy_of(undo))
    if copy is not None and undo.overlap:
        # a time of the rotation itself: nobody can see from here what every sidecar trusts
        time.sleep(undo.overlap)
        copy = cluster.get(_copy_of(undo))
    if copy is None:
        return Healing(done=(f"{undo.ref} holds the root that it held before.",))
    others: list[str] = []

    def edit(current: Manifest) -> Manifest:
        others[:] = [] if root_of(current) in (undo.after, root_of(copy)) else [root_of(current)]
        return current if others else with_root_of(annotated(current, SETTLED, "true"), copy)

    if cluster.get(undo.ref) is None:
        healing = Healing(kept=(f"{undo.ref} was deleted by somebody else meanwhile; it stays so.",))
    else:
        cluster.patch(undo.ref, edit)
        cluster.patch(undo.ref, lambda current: annotated(current, SETTLED, ""))
        healing = (
            Healing(kept=(f"{undo.ref} was given another root by somebody else meanwhile; it stays so.",))
            if others
            else Healing(done=(f"{undo.ref} holds its old root again.",))
        )
    cluster.delete(_copy_of(undo), uid=copy["metadata"]["uid"])
    return healing


def _copy_of(undo: Unrotate) -> Ref:
    return Ref("v1", "Secret", undo.ref.namespace, undo.copy)


def _recreate(cluster: Cluster, undo: Recreate) -> Healing:
    current = _when_gone(cluster, undo.ref)
    if current is None:
        try:
            cluster.create(undo.manifest)
        except HarnessError:
            if cluster.get(undo.ref) is None:  # else another one who heals was faster
                raise
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
        finalizers = current["metadata"].get("finalizers") or ()
        grace = current["metadata"].get("deletionGracePeriodSeconds", _GRACE)
        waited = time.monotonic() - began
        if waited > min(max(grace, _GRACE if finalizers else 0.0), _LONGEST_GRACE) + _MARGIN:
            raise HarnessError(
                f"It is still being deleted after {waited:.0f} s; see what holds it up ({_held_by(finalizers)})."
            )
        time.sleep(_POLL)
    return current


def _held_by(finalizers: Sequence[str]) -> str:
    if not finalizers:
        return "its finalizers, its node"
    return f"whoever is to take {', '.join(finalizers)} off its finalizers has not done so: look at its controller"


def _restore_fields(
    cluster: Cluster, undo: Restore, known: Manifest | None = None
) -> tuple[Healing, Manifest | None]:
    """What was done, and the object as it is now; `known` is the object as it was read a moment ago."""
    kept: list[str] = []

    def edit(current: Manifest) -> Manifest:
        restored, paths = restore(undo, unmark(current, undo.mark))
        kept[:] = [f"{undo.ref} {render(path)} was changed by somebody else meanwhile." for path in paths]
        return restored

    try:
        restored = cluster.patch(undo.ref, edit, known)
    except MissingError:
        return Healing(kept=(f"{undo.ref} was deleted by somebody else meanwhile; it stays so.",)), None
    paths = ", ".join(render(field.path) for field in undo.fields)
    return Healing(done=() if kept else (f"{undo.ref} {paths} is set back.",), kept=tuple(kept)), restored
