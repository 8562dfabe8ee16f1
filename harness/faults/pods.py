"""Faults that take pods away: killed, evicted, or drained from their node. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.changes import Change, Delete, Edit, Eviction, Patch, Ref
from harness.errors import HarnessError
from harness.faults.evidence import Recurring, Replaced
from harness.faults.fault import Fault, Rhythm, counted, need_percent
from harness.scene import Pod, Scene


class _OnPods(Fault):
    """What they share: pods go at the moment of injection, and their controller makes others."""

    def evidence(self, scene: Scene) -> Replaced | Recurring:
        """New UIDs, for a pod of the same name would prove nothing, and the callee's own count of requests."""
        return Replaced(tuple(pod.uid for pod in self.pods(scene)), counted(scene))

    def harm(self, scene: Scene) -> float:
        """The percentage of the pods that go."""
        return 100 * len(self.pods(scene)) / len(scene.pods)


@dataclass(frozen=True)
class PodKill(_OnPods):
    """`count` pods, or `percent` of them, chosen by the seed of the run, are deleted with `grace_seconds` to end.

    A percentage is rounded down to whole pods, so that no more than asked are killed, but one is always.

    With `every` that is done again and again until the revert, so many seconds apart, among the pods that are ready
    then. Pods that are missing since an earlier time count as killed: never are more missing at once than are killed
    at one time, and a time at which that many are still missing is left out. The blast radius counts every kill that
    its seconds leave time for, since a pod that has replaced another one is a different pod.

    Raises:
        HarnessError: `count` is below 1, `grace_seconds` below 0, `every` below 1 s, or `percent` not above 0 and up
            to 100.
    """

    count: int = 1
    grace_seconds: int = 0
    percent: float | None = None
    every: float | None = None

    def __post_init__(self) -> None:
        if self.grace_seconds < 0:
            raise HarnessError(
                f"PodKill(grace_seconds={self.grace_seconds}) kills nothing; choose a grace period of 0 s or more."
            )
        if self.every is not None and self.every < 1:
            raise HarnessError(f"PodKill cannot kill every {self.every:g} s; choose 1 s or more.")
        need_choice("PodKill", self.count, self.percent)

    def __str__(self) -> str:
        again = "" if self.every is None else f" every {self.every:g}s"
        return f"kill {amount(self.count, self.percent)}{again}"

    @property
    def rhythm(self) -> Rhythm | None:
        """Until the revert."""
        return None if self.every is None else Rhythm(self.every)

    def further(self, scene: Scene, pods: Sequence[Pod], time: int) -> tuple[Change, ...]:
        """As many as at first, without those that are missing already."""
        most = len(self.pods(scene))
        missing = max(0, len(scene.pods) - len(pods))
        by_name = sorted(pods, key=lambda pod: pod.name)
        chance = random.Random(f"{scene.seed} {time}")
        again = chance.sample(by_name, min(len(by_name), max(0, most - missing)))
        return tuple(Delete(pod.ref, self.grace_seconds) for pod in again)

    def evidence(self, scene: Scene) -> Replaced | Recurring:
        """New UIDs, of all that were killed so far, and the callee's own count of requests."""
        uids = tuple(pod.uid for pod in self.pods(scene))
        return (Replaced if self.every is None else Recurring)(uids, counted(scene))

    def reach(self, scene: Scene, seconds: float) -> int:
        """All that are killed while it is in force."""
        times = self.rhythm.due(seconds) if self.rhythm else 0
        return len(self.pods(scene)) * (1 + times)

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One Delete for each pod."""
        return tuple(Delete(pod.ref, self.grace_seconds) for pod in self.pods(scene))

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The same pods for the same seed; HarnessError when the target has fewer."""
        return chosen(self, scene, self.count, self.percent)


