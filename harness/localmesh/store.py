"""The objects of the local mesh: a thread-safe store in memory with the semantics of the Kubernetes API.

Objects that are handed out are the stored ones: **read-only by convention**. A stored object is never
mutated, every write puts a new one in its place, so whoever holds one sees a consistent state for as long as
they like.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from harness.localmesh.api import status
from harness.localmesh.api.resources import NAMESPACES, Resource
from harness.localmesh.api.selectors import Predicate
from harness.localmesh.deletion import Propagation, collect_if_orphan, delete, finish_if_free
from harness.localmesh.errors import Refused
from harness.localmesh.history import Change
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import clone, generated_name, timestamp, with_metadata, with_section
from harness.localmesh.state import State
from harness.localmesh.watch import Watch

Operation = Literal["CREATE", "UPDATE", "STATUS", "ATTACH"]


class Admitted(NamedTuple):
    """What admission lets in, with sentences for whoever wrote it."""

    manifest: Manifest
    warnings: tuple[str, ...]


Admit = Callable[[Operation, Resource, Manifest, Manifest | None], Manifest | Admitted]
"""Admission of `(operation, resource, new, old)`: the object to store instead of `new`, or `Refused`."""


@dataclass(frozen=True)
class Author:
    """A writer who is told the warnings of admission; `manage(new, old)` gives the managedFields of `new`."""

    warn: Callable[[str], None]
    manage: Callable[[Manifest, Manifest | None], list[Manifest]] | None = None


Section = Literal["", "status", "ephemeralcontainers"]
"""The part that a write concerns: all but the status, the status, or the ephemeral containers of a pod."""

_ATTEMPTS = 100
_UNHEARD = Author(lambda warning: None)


class Store:
    """Every object of the mesh, by resource, namespace and name.

    Each change gets the next revision, which becomes the object's resourceVersion; a watch sees every change
    once and in order. `admission` runs in order, under the store's lock, before each create and replace; it
    may read the store. At least `history` changes can be watched in retrospect.
    """

    def __init__(self, admission: Sequence[Admit] = (), *, history: int = 10_000) -> None:
        self._admission = tuple(admission)
        self._state = State(history)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._subscribers: list[Callable[[], None]] = []

    @property
    def revision(self) -> int:
        """The revision of the newest change."""
        return self._state.history.last

    def changed(self, resource: Resource) -> int:
        """The revision of the newest change of an object of `resource`, 0 when there was none."""
        return self._state.changed(resource)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """The object (`namespace` is "" for what has none).

        Raises:
            Refused: 404 when it does not exist.
        """
        found = self.find(resource, namespace, name)
        if found is None:
            raise status.not_found(resource, name)
        return found

    def find(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """The object, or None when it does not exist."""
        with self._lock:
            return self._state.find(resource, namespace, name)

    def list(
        self, resource: Resource, namespace: str = "", where: Predicate | None = None
    ) -> tuple[Manifest, ...]:
        """The objects in `namespace` ("" for all) for which `where` holds, by namespace and name."""
        return self.snapshot(resource, namespace, where)[0]

    def snapshot(
        self, resource: Resource, namespace: str = "", where: Predicate | None = None, *, at: int = 0
    ) -> tuple[tuple[Manifest, ...], int]:
        """What `list` gives, with the revision it was true at: `watch` from there and nothing is missed.

        `at` asks for the state at an earlier revision; 0 is the present one.

        Raises:
            Refused: 410 when the changes since `at` are no longer kept, or `at` has not been reached yet.
        """
        with self._lock:
            revision = at or self._state.history.last
            items = self._state.all(resource, revision)
        items.sort(key=lambda item: item[0])
        return tuple(
            manifest
            for (place, _), manifest in items
            if (not namespace or place == namespace) and (where is None or where(manifest))
        ), revision

    def create(
        self, resource: Resource, manifest: Manifest, *, dry_run: bool = False, author: Author = _UNHEARD
    ) -> Manifest:
        """Store a new object and return it as stored; `metadata.generateName` is completed.

        A status is dropped where it is a subresource. An object whose owners are all gone is collected at
        once.

        Raises:
            Refused: 400 when it names a resourceVersion, 409 when it exists, 404 without its namespace, 403 in a
                namespace that is being deleted, or whatever admission says.
        """
        with self._transaction():
            new = _named(resource, clone(manifest))
            if new["metadata"].get("resourceVersion"):
                raise status.bad_request("resourceVersion should not be set on objects to be created")
            if resource.has_status:
                new.pop("status", None)
            name, namespace = new["metadata"].get("name", ""), new["metadata"].get("namespace", "")
            if resource.namespaced:
                self._check_namespace(resource, namespace, name)
            new = self._admit("CREATE", resource, new, None, author)
            if self._state.find(resource, namespace, name):
                raise status.already_exists(resource, name)
            new = _born(_managed(new, None, author))
            if dry_run:
                return new
            new = self._state.commit("ADDED", resource, new, None)
            collect_if_orphan(self._state, resource, new)
            return new

    def replace(
        self,
        resource: Resource,
        manifest: Manifest,
        *,
        section: Section = "",
        dry_run: bool = False,
        author: Author = _UNHEARD,
    ) -> Manifest:
        """Put `manifest` in the place of the object of its name and return it as stored.

        With section "" the status is kept where it is a subresource, with "status" everything else is kept, with
        "ephemeralcontainers" all but those of a pod's spec.
        The generation grows when the spec changes. A replacement that changes nothing is no change. A deleted
        object that loses its last finalizer goes.

        Raises:
            Refused: 404 when there is none, 409 when `metadata.resourceVersion` or `uid` is given and not the
                stored one, or whatever admission says.
        """
        with self._transaction():
            wanted = clone(manifest)
            metadata = wanted["metadata"]
            name = metadata.get("name", "")
            old = self.get(resource, metadata.get("namespace", ""), name)
            _check_current(resource, old, metadata.get("uid"), metadata.get("resourceVersion"))
            new = _managed(self._merged(resource, wanted, old, section, author), old, author)
            if new == old or dry_run:
                return new
            new = self._state.commit("MODIFIED", resource, new, old)
            finish_if_free(self._state, resource, new)
            return new

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Manifest], Manifest | None],
        *,
        section: Section = "",
    ) -> Manifest:
        """Replace the object by what `change` makes of a copy of it, again when another writer was faster.

        `change` may alter its argument; None means that nothing is to be done. Returns the object as stored.

        Raises:
            Refused: as `get` and `replace` do.
        """
        for attempt in range(_ATTEMPTS):
            # Whoever has lost again and again lets the others finish.
            time.sleep(attempt // 10 * 0.0005)
            old = self.get(resource, namespace, name)
            wanted = change(clone(old))
            if wanted is None:
                return old
            try:
                return self.replace(
                    resource,
                    with_metadata(wanted, resourceVersion=old["metadata"]["resourceVersion"]),
                    section=section,
                )
            except Refused as refused:
                if refused.reason != "Conflict":
                    raise
        raise status.conflict(resource, name)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        grace: float | None = None,
        propagation: Propagation = "Background",
        uid: str = "",
        revision: str = "",
        dry_run: bool = False,
    ) -> tuple[Manifest, bool]:
        """Delete the object; the answer is its last state and whether it is gone.

        It stays, marked with deletionTimestamp, while it has finalizers, and a pod until `remove` unless its
        grace (seconds; by default its terminationGracePeriodSeconds, or 30) is 0. Objects it owns go after it
        (Background), before it (Foreground) or lose it as their owner (Orphan). A namespace takes everything
        in it along.

        Raises:
            Refused: 404 when there is none, 409 when it is not of that `uid` and resourceVersion.
        """
        with self._transaction():
            old = self.get(resource, namespace, name)
            _check_current(resource, old, uid, revision)
            if dry_run:
                return old, False
            last = delete(self._state, resource, old, grace, propagation)
            return last, self._state.find_uid(old["metadata"]["uid"]) is None

    def remove(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """End a graceful deletion: the object of that `uid` goes now, unless it still has finalizers.

        When it is gone already, nothing happens.
        """
        with self._transaction():
            found = self._state.find(resource, namespace, name)
            if found and found["metadata"]["uid"] == uid:
                delete(self._state, resource, found, 0, "Background")

    def watch(self, resource: Resource, since: int) -> Watch:
        """The changes of `resource` after revision `since`."""
        return Watch(self.changes, resource, since)

    def changes(self, since: int, timeout: float = 0) -> Sequence[Change]:
        """Every change after `since`; if there is none, wait up to `timeout` seconds or until `wake`.

        Raises:
            Refused: 410 when `since` is older than what is kept, or in the future.
        """
        with self._changed:
            if timeout > 0 and since == self._state.history.last:
                self._changed.wait(timeout)
            return self._state.history.after(since)

    def wake(self) -> None:
        """Let everybody who waits in `changes` go."""
        with self._changed:
            self._changed.notify_all()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every write that changed something, without the lock, in the writer's thread.

        Returns the function that ends the subscription.
        """
        with self._lock:
            self._subscribers.append(callback)

        def unsubscribe() -> None:
            with self._lock:
                if callback in self._subscribers:
                    self._subscribers.remove(callback)

        return unsubscribe

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._state.history.last
        subscribers: tuple[Callable[[], None], ...] = ()
        try:
            with self._lock:
                before = self._state.history.last
                try:
                    yield
                finally:
                    if self._state.history.last != before:
                        self._changed.notify_all()
                        subscribers = tuple(self._subscribers)
        finally:
            for callback in subscribers:
                callback()

    def _admit(
        self, operation: Operation, resource: Resource, new: Manifest, old: Manifest | None, author: Author
    ) -> Manifest:
        for admit in self._admission:
            admitted = admit(operation, resource, new, old)
            if isinstance(admitted, Admitted):
                new = admitted.manifest
                for warning in admitted.warnings:
                    author.warn(warning)
            else:
                new = admitted
        return new

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        home = self.get(NAMESPACES, "", namespace)
        if "deletionTimestamp" in home["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise status.forbidden(resource, name, why)

    def _merged(
        self, resource: Resource, wanted: Manifest, old: Manifest, section: Section, author: Author
    ) -> Manifest:
        if section == "status":
            sent = wanted["metadata"].get("managedFields")
            kept = with_metadata(with_section(old, "status", wanted), managedFields=sent)
            return self._admit("STATUS", resource, kept, old, author)
        if section == "ephemeralcontainers":
            spec = with_section(old["spec"], "ephemeralContainers", wanted.get("spec") or {})
            wanted = with_metadata(
                {**old, "spec": spec}, managedFields=wanted["metadata"].get("managedFields")
            )
        new = with_metadata(wanted, **{key: old["metadata"].get(key) for key in _SYSTEM_FIELDS})
        if resource.has_status:
            new = with_section(new, "status", old)
        operation: Operation = "ATTACH" if section == "ephemeralcontainers" else "UPDATE"
        new = self._admit(operation, resource, new, old, author)
        if new.get("spec") != old.get("spec"):
            new = with_metadata(new, generation=old["metadata"].get("generation", 1) + 1)
        return new


_SYSTEM_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def _named(resource: Resource, manifest: Manifest) -> Manifest:
    metadata = manifest.setdefault("metadata", {})
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated_name(metadata["generateName"])
    if not resource.namespaced:
        metadata.pop("namespace", None)
    return manifest


def _born(manifest: Manifest) -> Manifest:
    born: dict[str, Any] = {
        "uid": str(uuid.uuid4()),
        "creationTimestamp": timestamp(datetime.now(UTC)),
        "generation": 1 if "spec" in manifest else None,
        "deletionTimestamp": None,
        "deletionGracePeriodSeconds": None,
        "selfLink": None,
    }
    return with_metadata(manifest, **born)


def _managed(new: Manifest, old: Manifest | None, author: Author) -> Manifest:
    kept = old["metadata"].get("managedFields") if old else None
    return with_metadata(new, managedFields=(author.manage(new, old) or None) if author.manage else kept)


def _check_current(resource: Resource, old: Manifest, uid: str | None, revision: str | None) -> None:
    metadata = old["metadata"]
    if uid and uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise status.conflict(resource, metadata["name"], why)
    if revision and revision != metadata["resourceVersion"]:
        raise status.conflict(resource, metadata["name"])
