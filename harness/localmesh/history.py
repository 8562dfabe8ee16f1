"""The bounded record of changes that watches read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.localmesh.api.resources import Resource
from harness.localmesh.api.status import expired
from harness.localmesh.kinds.parse import Manifest


@dataclass(frozen=True)
class Change:
    """One change of one object; `previous` is the object before it, None when it was created.

    `object` carries the change's revision as its resourceVersion, also when `type` is DELETED.
    """

    revision: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    resource: Resource
    object: Manifest
    previous: Manifest | None


class History:
    """The last changes, at least `limit` of them, one for each revision. Not thread-safe by itself."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changes: list[Change] = []
        # Revision 0 means "whatever there is" in a watch, so no state may have it.
        self.last = 1

    def append(self, change: Change) -> None:
        """Record `change`, whose revision must be the one after `last`."""
        if change.revision != self.last + 1:
            raise AssertionError(f"revision {change.revision} recorded after {self.last}")
        self._changes.append(change)
        self.last = change.revision
        if len(self._changes) > 2 * self._limit:
            del self._changes[: -self._limit]

    def after(self, revision: int) -> list[Change]:
        """Every change after `revision`, in order.

        Raises:
            Refused: 410 when some of them are no longer kept, or `revision` has not been reached yet.
        """
        count = self.last - revision
        if count < 0 or count > len(self._changes):
            raise expired(revision, self.last - len(self._changes))
        return self._changes[-count:] if count else []
