"""The client behind a request, as the author of what it writes: its name, its fields, and the warnings it gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from harness.localmesh.api.managers import Entry, Manager, Writing, encoded, entries
from harness.localmesh.api.messages import Request, Response
from harness.localmesh.api.resources import api_version
from harness.localmesh.api.routes import Route
from harness.localmesh.api.schema import Schema
from harness.localmesh.api.status import bad_request
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp
from harness.localmesh.store import Author

_LONGEST_NAME = 128
_LONGEST_WARNING = 512


class Writer:
    """Whoever sent `request` to write what `route` means, by an Update or by an Apply.

    Raises:
        Refused: 400 for a field manager that is no name, or, when applying, that is missing.
    """

    def __init__(
        self, request: Request, route: Route, operation: Literal["Apply", "Update"] = "Update"
    ) -> None:
        version = api_version(route.resource.group, route.version)
        manager = Manager(_name(request, operation), operation, version, route.subresource)
        self.writing = Writing(Schema(route.resource), manager, timestamp(datetime.now(UTC)))
        self._warnings: list[str] = []

    @property
    def author(self) -> Author:
        """For the store: an Update owns what it changes; an Apply brings its managedFields with it."""
        applies = self.writing.manager.operation == "Apply"
        return Author(self._warnings.append, _sent if applies else self._updated)

    def told(self, answer: Response) -> Response:
        """`answer` with a `Warning` header for each warning, as RFC 7234 has them and kubectl prints them."""
        found = dict.fromkeys(_header(warning) for warning in self._warnings)
        return replace(answer, headers=(*answer.headers, *(("Warning", text) for text in found)))

    def _updated(self, new: Manifest, old: Manifest | None) -> list[Manifest]:
        return encoded(self.writing.updated(self._found(new, old), old, new))

    def _found(self, new: Manifest, old: Manifest | None) -> tuple[Entry, ...]:
        """The managers before the write: those the client sent, which may drop or rename some, else the stored ones."""
        sent = new["metadata"].get("managedFields")
        before = entries(old) if old else ()
        if not sent or self.writing.manager.subresource:
            return before
        if sent == [{}]:
            return ()
        found = entries(new)
        return found if len(found) == len(sent) else before


def _sent(new: Manifest, old: Manifest | None) -> list[Manifest]:
    return list(new["metadata"].get("managedFields") or ())


def _name(request: Request, operation: str) -> str:
    name = request.query.get("fieldManager", "")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise bad_request(f"fieldManager: Invalid value: at most {_LONGEST_NAME} printable characters")
    if operation == "Apply" and not name:
        raise bad_request("fieldManager: Required value: is required for apply patch")
    agent = str(request.headers.get("User-Agent") or "").partition("/")[0]
    return name or "".join(filter(str.isprintable, agent))[:_LONGEST_NAME] or "unknown"


def _header(warning: str) -> str:
    text = "".join(sign if sign.isprintable() else " " for sign in warning)[:_LONGEST_WARNING]
    text = text.encode("latin-1", "replace").decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{text}"'
