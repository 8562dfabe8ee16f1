"""What runs of any machine left in a cluster, found by what the objects themselves say."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from harness.changes import Manifest, Ref, ref_of
from harness.cluster import Cluster
from harness.discovery import UnknownKindError
from harness.errors import HarnessError
from harness.marks import CLAIM, EXPIRES, Mark, marks, stamp, until

KINDS: Final = (
    *(("v1", kind) for kind in ("ConfigMap", "Namespace", "Node", "Pod", "Secret", "Service")),
    *(("apps/v1", kind) for kind in ("DaemonSet", "Deployment", "StatefulSet")),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    *(
        ("networking.istio.io/v1", kind)
        for kind in ("DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "VirtualService")
    ),
    *(
        ("security.istio.io/v1", kind)
        for kind in ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
    ),
    ("telemetry.istio.io/v1", "Telemetry"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    *(("chaos-mesh.org/v1alpha1", kind) for kind in ("NetworkChaos", "StressChaos", "DNSChaos")),
)
"""The kinds among which leftovers are looked for. Changes to other kinds are undone from the ledger only."""

_RUN = "harness.mesh/run"


@dataclass(frozen=True)
class Leftovers:
    """Objects that runs have created or changed, and that are so still.

    Attributes:
        created: those whose claim is over, each with its UID.
        changed: the objects with a mark whose claim is over or that names no owner, and it; the newest first.
        claimed: a sentence for each of the others.
        broken: a sentence for each mark that cannot be read.
        unseen: why some could not be looked for, if that is so.
    """

    created: tuple[tuple[Ref, str], ...] = ()
    changed: tuple[tuple[Manifest, Mark], ...] = ()
    claimed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def leftovers(cluster: Cluster) -> Leftovers:
    """The objects in all namespaces, of the kinds `KINDS`, that carry the label of a run."""
    found, unseen = _find(cluster)
    now = time.time()
    created: list[tuple[Ref, str]] = []
    changed: list[tuple[Manifest, Mark]] = []
    claims: list[str] = []
    broken: list[str] = []
    for manifest in found:
        ref = ref_of(manifest)
        readable, unreadable = marks(manifest)
        broken += unreadable
        for mark in readable:
            if mark.expires < now or not mark.owner:
                changed.append((manifest, mark))
            else:
                claims.append(_claim(ref, mark.owner.partition("/")[0], mark.expires))
        expires = until(manifest)
        if expires is not None and expires < now:
            created.append((ref, str(manifest["metadata"]["uid"])))
        elif not (readable or unreadable):
            claims.append(_claim(ref, _run(manifest), expires))
    changed.sort(key=lambda item: item[1].at, reverse=True)
    return Leftovers(tuple(created), tuple(changed), tuple(claims), tuple(broken), unseen)


def _find(cluster: Cluster) -> tuple[list[Manifest], tuple[str, ...]]:
    found: list[Manifest] = []
    unseen: dict[str, list[str]] = {}
    for version, kind in KINDS:
        try:
            found += cluster.list(version, kind, selector={CLAIM: "true"})
        except UnknownKindError:  # of a kind that the server does not know there is nothing
            continue
        except HarnessError as error:
            unseen.setdefault(str(error), []).append(kind)
    return found, tuple(
        f"What a run of another machine left of {', '.join(kinds)} cannot be seen: {error}"
        for error, kinds in unseen.items()
    )


def _run(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(_RUN, ""))


def _claim(ref: Ref, run: str, expires: float | None) -> str:
    """Whose it is and until when."""
    if expires is not None:
        return f"{ref} is claimed by the run {run or '(unknown)'} until {stamp(expires)}; it is kept."
    return (
        f"{ref} of the run {run or '(unknown)'} does not say until when it is claimed ({EXPIRES}); it is kept, "
        "delete it by hand when that run is over."
    )
