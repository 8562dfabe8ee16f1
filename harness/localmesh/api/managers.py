"""Who owns which fields of an object: the entries of `managedFields`. Pure.

Rules: https://kubernetes.io/docs/reference/using-api/server-side-apply/, sigs.k8s.io/structured-merge-diff `merge`,
and k8s.io/apimachinery `util/managedfields`. The mesh's own controllers are no managers: what they write belongs
to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.localmesh.api import fieldsets
from harness.localmesh.api.fieldsets import Path, Paths
from harness.localmesh.api.schema import Schema
from harness.localmesh.kinds.parse import Manifest

_MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"
BEFORE = "before-first-apply"
"""The manager of what was there when somebody applies to an object without managers."""

# Nobody owns what the server itself writes, nor what names the object.
_UNOWNED = (
    "apiVersion",
    "kind",
    *(
        f"metadata.{name}"
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        )
    ),
)
_STRIPPED = frozenset(tuple(f"f:{name}" for name in path.split(".")) for path in _UNOWNED)


@dataclass(frozen=True)
class Manager:
    """One who writes objects; of two Updates in different versions each is a manager of its own."""

    name: str
    operation: Literal["Apply", "Update"]
    version: str
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells managers apart: appliers go by name, whatever version they apply."""
        version = "" if self.operation == "Apply" else self.version
        return (self.name, self.operation, version, self.subresource)

    def __str__(self) -> str:
        inside = f' with subresource "{self.subresource}"' if self.subresource else ""
        using = f" using {self.version}" if self.operation == "Update" else ""
        return f'"{self.name}"{inside}{using}'


@dataclass(frozen=True)
class Entry:
    """The fields of one manager, and when that last changed."""

    manager: Manager
    owned: Paths
    time: str


def entries(manifest: Manifest) -> tuple[Entry, ...]:
    """The managers of `manifest`; entries that are not well-formed count as none."""
    found = (_entry(item) for item in manifest["metadata"].get("managedFields") or ())
    return tuple(entry for entry in found if entry)


def encoded(found: Iterable[Entry]) -> list[Manifest]:
    """`found` as `metadata.managedFields`, appliers first, then by time."""
    ordered = sorted(found, key=lambda it: (it.manager.operation, it.time, it.manager.key))
    return [_encoded(entry) for entry in ordered if entry.owned]


@dataclass(frozen=True)
class Writing:
    """One write: to what kind of object, by whom, and when."""

    schema: Schema
    manager: Manager
    now: str

    def owned(self, manifest: Manifest) -> Paths:
        """What the manager owns when it says all of `manifest`."""
        return self._strip(fieldsets.paths(self.schema, manifest))

    def mine(self, found: Iterable[Entry]) -> Entry | None:
        """The manager's own entry."""
        return next((entry for entry in found if entry.manager.key == self.manager.key), None)

    def others(self, found: Iterable[Entry]) -> tuple[Entry, ...]:
        """The entries of everybody else."""
        return tuple(entry for entry in found if entry.manager.key != self.manager.key)

    def updated(self, found: Iterable[Entry], old: Manifest | None, new: Manifest) -> tuple[Entry, ...]:
        """The entries after the manager made `new` of `old` by an Update: what it changed is its own, no other's."""
        found = tuple(found)
        written, removed = self._difference(old, new)
        written = self._strip(written)
        others, mine = _taken(self.others(found), written | removed), self.mine(found)
        kept = mine.owned - removed if mine else frozenset()
        if written:
            return _capped((*others, Entry(self.manager, kept | written, self.now)))
        return (*others, replace(mine, owned=kept)) if mine else others

    def applied(self, found: Iterable[Entry], old: Manifest, new: Manifest, said: Paths) -> tuple[Entry, ...]:
        """The entries after the manager, whose Apply says `said`, made `new` of `old`."""
        found = tuple(found)
        written, removed = self._difference(old, new)
        before = self.mine(found)
        unchanged = before and before.owned == said and before.manager == self.manager
        entry = before if before and unchanged else Entry(self.manager, said, self.now)
        return (*_taken(self.others(found), written | removed), entry)

    def conflicts(self, found: Iterable[Entry], old: Manifest, new: Manifest) -> list[tuple[Manager, Path]]:
        """What others own of that which would change when the manager makes `new` of `old`, by manager and path."""
        written, _ = self._difference(old, new)
        held = [(entry.manager, path) for entry in self.others(found) for path in entry.owned & written]
        return sorted(held, key=lambda it: (it[0].name, it[0].key, fieldsets.rank(it[1])))

    def _difference(self, old: Manifest | None, new: Manifest) -> tuple[Paths, Paths]:
        before: Mapping[Path, Any] = fieldsets.nodes(self.schema, old) if old else {}
        return fieldsets.difference(before, fieldsets.nodes(self.schema, new))

    def _strip(self, found: Paths) -> Paths:
        hidden = self.schema.resource.has_status and self.manager.subresource != "status"
        return frozenset(
            path for path in found if not _is_unowned(path) and not (hidden and path[0] == "f:status")
        )


def _taken(found: Iterable[Entry], taken: Paths) -> tuple[Entry, ...]:
    """The entries without the fields that somebody else has taken."""
    cut = (replace(entry, owned=entry.owned - taken) if entry.owned & taken else entry for entry in found)
    return tuple(entry for entry in cut if entry.owned)


def _is_unowned(path: Path) -> bool:
    return path == ("f:metadata",) or path[:1] in _STRIPPED or path[:2] in _STRIPPED


def _capped(found: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """At most ten updaters: the oldest become one, as `capmanagers` of apimachinery does."""
    updaters = sorted((it for it in found if it.manager.operation == "Update"), key=lambda it: it.time)
    if len(updaters) <= _MOST_UPDATERS:
        return found
    oldest = updaters[: len(updaters) - _MOST_UPDATERS + 1]
    version = oldest[-1].manager.version
    together = frozenset().union(*(entry.owned for entry in oldest))
    ancient = Entry(Manager(_ANCIENT, "Update", version), together, oldest[-1].time)
    return (*(entry for entry in found if entry not in oldest), ancient)


def _entry(item: Any) -> Entry | None:
    if not isinstance(item, dict) or item.get("operation") not in ("Apply", "Update"):
        return None
    parts = [item.get(name) or "" for name in ("manager", "apiVersion", "subresource", "time")]
    fields = fieldsets.decode(item.get("fieldsV1"))
    if fields is None or not all(isinstance(part, str) for part in parts):
        return None
    name, version, subresource, time = parts
    return Entry(Manager(name, item["operation"], version, subresource), fields, time)


def _encoded(entry: Entry) -> Manifest:
    manager = entry.manager
    part = {"subresource": manager.subresource} if manager.subresource else {}
    return {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldsets.encode(entry.owned),
        **part,
    }
