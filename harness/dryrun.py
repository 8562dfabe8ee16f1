"""What an experiment would do, without doing it: only reads are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.changes import (
    ABSENT,
    Attach,
    Change,
    Create,
    Delete,
    Eviction,
    Manifest,
    Patch,
    Rotate,
    apply,
    render,
    undo,
)
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.experiment import Experiment, necessary
from harness.faults import (
    Evidence,
    NoEvidence,
    OnEach,
    Recurring,
    Replaced,
    Restarted,
    Scaled,
    Scene,
    Share,
    foreseen,
)
from harness.injection import resolve
from harness.preflight import reads
from harness.rbac import Need, needs
from harness.slo import Probe


@dataclass(frozen=True)
class Plan:
    """What a run would do: as YAML, and the rights that it takes."""

    text: str
    needs: frozenset[Need]


def plan(
    experiment: Experiment, cluster: Cluster, *, run: str, seed: int, weaken: Sequence[Change] = ()
) -> Plan:
    """The pods that match, the exact objects and patches, the evidence awaited, and how much of the radius is used.

    Raises:
        HarnessError: the run would be refused; says why.
    """
    scene = resolve(cluster, experiment.target, run=run, seed=seed, fault=experiment.fault)
    experiment.blast_radius.check(experiment.fault, scene)
    changes, rhythm = (*weaken, *experiment.fault.changes(scene)), experiment.fault.rhythm
    content = {
        "target": str(experiment.target),
        "pods": [pod.name for pod in scene.pods],
        "fault": str(experiment.fault),
        "evidence": _evidence(experiment.fault.evidence(scene)),
        "traffic": [str(one) for one in necessary(experiment)],
        "radius": _radius(experiment, scene),
        "changes": [_change(change, cluster) for change in changes],
        **({"and again": f"every {rhythm.every:g} s"} if rhythm else {}),
    }
    probes = any(isinstance(slo.sli, Probe) for slo in experiment.indicators)
    wanted = needs(
        (*weaken, *foreseen(experiment.fault, scene)),
        experiment.target.namespace,
        probes=probes,
        fault=experiment.fault,
    )
    return Plan(yaml.safe_dump(content, sort_keys=False, width=110), wanted | reads(experiment))


def _evidence(evidence: Evidence) -> Any:  # noqa: PLR0911  # one for each kind
    match evidence:
        case NoEvidence():
            return "none: nothing is done"
        case Replaced():
            told: Any = {"pods whose UIDs are gone": list(evidence.uids)}
            return told | {"requests counted under": dict(evidence.selector_all)}
        case Recurring():
            return {"pods whose UIDs are gone at first": list(evidence.uids), "and again": "until the revert"}
        case Restarted():
            return {"pods": list(evidence.before), "whose container is started again": evidence.container}
        case OnEach():
            return {"pods that": str(evidence.witness), "all of": [pod.name for pod in evidence.pods]}
        case Scaled():
            workloads = str(evidence.workloads)
            return {"ready pods": evidence.replicas, "of": workloads, "instead of": evidence.before}
        case Share():
            return _share(evidence)


def _share(evidence: Share) -> Any:
    return {
        "percent": evidence.percent,
        "of the requests counted under": dict(evidence.selector_all),
        "are also counted under": dict(evidence.selector_hit),
        **({"from this second on": evidence.after} if evidence.after else {}),
    }


def _radius(experiment: Experiment, scene: Scene) -> dict[str, str]:
    limits, fault = experiment.blast_radius, experiment.fault
    return {
        "pods": f"{fault.reach(scene, limits.seconds)} of at most {limits.max_pods}",
        "percent": f"{fault.harm(scene):g} of at most {limits.max_percent:g}",
        "namespaces": ", ".join(limits.namespaces or (scene.target.namespace,)),
        "seconds": f"at most {limits.seconds:g}",
    }


def _change(change: Change, cluster: Cluster) -> Manifest:
    current = cluster.get(change.ref)
    undo(change, current)  # what could not be undone would be refused
    match change:
        case Create(manifest):
            return {"create": manifest}
        case Delete(ref):
            return {"delete": str(ref)}
        case Eviction(ref):
            return {"evict": str(ref)}
        case Attach(ref, container):
            return {"attach": str(ref), "container": container}
        case Rotate(ref):
            return {"give a new root to": str(ref)}
        case Patch(ref, edits):
            if current is None:
                raise HarnessError(f"There is no {ref}.")
            apply(change, current)
            fields = {
                render(edit.path): {"from": _at(current, edit.path), "to": _shown(edit.value)}
                for edit in edits
            }
            return {"patch": str(ref), "fields": fields}


def _at(manifest: Manifest, path: Sequence[str | int]) -> Any:
    node: Any = manifest
    for step in path:
        try:
            node = node[step]
        except (KeyError, IndexError):
            return _shown(ABSENT)
    return node


def _shown(value: Any) -> Any:
    return "(absent)" if value is ABSENT else value
