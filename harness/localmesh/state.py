"""What the store holds, without its lock: objects, who owns whom, and the history of changes."""

from __future__ import annotations

from typing import Literal

from harness.localmesh.api.resources import Resource
from harness.localmesh.history import Change, History
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import owner_uids, with_metadata

Found = tuple[Resource, Manifest]
"""An object and the resource it belongs to."""

_Key = tuple[str, str]


class State:
    """Every object by resource, namespace and name, and by UID. Whoever uses it holds the store's lock."""

    def __init__(self, history: int) -> None:
        self.history = History(history)
        self._tables: dict[Resource, dict[_Key, Manifest]] = {}
        self._by_uid: dict[str, tuple[Resource, _Key]] = {}
        self._changed: dict[Resource, int] = {}
        self._dependents: dict[str, set[str]] = {}

    def find(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """The object of that name, or None."""
        return self._tables.get(resource, {}).get((namespace, name))

    def find_uid(self, uid: str) -> Found | None:
        """The object of that UID, or None."""
        place = self._by_uid.get(uid)
        return (place[0], self._tables[place[0]][place[1]]) if place else None

    def changed(self, resource: Resource) -> int:
        """The revision of the newest change of an object of `resource`, 0 when there was none."""
        return self._changed.get(resource, 0)

    def all(self, resource: Resource, at: int = 0) -> list[tuple[_Key, Manifest]]:
        """The objects of `resource`, each with its namespace and name, in no order.

        `at` is the revision at which they were so, 0 the present one.

        Raises:
            Refused: 410 when the changes since then are no longer kept, or it has not been reached yet.
        """
        table = self._tables.get(resource, {})
        if at in (0, self.history.last):
            return list(table.items())
        table = dict(table)
        for change in reversed(self.history.after(at)):
            if change.resource != resource:
                continue
            metadata = change.object["metadata"]
            key = (metadata.get("namespace", ""), metadata["name"])
            if change.previous is None:
                table.pop(key, None)
            else:
                table[key] = change.previous
        return list(table.items())

    def within(self, namespace: str) -> list[Found]:
        """Everything in `namespace`."""
        return [
            (resource, manifest)
            for resource, table in self._tables.items()
            for (place, _), manifest in table.items()
            if place == namespace
        ]

    def owned(self, owner: Manifest) -> list[Found]:
        """The objects that name `owner` as one of their owners."""
        uids = self._dependents.get(owner["metadata"]["uid"], set())
        return [found for uid in sorted(uids) if (found := self.find_uid(uid))]

    def commit(
        self,
        event: Literal["ADDED", "MODIFIED", "DELETED"],
        resource: Resource,
        new: Manifest,
        old: Manifest | None,
    ) -> Manifest:
        """Put `new` in the place of `old`, or take it out, as the next revision, which it carries then."""
        revision = self.history.last + 1
        new = with_metadata(new, resourceVersion=str(revision))
        metadata = new["metadata"]
        key, uid = (metadata.get("namespace", ""), metadata["name"]), metadata["uid"]
        for owner in owner_uids(old) if old else ():
            self._forget_dependent(owner, uid)
        if event == "DELETED":
            del self._tables[resource][key], self._by_uid[uid]
        else:
            self._tables.setdefault(resource, {})[key] = new
            self._by_uid[uid] = (resource, key)
            for owner in owner_uids(new):
                self._dependents.setdefault(owner, set()).add(uid)
        self._changed[resource] = revision
        self.history.append(Change(revision, event, resource, new, old))
        return new

    def _forget_dependent(self, owner: str, uid: str) -> None:
        dependents = self._dependents.get(owner, set())
        dependents.discard(uid)
        if not dependents:
            self._dependents.pop(owner, None)
