"""Which pods show a fault that something else than requests tells: their sidecars' agents, or an object's status."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from harness.changes import Manifest
from harness.cluster import Cluster
from harness.faults import Expired, OnEach, Recorded, Reissued, Renewed, Running
from harness.scene import Pod
from harness.sidecars import seconds_left, trusted_root

_MOVED = 0.5  # seconds by which two readings of when one certificate expires may differ


@dataclass
class Witness:
    """Asks for one run; remembers what it has to compare with."""

    _first: dict[str, float] = field(default_factory=dict)

    def look(self, cluster: Cluster, evidence: OnEach, now: float) -> frozenset[str]:
        """The names of the pods that show it `now` (Unix seconds).

        Raises:
            HarnessError: whoever could tell cannot be asked.
        """
        match evidence.witness:
            case Expired():
                return _names(seconds_left(cluster, _present(cluster, evidence.pods)).items(), below=0.0)
            case Reissued(root):
                return self._reissued(cluster, evidence.pods, root, now)
            case Renewed():
                return self._renewed(cluster, evidence.pods, now)
            case Recorded(ref):
                return injected(cluster.get(ref) or {})
            case Running(container):
                present = _present(cluster, evidence.pods)
                return frozenset(pod.name for pod in present if container in pod.attached)

    def _reissued(self, cluster: Cluster, pods: Collection[Pod], old: str, now: float) -> frozenset[str]:
        """Those whose certificate is not the one they had when another root was seen for the first time.

        That one may have been issued under either root; every later one is of the new root.
        """
        namespaces = {pod.namespace for pod in pods}
        if any(trusted_root(cluster, namespace) == old for namespace in namespaces):
            return frozenset()
        return self._renewed(cluster, pods, now)

    def _renewed(self, cluster: Cluster, pods: Collection[Pod], now: float) -> frozenset[str]:
        """Those whose certificate is not the one they had at the first look."""
        ends = {name: now + left for name, left in seconds_left(cluster, _present(cluster, pods)).items()}
        if not self._first:
            self._first = ends
        return frozenset(
            name for name, end in ends.items() if end > self._first.setdefault(name, end) + _MOVED
        )


def injected(experiment: Manifest) -> frozenset[str]:
    """The pods in which Chaos Mesh has injected an experiment, as its status says; none unless that is all of them.

    Its records name a pod `namespace/name`, with the container behind it if it is about one (chaos-mesh/chaos-mesh
    `api/v1alpha1/common_types.go`, `Record`).
    """
    status = experiment.get("status") or {}
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or ()}
    if conditions.get("AllInjected") != "True" or conditions.get("AllRecovered") == "True":
        return frozenset()
    records = (status.get("experiment") or {}).get("containerRecords") or ()
    phases: dict[str, set[str]] = {}
    for record in records:
        _namespace, _, rest = str(record.get("id", "")).partition("/")
        phases.setdefault(rest.partition("/")[0], set()).add(str(record.get("phase", "")))
    return frozenset(name for name, seen in phases.items() if seen == {"Injected"})


def _present(cluster: Cluster, pods: Collection[Pod]) -> tuple[Pod, ...]:
    """Those of the pods that are there still, as they are now: another one's certificate says nothing about theirs."""
    found: list[Pod] = []
    for namespace in {pod.namespace for pod in pods}:
        asked = {pod.uid for pod in pods if pod.namespace == namespace}
        found += [pod for pod in cluster.pods(namespace, {}) if pod.uid in asked]
    return tuple(found)


def _names(seconds: Collection[tuple[str, float]], *, below: float) -> frozenset[str]:
    return frozenset(name for name, left in seconds if left < below)
