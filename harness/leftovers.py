"""What runs of any machine left in a cluster, found by what the objects themselves say."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from harness.changes import Manifest, Ref, ref_of
from harness.cluster import Cluster
from harness.errors import HarnessError

EXPIRES: Final = "harness.mesh/expires"
"""The annotation of a created object that says until when its run claims it (RFC 3339, UTC)."""

_RUN = "harness.mesh/run"
_OURS = {"app.kubernetes.io/managed-by": "harness"}
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Leftovers:
    """EnvoyFilters that runs have made and that are there.

    Attributes:
        expired: those whose claim is over, each with its UID.
        claimed: a sentence for each of the others.
        unseen: why they could not be looked for, if that is so.
    """

    expired: tuple[tuple[Ref, str], ...] = ()
    claimed: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def stamp(at: float) -> str:
    """A time (Unix seconds) as the annotation `EXPIRES` holds it."""
    return datetime.fromtimestamp(at, UTC).strftime(_STAMP)


def leftovers(cluster: Cluster) -> Leftovers:
    """The EnvoyFilters in all namespaces that carry the label and the annotation of a run."""
    try:
        found = cluster.list("networking.istio.io/v1alpha3", "EnvoyFilter", selector=_OURS)
    except HarnessError as error:
        return Leftovers(unseen=(f"EnvoyFilters that a run of another machine left cannot be seen: {error}",))
    expired, claimed = [], []
    for manifest in found:
        until = _until(manifest)
        if until is not None and until < time.time():
            expired.append((ref_of(manifest), str(manifest["metadata"]["uid"])))
        elif text := _claim(manifest, until):
            claimed.append(text)
    return Leftovers(tuple(expired), tuple(claimed))


def _claim(manifest: Manifest, until: float | None) -> str:
    """Whose it is and until when; "" when it is none of ours."""
    meta = manifest["metadata"]
    run = (meta.get("labels") or {}).get(_RUN, "")
    if until is not None:
        return (
            f"{ref_of(manifest)} is claimed by the run {run or '(unknown)'} until {stamp(until)}; it is kept."
        )
    if run:
        return (
            f"{ref_of(manifest)} of the run {run} does not say until when it is claimed ({EXPIRES}); it is kept, "
            "delete it by hand when that run is over."
        )
    return ""


def _until(manifest: Manifest) -> float | None:
    text = (manifest["metadata"].get("annotations") or {}).get(EXPIRES, "")
    try:
        return datetime.strptime(text, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
