"""What a fault is, the null object among them, and what several of them share. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from harness.changes import Change, Manifest
from harness.errors import HarnessError
from harness.faults.evidence import Evidence, NoEvidence
from harness.scene import Needs, Pod, Scene


@dataclass(frozen=True)
class Rhythm:
    """When a fault goes on while it is in force: every so many seconds after the injection.

    Attributes:
        every: seconds.
        times: how often; None for until the revert.
    """

    every: float
    times: int | None = None

    def due(self, seconds: float) -> int:
        """How often it was due to go on within the first `seconds`."""
        due = int(seconds / self.every + 1e-9)
        return due if self.times is None else min(due, self.times)


class Fault(Protocol):
    """A fault: a frozen value with a short and stable `str()`; all its methods are pure."""

    @property
    def needs(self) -> Needs:
        """What has to be known besides the pods of the target; by default nothing."""
        return Needs()

    @property
    def enters(self) -> tuple[str, ...]:
        """The protected namespaces that it is about; a blast radius has to name them too. By default none."""
        return ()

    @property
    def refusable(self) -> bool:
        """Whether the cluster's refusal of its changes is an outcome to learn from, and no error. By default not."""
        return False

    @property
    def lasts(self) -> float:
        """Seconds for which it lasts even if it is reverted before; by default none."""
        return 0.0

    @property
    def ends(self) -> float:
        """Seconds after which it ends by itself, reverted or not; by default never."""
        return inf

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """What has to be changed in the cluster for the fault to be in force.

        Raises:
            HarnessError: it could not bite in this scene.
        """
        ...

    @property
    def rhythm(self) -> Rhythm | None:
        """When it goes on while it is in force; by default it does not."""
        return None

    def further(self, scene: Scene, pods: Sequence[Pod], time: int) -> tuple[Change, ...]:
        """What has to be changed when it goes on for the `time`-th time, from 1; by default nothing.

        Args:
            scene: as it was resolved before the injection.
            pods: the pods of the target that are ready at that moment.
            time: the number of the time.
        """
        return ()

    def evidence(self, scene: Scene) -> Evidence:
        """What can be seen only if the fault bites."""
        ...

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The pods it touches: what the blast radius counts."""
        ...

    def reach(self, scene: Scene, seconds: float) -> int:
        """How many different pods it touches at most while it is in force for `seconds`."""
        return len(self.pods(scene))

    def harm(self, scene: Scene) -> float:
        """How much of the target it takes away at most, in percent of the requests or of the pods."""
        ...


def foreseen(fault: Fault, scene: Scene) -> tuple[Change, ...]:
    """All kinds of changes that a fault makes: those at first, and those of the next time if it goes on."""
    again = fault.further(scene, scene.pods, 1) if fault.rhythm else ()
    return (*fault.changes(scene), *again)


@dataclass(frozen=True)
class Nothing(Fault):
    """No change at all: the control run."""

    def __str__(self) -> str:
        return "nothing"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """None."""
        return ()

    def evidence(self, scene: Scene) -> NoEvidence:
        """None is needed."""
        return NoEvidence()

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """None."""
        return ()

    def harm(self, scene: Scene) -> float:
        """Nothing is taken away."""
        return 0.0


def counted(scene: Scene) -> dict[str, str]:
    """The labels under which the sidecars of the target count their requests (Istio's standard metrics).

    A target that is selected by the label version as well is counted without the other versions of its app.

    Raises:
        HarnessError: the pods carry no label app in common.
    """
    version = scene.target.labels.get("version")
    return {
        "reporter": "destination",
        "destination_workload_namespace": scene.target.namespace,
        "destination_app": app_of(scene),
        **({"destination_version": version} if version else {}),
    }


def app_of(scene: Scene) -> str:
    """The label app that the pods of the scene carry: by it Istio's metrics know them.

    Raises:
        HarnessError: they carry none in common.
    """
    apps = {pod.labels.get("app", "") for pod in scene.pods}
    if len(apps) > 1 or "" in apps:
        raise HarnessError(
            f"The requests of {scene.target} cannot be counted: its pods do not carry one label app in common; "
            "give them one, since Istio's metrics are labelled with it."
        )
    return apps.pop()


def need_sidecars(fault: Fault, scene: Scene) -> None:
    """Lets a fault pass that acts in sidecars where every pod has one.

    Raises:
        HarnessError: some have none; names them.
    """
    bare = sorted(pod.name for pod in scene.pods if not pod.sidecar)
    if bare:
        raise HarnessError(
            f"{fault} cannot bite at {scene.target}: no sidecar in {', '.join(bare)}; "
            f"enable injection in namespace {scene.target.namespace} and restart these pods."
        )


def need_percent(word: str, percent: float, what: str = "the requests") -> None:
    """Lets a percentage pass that is one.

    Raises:
        HarnessError: it is not within 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise HarnessError(f"{word} cannot hit {percent:g} % of {what}; choose 0 to 100.")


def made(scene: Scene, api_version: str, kind: str, name: Sequence[Any], spec: Any) -> Manifest:
    """An object of our own beside the target: its name and labels say whose it is."""
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, (scene.run, *name, scene.target.app))).lower())
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": f"harness-{slug}".strip("-"),
            "namespace": scene.target.namespace,
            "labels": {"app.kubernetes.io/managed-by": "harness", "harness.mesh/run": scene.run},
        },
        "spec": spec,
    }
