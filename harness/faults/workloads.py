"""Faults of the Deployments behind the pods: restarted pod by pod, or scaled. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from harness.changes import Change, Edit, Patch
from harness.errors import HarnessError
from harness.faults.evidence import Replaced, Scaled
from harness.faults.fault import Fault, counted
from harness.scene import Deployment, Needs, Pod, Scene

RESTARTED = "harness.mesh/restarted"
"""The annotation of a pod template whose change makes a Deployment replace its pods."""


class _OnDeployments(Fault):
    @property
    def needs(self) -> Needs:
        """The Deployments behind the pods."""
        return Needs(deployments=True)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """All of them."""
        return scene.pods


@dataclass(frozen=True)
class RollingRestart(_OnDeployments):
    """Every pod is replaced, in the steps that the Deployment's strategy says, as by `kubectl rollout restart`.

    The restart is an annotation of the pod template (`RESTARTED`), with the run as its value. The revert takes it
    away, so that the Deployment is what it was, to the byte; a template that changes is a rollout, so the pods are
    replaced once more, by the same strategy, after the revert.
    """

    def __str__(self) -> str:
        return "rolling restart"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One Patch for each Deployment behind the target."""
        path = ("spec", "template", "metadata", "annotations", RESTARTED)
        return tuple(Patch(item.ref, (Edit(path, scene.run),)) for item in deployments(self, scene))

    def evidence(self, scene: Scene) -> Replaced:
        """All pods are others, and the callee's own count of requests."""
        return Replaced(tuple(pod.uid for pod in scene.pods), counted(scene))

    def harm(self, scene: Scene) -> float:
        """The percentage of the pods that may be missing at once."""
        missing = sum(item.max_unavailable for item in deployments(self, scene))
        return 100 * min(1.0, missing / len(scene.pods))


@dataclass(frozen=True)
class Scale(_OnDeployments):
    """Every Deployment behind the target has `replicas` pods until the revert, then as many as before.

    Raises:
        HarnessError: `replicas` is below 0.
    """

    replicas: int = 0

    def __post_init__(self) -> None:
        if self.replicas < 0:
            raise HarnessError(f"Scale cannot leave {self.replicas} pods; choose 0 or more.")

    def __str__(self) -> str:
        return f"scale to {self.replicas}"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One Patch for each Deployment that has another number of pods now."""
        return scaled(self, scene, self.replicas)

    def evidence(self, scene: Scene) -> Scaled:
        """The number of pods, which must not come back, and the callee's own count of requests before."""
        total = self.replicas * len(deployments(self, scene))
        return Scaled(scene.target, len(scene.pods), total, counted(scene))

    def harm(self, scene: Scene) -> float:
        """The percentage of the pods that go."""
        lost = sum(max(0, len(item.uids) - self.replicas) for item in deployments(self, scene))
        return 100 * lost / len(scene.pods)


def deployments(fault: Fault, scene: Scene) -> tuple[Deployment, ...]:
    """The Deployments behind the pods of a scene.

    Raises:
        HarnessError: some pod has none behind it; names it.
    """
    known = {uid for item in scene.deployments for uid in item.uids}
    bare = sorted(pod.name for pod in scene.pods if pod.uid not in known)
    if bare:
        raise HarnessError(
            f"{fault} cannot bite at {scene.target}: no Deployment is behind {', '.join(bare)}; "
            "choose a target whose pods come from Deployments."
        )
    return scene.deployments


def scaled(fault: Fault, scene: Scene, replicas: int) -> tuple[Change, ...]:
    """Patches that give the Deployments behind a scene so many pods.

    Raises:
        HarnessError: all have as many already.
    """
    others = [item for item in deployments(fault, scene) if item.replicas != replicas]
    if not others:
        raise HarnessError(f"{fault} changes nothing: {scene.target} has {replicas} replicas already.")
    return tuple(Patch(item.ref, (Edit(("spec", "replicas"), replicas),)) for item in others)
