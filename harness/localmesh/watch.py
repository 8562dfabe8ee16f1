"""What a reader sees of the store's changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.localmesh.api.resources import Resource
from harness.localmesh.history import Change

Changes = Callable[[int, float], Sequence[Change]]
"""The changes after a revision, waiting for the first up to some seconds."""


class Watch:
    """The changes of one resource, each once and in order; for one reader."""

    def __init__(self, changes: Changes, resource: Resource, since: int) -> None:
        self._changes = changes
        self._resource = resource
        self.revision = since
        """Every change up to here has been handed out."""

    def next(self, timeout: float) -> Sequence[Change]:
        """The changes since the last call; if there is none, wait up to `timeout` seconds or until `wake`.

        May come back empty earlier, when only other resources changed.

        Raises:
            Refused: 410 when the reader was too slow, or `since` too old.
        """
        changes = self._changes(self.revision, timeout)
        if changes:
            self.revision = changes[-1].revision
        return [change for change in changes if change.resource == self._resource]
