"""Manifests as values: everything here returns a new one and leaves its argument as it is."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from harness.localmesh.kinds.parse import Manifest

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes names of: no vowels, so no words."""


def clone(manifest: Manifest) -> Manifest:
    """A deep copy that shares nothing with `manifest`; a date, as YAML has them, becomes text."""
    return cast(Manifest, msgspec.json.decode(msgspec.json.encode(manifest)))


def with_metadata(manifest: Manifest, **changes: Any) -> Manifest:
    """`manifest` with the given fields of its metadata set, or removed where the value is None."""
    metadata = {**manifest["metadata"], **changes}
    return {**manifest, "metadata": {key: value for key, value in metadata.items() if value is not None}}


def with_section(manifest: Manifest, section: str, source: Manifest) -> Manifest:
    """`manifest` with `section` as it is in `source`: replaced, added or removed."""
    if section in source:
        return {**manifest, section: source[section]}
    return {key: value for key, value in manifest.items() if key != section}


def owner_uids(manifest: Manifest) -> tuple[str, ...]:
    """The UIDs of its owners."""
    return tuple(owner["uid"] for owner in manifest["metadata"].get("ownerReferences") or ())


def disowned(manifest: Manifest, uid: str) -> Manifest:
    """`manifest` without the owner of that UID."""
    owners = [owner for owner in manifest["metadata"]["ownerReferences"] if owner["uid"] != uid]
    return with_metadata(manifest, ownerReferences=owners or None)


def generated_name(prefix: str) -> str:
    """`prefix` and five random characters, as Kubernetes completes `generateName`."""
    return prefix[:58] + "".join(secrets.choice(ALPHABET) for _ in range(5))


def timestamp(moment: datetime) -> str:
    """`moment` as Kubernetes writes a time: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def containers_of(pod: Manifest) -> list[Manifest]:
    """The containers of a pod, the ephemeral ones last."""
    spec = pod["spec"]
    return [*spec["containers"], *(spec.get("ephemeralContainers") or ())]
