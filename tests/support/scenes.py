"""Scenes on paper: pods of payments in the namespace shop, as faults see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.changes import Ref
from harness.scene import Deployment, Pod, Scene, Target

PAYMENTS = Target("payments", "shop")
COUNTED = {"reporter": "destination", "destination_workload_namespace": "shop", "destination_app": "payments"}


def pod(number: int, app: str = "payments", **different: Any) -> Pod:
    """A ready pod with a sidecar, on the node n<number % 2>, under a service account of its app."""
    name = f"{app}-{number}"
    made = Pod(
        name=name,
        namespace="shop",
        uid=f"u-{name}",
        labels={"app": app},
        ready=True,
        terminating=False,
        ip="127.1.0.1",
        ports=(8080,),
        sidecar=True,
        node=f"n{number % 2}",
        account=app,
        owner=Ref("apps/v1", "ReplicaSet", "shop", f"{app}-abc"),
    )
    return replace(made, **different)


def scene(*pods: Pod, target: Target = PAYMENTS, **different: Any) -> Scene:
    """Three pods of payments, or those given, and the Deployment payments behind them."""
    found = pods or tuple(pod(number) for number in range(3))
    behind = Deployment(target.app, target.namespace, len(found), 1, tuple(one.uid for one in found))
    return replace(Scene(target, found, "20260102-abc", 1, (behind,)), **different)
