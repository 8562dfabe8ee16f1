"""What a changed object says of itself: whose change it carries, until when, and how to undo it. Pure.

A mark is an annotation `harness.mesh/undo.KEY` in compact JSON, written together with the change itself, so whoever
has only the kubeconfig can restore the object when the claim is over. The label `harness.mesh/claim` finds every object
that is marked, or that a run created. Restoring removes both in the same write.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from harness.changes import (
    OWNER,
    Manifest,
    Recreate,
    Ref,
    Restore,
    Unrotate,
    as_written,
    ref_of,
    to_json,
    undo_from_json,
)

EXPIRES: Final = "harness.mesh/expires"
"""The annotation of a created object that says until when its run claims it (RFC 3339, UTC)."""

CLAIM: Final = "harness.mesh/claim"
"""The label, always "true", of every object that a run created or changed."""

SETTLED: Final = "harness.mesh/settled"
"""The annotation that an object carries for a moment, so that it has another version."""

_UNDO: Final = "harness.mesh/undo."
_REVISION: Final = "deployment.kubernetes.io/revision"  # Kubernetes counts the rollouts of a Deployment in it
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Mark:
    """What an object says of one change to it.

    Attributes:
        key: tells the marks of an object apart.
        owner: the injection that made the change, `<run>/<id>`.
        at: when, in seconds since the epoch.
        expires: until when the run claims it, in seconds since the epoch; 0 when it does not say.
        before: a hash of the object as it was (see `digest`).
        undo: how to undo the change.
    """

    key: str
    owner: str
    at: float
    expires: float
    before: str
    undo: Restore | Recreate | Unrotate


def stamp(at: float) -> str:
    """A time (Unix seconds) as the annotation `EXPIRES` holds it."""
    return datetime.fromtimestamp(at, UTC).strftime(_STAMP)


def until(manifest: Manifest) -> float | None:
    """Until when a created object is claimed (Unix seconds); None when it does not say."""
    try:
        text = (manifest["metadata"].get("annotations") or {}).get(EXPIRES, "")
        return datetime.strptime(text, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def claimed(manifest: Manifest, owner: str, expires: float) -> Manifest:
    """An object that is about to be created, saying whose it is and until when (Unix seconds)."""
    marked = _labelled(manifest)
    marked["metadata"].setdefault("annotations", {}).update({OWNER: owner, EXPIRES: stamp(expires)})
    return marked


def mark(manifest: Manifest, made: Mark) -> Manifest:
    """The object with a mark."""
    marked = _labelled(manifest)
    content = {
        "owner": made.owner,
        "at": made.at,
        "expires": made.expires,
        "before": made.before,
        "undo": to_json(made.undo),
    }
    annotations = marked["metadata"].get("annotations") or {}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    marked["metadata"]["annotations"] = {**annotations, f"{_UNDO}{made.key}": text}
    return marked


def annotated(manifest: Manifest, name: str, text: str) -> Manifest:
    """The object with an annotation, or without it when `text` is empty."""
    changed = deepcopy(manifest)
    if text:
        changed["metadata"]["annotations"] = {**(changed["metadata"].get("annotations") or {}), name: text}
    else:
        _remove(changed["metadata"], "annotations", name)
    return changed


def unmark(manifest: Manifest, key: str) -> Manifest:
    """The object without the mark `key`; the same when it has none. The label goes with the last mark."""
    name, meta = f"{_UNDO}{key}", manifest["metadata"]
    if name not in (meta.get("annotations") or {}):
        return manifest
    bare = deepcopy(manifest)
    _remove(bare["metadata"], "annotations", name)
    left = bare["metadata"].get("annotations") or {}
    if EXPIRES not in left and not any(other.startswith(_UNDO) for other in left):
        _remove(bare["metadata"], "labels", CLAIM)
    return bare


def marks(manifest: Manifest) -> tuple[tuple[Mark, ...], tuple[str, ...]]:
    """The marks of an object, and a sentence for each that cannot be read."""
    found, broken = [], []
    for name, text in (manifest["metadata"].get("annotations") or {}).items():
        if name.startswith(_UNDO):
            try:
                found.append(_mark(name.removeprefix(_UNDO), json.loads(text), ref_of(manifest)))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                broken.append(
                    f"{ref_of(manifest)} says in its annotation {name} how to undo a change, but that cannot be read "
                    f"({type(error).__name__}: {error}); restore it by hand and remove the annotation."
                )
    return tuple(found), tuple(broken)


def digest(manifest: Manifest) -> str:
    """A hash of what people wrote in an object: neither what the server adds, nor marks."""
    bare = as_written(manifest)
    _remove(bare["metadata"], "annotations", _REVISION)
    for name in list(bare["metadata"].get("annotations") or {}):
        if name.startswith(_UNDO):
            bare = unmark(bare, name.removeprefix(_UNDO))
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]


def _mark(key: str, content: dict[str, Any], ref: Ref) -> Mark:
    undo = undo_from_json(content["undo"])
    if isinstance(undo, Unrotate) and undo.copy != ref.name:
        raise ValueError("it is not about this object")
    if not isinstance(undo, Restore | Recreate | Unrotate) or (isinstance(undo, Restore) and undo.ref != ref):
        raise ValueError("it is not about this object")
    at, expires = float(content["at"]), float(content.get("expires") or 0)
    return Mark(key, str(content.get("owner") or ""), at, expires, str(content["before"]), undo)


def _labelled(manifest: Manifest) -> Manifest:
    labelled = deepcopy(manifest)
    labelled["metadata"]["labels"] = {**(labelled["metadata"].get("labels") or {}), CLAIM: "true"}
    return labelled


def _remove(meta: Manifest, field: str, name: str) -> None:
    """Removes an entry, and the field with its last one, as the API server does."""
    entries = meta.get(field) or {}
    entries.pop(name, None)
    if not entries:
        meta.pop(field, None)
