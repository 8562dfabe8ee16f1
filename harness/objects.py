"""The objects of a cluster: their names, whose they are, and what people wrote in them. Pure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from harness.errors import HarnessError
from harness.fields import Manifest

OWNER: Final = "harness.mesh/owner"
"""The annotation that says which injection created an object."""

_SERVER_FIELDS = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)


@dataclass(frozen=True)
class Ref:
    """Names one object of a cluster; `namespace` is "" for an object that is in none."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def ref_of(manifest: Manifest) -> Ref:
    """The name of the object in `manifest`.

    Raises:
        HarnessError: it has no apiVersion, kind or name.
    """
    try:
        meta = manifest["metadata"]
        return Ref(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])
    except KeyError as missing:
        raise HarnessError(f"A manifest has no {missing.args[0]}: {str(manifest)[:100]}; add it.") from None


def owner_of(manifest: Manifest) -> str:
    """The injection that created the object, "" if none did."""
    return str((manifest["metadata"].get("annotations") or {}).get(OWNER, ""))


def is_controlled(manifest: Manifest) -> bool:
    """Whether a controller has made the object, and would make it again."""
    return any(owner.get("controller") for owner in manifest["metadata"].get("ownerReferences") or ())


def as_written(manifest: Manifest) -> Manifest:
    """The object without what the server adds to it."""
    written = deepcopy({name: value for name, value in manifest.items() if name != "status"})
    for name in _SERVER_FIELDS:
        written["metadata"].pop(name, None)
    return written
