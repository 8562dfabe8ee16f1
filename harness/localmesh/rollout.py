"""What a Deployment does next with its ReplicaSets: pure.

Source: kubernetes/kubernetes `pkg/controller/deployment` (rolling.go, recreate.go, sync.go) and its
`util/deployment_util.go`; the names in parentheses below are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.workloads import HASH_LABEL, template_hash

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MOST = "deployment.kubernetes.io/max-replicas"
# What says something about the Deployment itself, and is not handed on to its ReplicaSets.
_OWN = (REVISION, _DESIRED, _MOST, REVISION_HISTORY, "kubectl.kubernetes.io/last-applied-configuration")


@dataclass(frozen=True)
class Family:
    """A Deployment, its ReplicaSet of the present template (if there is one), and the older ones, oldest first."""

    deployment: Manifest
    new: Manifest | None
    old: tuple[Manifest, ...]

    @classmethod
    def of(cls, deployment: Manifest, sets: Iterable[Manifest]) -> Family:
        """The family of a Deployment whose ReplicaSets are `sets`, oldest first."""
        hashed, new, old = template_hash(deployment), None, []
        for item in sets:
            if new is None and item["metadata"].get("labels", {}).get(HASH_LABEL) == hashed:
                new = item
            else:
                old.append(item)
        return cls(deployment, new, tuple(old))

    @property
    def sets(self) -> tuple[Manifest, ...]:
        """All of its ReplicaSets, the new one last."""
        return self.old if self.new is None else (*self.old, self.new)

    @property
    def wanted(self) -> int:
        """How many pods are asked for."""
        return int(self.deployment["spec"].get("replicas", 1))

    @property
    def paused(self) -> bool:
        """Whether its rollout is paused: it is scaled, and its template is not looked at."""
        return bool(self.deployment["spec"].get("paused"))

    @property
    def recreates(self) -> bool:
        """Whether the old pods have to be gone before there are new ones."""
        return bool(self.deployment["spec"].get("strategy", {}).get("type") == "Recreate")

    @property
    def bounds(self) -> tuple[int, int]:
        """MaxSurge and maxUnavailable in pods: percentages of the surge round up, of the other down.

        Where both come to nothing, one pod may be unavailable (ResolveFenceposts).
        """
        if self.recreates:
            return 0, self.wanted
        rolling = self.deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
        surge = _count(rolling.get("maxSurge", "25%"), self.wanted, up=True)
        unavailable = _count(rolling.get("maxUnavailable", "25%"), self.wanted, up=False)
        if not surge and not unavailable:
            unavailable = 1
        return surge, min(unavailable, self.wanted)


def plan(family: Family, *, old_pods: bool) -> dict[str, int]:
    """How many pods each ReplicaSet shall have, by its name; those that keep their number are left out.

    A new ReplicaSet that is not there yet has the name "". One step at a time, as Kubernetes: the new set grows, or
    the old ones shrink. `old_pods` says whether pods of older sets are there, even if they are about to end.
    """
    if family.paused or _resized(family):
        targets = _scaled(family)
    elif family.recreates:
        targets = {_name(item): 0 for item in family.old}
        if not old_pods:
            targets[_name(family.new)] = family.wanted
    else:
        targets = _rolled(family)
    have = {_name(item): _asked(item) for item in family.sets}
    return {name: count for name, count in targets.items() if have.get(name) != count}


def marks(family: Family) -> Manifest:
    """The annotations of the ReplicaSet of the present template: its revision and those of the Deployment.

    A set that becomes the newest again gets the next revision (SetNewReplicaSetAnnotations).
    """
    kept = family.new["metadata"].get("annotations", {}) if family.new else {}
    own = family.deployment["metadata"].get("annotations", {})
    revision, before = max(map(revision_of, family.old), default=0) + 1, kept.get(REVISION)
    result = {**kept, **{key: value for key, value in own.items() if key not in _OWN}}
    if family.new is None or revision_of(family.new) < revision:
        result[REVISION] = str(revision)
        if before is not None:
            result[REVISION_HISTORY] = ",".join(filter(None, (kept.get(REVISION_HISTORY, ""), before)))
    return {**result, **sizes(family)}


def sizes(family: Family) -> dict[str, str]:
    """The annotations by which a ReplicaSet remembers the size of its Deployment."""
    return {_DESIRED: str(family.wanted), _MOST: str(family.wanted + family.bounds[0])}


def surplus(family: Family) -> Sequence[Manifest]:
    """The old ReplicaSets beyond revisionHistoryLimit, to be deleted; those with pods are kept."""
    limit = family.deployment["spec"].get("revisionHistoryLimit", 10)
    empty = [
        item
        for item in family.old
        if not _asked(item)
        and not item.get("status", {}).get("replicas", 0)
        and "deletionTimestamp" not in item["metadata"]
    ]
    return sorted(empty, key=revision_of)[: max(0, len(empty) - limit)]


def revision_of(manifest: Manifest) -> int:
    """The revision in its annotation, or 0."""
    text = manifest["metadata"].get("annotations", {}).get(REVISION, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def available(replica_set: Manifest) -> int:
    """Its available pods without those about to go, which its status may still name."""
    return min(int(replica_set.get("status", {}).get("availableReplicas", 0)), _asked(replica_set))


def _rolled(family: Family) -> dict[str, int]:
    surge, unavailable = family.bounds
    total = sum(map(_asked, family.sets))
    new = _asked(family.new) if family.new else 0
    grown = family.wanted if new >= family.wanted else new + _growth(family, total, new, surge)
    if family.new is None or grown != new:
        return {_name(family.new): grown}
    least = family.wanted - unavailable
    starting = new - available(family.new)
    return _shrunk(family, total - least - starting, least)


def _growth(family: Family, total: int, new: int, surge: int) -> int:
    """By how many pods the new set may grow (NewRSNewReplicas)."""
    return max(0, min(family.wanted + surge - total, family.wanted - new))


def _shrunk(family: Family, most: int, least: int) -> dict[str, int]:
    """The old sets without those that do not serve, then without those that can be spared (reconcileOldReplicaSets)."""
    counts = {_name(item): _asked(item) for item in family.old if _asked(item)}
    serving = {_name(item): available(item) for item in family.sets}
    left = max(0, most)
    for name, count in counts.items():
        taken = min(left, count - serving[name])
        counts[name], left = count - taken, left - taken
    spare = min(left, sum(serving.values()) - least)
    for name, count in counts.items():
        taken = min(max(0, spare), count)
        counts[name], spare = count - taken, spare - taken
    return counts


def _resized(family: Family) -> bool:
    """Whether the Deployment has another size than its sets know (isScalingEvent)."""
    asked = (item["metadata"].get("annotations", {}).get(_DESIRED) for item in family.sets if _asked(item))
    return any(text is not None and text != str(family.wanted) for text in asked)


def _scaled(family: Family) -> dict[str, int]:
    """A change of size amid a rollout is shared by the sets in proportion (scale)."""
    active = [item for item in family.sets if _asked(item)]
    if not active:
        active = [family.new] if family.new else list(family.old[-1:])
    if len(active) <= 1:
        return {_name(item): family.wanted for item in active}
    if family.new is not None and _asked(family.new) == family.wanted == available(family.new):
        return {_name(item): 0 for item in family.old}
    most = family.wanted + family.bounds[0] if family.wanted else 0
    missing = most - sum(map(_asked, active))
    return _shared(family, sorted(active, key=_asked, reverse=True), most, missing)


def _shared(family: Family, active: Sequence[Manifest], most: int, missing: int) -> dict[str, int]:
    counts, added = {}, 0
    for item in active:
        left = missing - added
        fraction = _fraction(family, item, most)
        share = min(fraction, left) if missing > 0 else max(fraction, left)
        counts[_name(item)] = _asked(item) + share
        added += share
    first = _name(active[0])
    counts[first] = max(0, counts[first] + missing - added)
    return counts


def _fraction(family: Family, item: Manifest, most: int) -> int:
    """By how much a set changes to keep its share (getReplicaSetFraction)."""
    if not family.wanted:
        return -_asked(item)
    text = item["metadata"].get("annotations", {}).get(_MOST, "")
    before = int(text) if text.isascii() and text.isdigit() else 0
    before = before or family.deployment.get("status", {}).get("replicas", 0) or most
    return round(_asked(item) * most / before) - _asked(item)


def _asked(replica_set: Manifest) -> int:
    return int(replica_set["spec"].get("replicas", 1))


def _name(replica_set: Manifest | None) -> str:
    return replica_set["metadata"]["name"] if replica_set else ""


def _count(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * of
    return -(-share // 100) if up else share // 100
