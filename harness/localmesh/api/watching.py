"""Watches as streams of JSON lines, with the meaning Kubernetes gives resourceVersion, bookmarks and selectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from harness.localmesh.api.options import Watching
from harness.localmesh.api.resources import Resource, api_version
from harness.localmesh.api.selectors import Predicate
from harness.localmesh.api.status import failure
from harness.localmesh.errors import Refused
from harness.localmesh.history import Change
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import with_metadata
from harness.localmesh.store import Store
from harness.localmesh.watch import Watch

Show = Callable[[Manifest], Manifest]
"""From a stored object to what the client gets."""

_TICK = 1.0
_BOOKMARK_EVERY = 10.0


@dataclass(frozen=True)
class Scope:
    """What is watched, and how it is shown."""

    resource: Resource
    version: str
    namespace: str
    where: Predicate | None
    show: Show

    def holds(self, manifest: Manifest | None) -> bool:
        """Whether `manifest` is in the scope; None never is."""
        if manifest is None:
            return False
        if self.namespace and manifest["metadata"].get("namespace") != self.namespace:
            return False
        return self.where is None or self.where(manifest)


def frames(store: Store, scope: Scope, how: Watching) -> Iterator[bytes]:
    """One frame for each event, an empty one about every second without any.

    Ends after `how.timeout` seconds, or with an ERROR event when the changes asked for are no longer kept.
    """
    deadline = time.monotonic() + how.timeout
    revision = how.since
    if revision is None:
        items, revision = store.snapshot(scope.resource, scope.namespace, scope.where)
        for item in items:
            yield _frame("ADDED", scope.show(item))
        if how.initial and how.bookmarks:
            yield _bookmark(scope, revision, {"k8s.io/initial-events-end": "true"})
    watch = store.watch(scope.resource, revision)
    try:
        yield from _follow(watch, scope, deadline, how.bookmarks)
    except Refused as refused:
        yield _frame("ERROR", failure(refused))


def event(change: Change, scope: Scope) -> tuple[str, Manifest] | None:
    """What a watcher of `scope` sees of `change`: an object that enters is ADDED, one that leaves DELETED."""
    before, after = scope.holds(change.previous), scope.holds(change.object) and change.type != "DELETED"
    if after:
        return ("MODIFIED" if before else "ADDED"), change.object
    if before and change.previous is not None:
        return "DELETED", with_metadata(change.previous, resourceVersion=str(change.revision))
    return None


def _follow(watch: Watch, scope: Scope, deadline: float, bookmarks: bool) -> Iterator[bytes]:
    told, told_at = watch.revision, time.monotonic()
    while (left := deadline - time.monotonic()) > 0:
        sent = False
        for change in watch.next(min(left, _TICK)):
            if seen := event(change, scope):
                yield _frame(seen[0], scope.show(seen[1]))
                told, sent = change.revision, True
        due = time.monotonic() - told_at > _BOOKMARK_EVERY
        if bookmarks and due and watch.revision > told:
            told, told_at = watch.revision, time.monotonic()
            yield _bookmark(scope, told, {})
        elif not sent:
            yield b""
    if bookmarks:
        yield _bookmark(scope, watch.revision, {})


def _bookmark(scope: Scope, revision: int, annotations: dict[str, str]) -> bytes:
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None, "annotations": annotations}
    version = api_version(scope.resource.group, scope.version)
    return _frame("BOOKMARK", {"kind": scope.resource.kind, "apiVersion": version, "metadata": metadata})


def _frame(kind: str, manifest: Manifest) -> bytes:
    return msgspec.json.encode({"type": kind, "object": manifest}) + b"\n"
