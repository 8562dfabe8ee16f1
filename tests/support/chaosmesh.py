"""Chaos Mesh at the wire: what its controller writes into its objects, as seen by whoever reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROOT = "/apis/chaos-mesh.org/v1alpha1"
KINDS = {"NetworkChaos": "networkchaos", "StressChaos": "stresschaos", "DNSChaos": "dnschaos"}


@dataclass
class ChaosMesh:
    """A controller that works whenever somebody looks at an object of it.

    At the first look it has selected the pods, at the second it has injected them; an object that is deleted it
    recovers, and takes its finalizer off. As long as it is `stuck` it does nothing.
    """

    api: Any
    stuck: bool = False
    unreached: tuple[str, ...] = ()

    def __call__(self, request: Any) -> None:
        """Does its work before a request is answered; answers nothing itself."""
        if request.method == "GET" and request.path.startswith(f"{ROOT}/namespaces/") and not self.stuck:
            self._work(request.path)

    def _work(self, path: str) -> None:
        experiment = self.api.objects.get(path)
        if experiment is None:
            return
        if "deletionTimestamp" in experiment["metadata"]:
            del self.api.objects[path]
            return
        selected = "status" in experiment
        spec = experiment["spec"]
        both = {
            ".": spec["selector"],
            **({".Target": spec["target"]["selector"]} if "target" in spec else {}),
        }
        containers = [[one] for one in spec.get("containerNames", ())] or [[]]
        records = [
            {
                "id": "/".join((namespace, name, *inside)),
                "selectorKey": key,
                "phase": self._phase(name, selected),
            }
            for key, selector in both.items()
            for inside in containers
            for namespace, names in selector["pods"].items()
            for name in names
        ]
        everywhere = all(record["phase"] == "Injected" for record in records)
        conditions = {"Selected": True, "AllInjected": everywhere, "AllRecovered": not selected}
        experiment["status"] = {
            "conditions": [{"type": kind, "status": str(value)} for kind, value in conditions.items()],
            "experiment": {"desiredPhase": "Run", "containerRecords": records},
        }

    def _phase(self, name: str, selected: bool) -> str:
        return "Injected" if selected and name not in self.unreached else "Not Injected"


def install(api: Any, serve_kinds: Callable[..., None]) -> ChaosMesh:
    """Chaos Mesh in that API, with its kinds in discovery."""
    serve_kinds(ROOT, **KINDS)
    installed = ChaosMesh(api)
    api.before = installed
    return installed
