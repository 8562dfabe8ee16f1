"""The blast radius: how far a fault may reach. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.changes import Ref, need_open
from harness.errors import HarnessError
from harness.faults.fault import Fault
from harness.scene import Scene

PROTECTED: Final = ("istio-system", "kube-system")
"""Namespaces that no fault may touch unless it is about them: without them there is no mesh to learn about."""


@dataclass(frozen=True)
class BlastRadius:
    """Limits that are checked before the first write, over all faults in force together.

    Attributes:
        max_pods: how many different pods may be touched in all the time in which faults may be in force. A pod that has
            replaced another one is a different pod.
        max_percent: how much of the target may be taken away (see `Fault.harm`), in percent.
        namespaces: where the target may be (empty: wherever it is); `PROTECTED` ones only for a fault that is about
            them, and only when they are named here.
        seconds: how long a fault may be in force.
        max_nodes: how many nodes may be touched.
    """

    max_pods: int = 1
    max_percent: float = 100.0
    namespaces: tuple[str, ...] = ()
    seconds: float = 60.0
    max_nodes: int = 0

    def __post_init__(self) -> None:
        if min(self.max_pods, self.max_nodes) < 0 or not 0 <= self.max_percent <= 100 or self.seconds <= 0:
            raise HarnessError(f"{self} is no limit; use counts >= 0, max_percent 0-100 and seconds > 0.")

    def check(self, fault: Fault, scene: Scene, beside: Sequence[tuple[Fault, Scene]] = ()) -> None:
        """Lets a fault pass that stays within these limits together with those that are in force `beside` it.

        Pods and nodes that several of them touch count once; what they take away of the same target adds up.

        Raises:
            HarnessError: it would reach further; names the limit.
        """
        self._check_time(fault)
        every = (*beside, (fault, scene))
        refs = {ref for each in every for ref in self._admitted(*each)}
        who = (
            f"{fault}, with {', '.join(str(other) for other, _ in beside)} in force,"
            if beside
            else f"{fault}"
        )
        pods = {pod.uid for one, where in every for pod in one.pods(where)}
        later = sum(one.reach(where, self.seconds) - len(one.pods(where)) for one, where in every)
        nodes = {ref for ref in refs if not ref.namespace}
        for number, what, limit in (
            (len(pods) + later, "pods", self.max_pods),
            (len(nodes), "nodes", self.max_nodes),
        ):
            if number > limit:
                raise HarnessError(
                    f"{who} would touch {number} {what} of {scene.target}, the blast radius allows {limit}; "
                    f"raise max_{what} if that is what you want."
                )
        harm = sum(one.harm(where) for one, where in every if where.target == scene.target)
        if harm > self.max_percent:
            raise HarnessError(
                f"{who} would take away {harm:.3g} % of {scene.target}, the blast radius allows "
                f"{self.max_percent:g} %; raise max_percent if that is what you want."
            )

    def _admitted(self, fault: Fault, scene: Scene) -> list[Ref]:
        """What a fault touches, where and as it may."""
        changes = fault.changes(scene)
        for change in changes:
            need_open(change)
        refs = [item.ref for item in (*scene.pods, *fault.pods(scene), *changes)]
        for ref in refs:
            if ref.namespace:
                self._admit(ref, fault, scene)
            elif ref.kind != "Node":
                raise HarnessError(
                    f"{fault} would touch {ref}, which is in no namespace; choose another fault."
                )
        return refs

    def _check_time(self, fault: Fault) -> None:
        """Refuses what takes longer than a fault may be in force, and what could be over before it was observed."""
        rhythm = fault.rhythm
        rising = rhythm.every * (rhythm.times or 1) if rhythm is not None else 0.0
        if rising >= self.seconds:
            raise HarnessError(
                f"{fault} takes {rising:g} s to come to what was asked, the blast radius allows {self.seconds:g} s "
                "in all; raise seconds if that is what you want."
            )
        if fault.lasts > self.seconds:
            raise HarnessError(
                f"{fault} would last for {fault.lasts:g} s, whatever happens; the blast radius allows "
                f"{self.seconds:g} s; raise seconds if that is what you want."
            )

        if fault.ends < self.seconds:
            raise HarnessError(
                f"{fault} would end by itself after {fault.ends:g} s, the blast radius lets it be in force for "
                f"{self.seconds:g} s; let it last longer, or lower seconds."
            )

    def _admit(self, ref: Ref, fault: Fault, scene: Scene) -> None:
        name, named = ref.namespace, ref.namespace in self.namespaces
        if name in PROTECTED and name not in fault.enters:
            raise HarnessError(
                f"{fault} would touch {ref}: its namespace is protected; choose another target."
            )
        implied = name == scene.target.namespace and not self.namespaces and name not in PROTECTED
        if named or implied:
            return
        cause = "is protected" if name in PROTECTED else "is outside the blast radius"
        more = "" if name in fault.enters else "choose another target or "
        raise HarnessError(
            f"{fault} would touch {ref}: its namespace {cause}; {more}name the namespace in the blast radius."
        )