@dataclass(frozen=True)
class Evict(_OnPods):
    """`count` pods, or `percent` of them, chosen by the seed of the run, are evicted, as when a node is drained.

    An eviction that a PodDisruptionBudget does not allow does not happen; it is said with the budget's words, and
    where none happens nothing can be learnt. A percentage is rounded as by `PodKill`.

    Raises:
        HarnessError: `count` is below 1 or `percent` not above 0 and up to 100.
    """

    count: int = 1
    percent: float | None = None

    def __post_init__(self) -> None:
        need_choice("Evict", self.count, self.percent)

    def __str__(self) -> str:
        return f"evict {amount(self.count, self.percent)}"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One eviction for each pod."""
        return _evictions(self, self.pods(scene))

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The same pods for the same seed; HarnessError when the target has fewer."""
        return chosen(self, scene, self.count, self.percent)


@dataclass(frozen=True)
class NodeDrain(_OnPods):
    """A node takes no new pods (cordon), and the target's pods on it are evicted; on revert it takes pods again.

    Pods of others stay where they are. Evictions go as with `Evict`, each of them once: one that a
    PodDisruptionBudget does not allow at that moment is said and not tried again. Needs `BlastRadius(max_nodes=1)`.

    Attributes:
        node: its name; "" for one of those that hold pods of the target, chosen by the seed of the run.
    """

    node: str = ""

    def __str__(self) -> str:
        return f"drain {self.node or 'a node'}"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """The cordon, then the evictions."""
        node = Ref("v1", "Node", "", self._node(scene))
        cordon = Patch(node, (Edit(("spec", "unschedulable"), True),))
        return (cordon, *_evictions(self, self.pods(scene)))

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """The target's pods on that node; HarnessError when there is none."""
        node = self._node(scene)
        return tuple(pod for pod in scene.pods if pod.node == node)

    def _node(self, scene: Scene) -> str:
        nodes = sorted({pod.node for pod in scene.pods if pod.node})
        if (self.node and self.node not in nodes) or not nodes:
            known = ", ".join(nodes) or "no node that the cluster would name"
            raise HarnessError(f"{self} cannot bite: the pods of {scene.target} are on {known}.")
        return self.node or random.Random(scene.seed).choice(nodes)


def need_choice(word: str, count: int, percent: float | None) -> None:
    """Lets a choice of pods pass: a count of 1 or more, or a percentage above 0.

    Raises:
        HarnessError: it is neither, or both.
    """
    if count < 1:
        raise HarnessError(f"{word}(count={count}) chooses no pod; choose a count of 1 or more.")
    if percent is None:
        return
    need_percent(word, percent, "the pods")
    if percent == 0 or count != 1:
        raise HarnessError(f"{word} takes either a count or a percent above 0; give one of them.")


def amount(count: int, percent: float | None) -> str:
    """A choice of pods in words."""
    return f"{count} pod{'s' if count > 1 else ''}" if percent is None else f"{percent:g}% of the pods"


def chosen(fault: Fault, scene: Scene, count: int, percent: float | None) -> tuple[Pod, ...]:
    """So many pods of a scene, the same ones for the same seed; a percentage is rounded down, but one it is always.

    Raises:
        HarnessError: the target has fewer.
    """
    wanted = count if percent is None else max(1, int(len(scene.pods) * percent / 100))
    if wanted > len(scene.pods):
        raise HarnessError(f"{scene.target} has only {len(scene.pods)} ready pods; it is asked to {fault}.")
    by_name = sorted(scene.pods, key=lambda pod: pod.name)
    return tuple(random.Random(scene.seed).sample(by_name, wanted))


def _evictions(fault: Fault, pods: Sequence[Pod]) -> tuple[Change, ...]:
    """One for each; as `kubectl drain` does, it is refused for a pod that nobody would replace."""
    bare = sorted(pod.name for pod in pods if pod.owner is None)
    if bare:
        raise HarnessError(
            f"{fault} would take {', '.join(bare)} for good: no controller is behind it; choose another target."
        )
    return tuple(Eviction(pod.ref) for pod in pods)
