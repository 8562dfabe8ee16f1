"""Lists in parts: `limit` and `continue`, at one revision from the first part to the last. Pure.

Rules: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.localmesh.api.status import bad_request
from harness.localmesh.kinds.parse import Manifest


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the next part begins: at `revision`, after the object of that namespace and name."""

    revision: int
    namespace: str
    name: str


@dataclass(frozen=True)
class Part:
    """Some objects of a list, the token for the rest ("" at its end), and how many that are."""

    items: tuple[Manifest, ...]
    token: str
    left: int


def position(token: str) -> Position:
    """The position that `token` stands for.

    Raises:
        Refused: 400 when it was not given out here.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=Position)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise bad_request("continue key is not valid: it was not given out by this mesh") from None


def part(items: Sequence[Manifest], revision: int, limit: int, after: Position | None) -> Part:
    """At most `limit` (0: all) of `items`, sorted by namespace and name, that come after a position."""
    rest = [item for item in items if after is None or _place(item) > (after.namespace, after.name)]
    if not limit or len(rest) <= limit:
        return Part(tuple(rest), "", 0)
    namespace, name = _place(rest[limit - 1])
    token = base64.urlsafe_b64encode(msgspec.json.encode(Position(revision, namespace, name))).decode()
    return Part(tuple(rest[:limit]), token, len(rest) - limit)


def _place(item: Manifest) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
