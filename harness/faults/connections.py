"""Faults between workloads: one cannot reach the other. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.changes import Change, Create
from harness.errors import HarnessError
from harness.faults.evidence import Share
from harness.faults.fault import Fault, app_of, counted, made, need_sidecars
from harness.scene import Needs, Pod, Scene, Target


@dataclass(frozen=True)
class Disconnect(Fault):
    """The workloads `from_` cannot reach the target: its sidecars answer them 403 (an AuthorizationPolicy, DENY).

    Callers are told by the identity in their certificates, so this needs mTLS between the two, and a service account
    that only these callers have: everybody else who runs under it would be cut off as well.

    Attributes:
        from_: the callers.
    """

    from_: Target = field(hash=False)

    def __str__(self) -> str:
        return f"disconnect from {self.from_}"

    @property
    def needs(self) -> Needs:
        """The callers' pods."""
        return Needs(others=(self.from_,))

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One AuthorizationPolicy beside the target. Istio takes a leading * as "ends with": any trust domain."""
        need_sidecars(self, scene)
        need_sidecars(self, scene.other(self.from_))
        counted(scene)
        callers = [f"*/ns/{self.from_.namespace}/sa/{account}" for account in self._accounts(scene)]
        spec = {
            "selector": {"matchLabels": dict(scene.target.labels)},
            "action": "DENY",
            "rules": [{"from": [{"source": {"principals": callers}}]}],
        }
        name = ("disconnect", self.from_.app)
        return (Create(made(scene, "security.istio.io/v1", "AuthorizationPolicy", name, spec)),)

    def evidence(self, scene: Scene) -> Share:
        """The callee's own count of what these callers asked for: all of it is answered 403."""
        callers = {
            "source_workload_namespace": self.from_.namespace,
            "source_app": app_of(scene.other(self.from_)),
        }
        every = {**counted(scene), **callers}
        return Share({**every, "response_code": "403"}, every, 100.0)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """All of the target: the policy is in every sidecar."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """Everything, as these callers see it."""
        return 100.0

    def _accounts(self, scene: Scene) -> list[str]:
        accounts = sorted({pod.account for pod in scene.other(self.from_).pods})
        if "default" in accounts:
            raise HarnessError(
                f"{self} cannot tell {self.from_} from others: its pods run under the service account default, which "
                "every pod has that names none; give them one of their own."
            )
        return accounts
