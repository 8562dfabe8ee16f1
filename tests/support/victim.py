"""A run to be killed: python victim.py KUBECONFIG LEDGER makes changes of every kind and reverts them."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

from scenes import pod, scene

from harness.changes import ABSENT, Delete, Edit, Patch, Ref
from harness.cluster import Cluster
from harness.experiment.interrupts import interruptible
from harness.experiment.tenure import Tenure
from harness.faults import Abort
from harness.injection import apply_changes, heal
from harness.ledger import Ledger
from harness.scene import Target

ROUTE = Ref("networking.istio.io/v1", "VirtualService", "default", "web")
SCENE = scene(pod(1, "web", namespace="default"), target=Target("web", "default"), run="matrix")
CHANGES = (
    Patch(ROUTE, (Edit(("spec", "http", 0, "retries"), ABSENT), Edit(("spec", "http", 0, "timeout"), "2s"))),
    *Abort(503, percent=30).changes(SCENE),
    Delete(Ref("security.istio.io/v1", "PeerAuthentication", "default", "strict")),
    Patch(Ref("apps/v1", "Deployment", "default", "web"), (Edit(("metadata", "annotations", "x/y"), "z"),)),
)


def main() -> None:
    """Everything that a run does to a mesh."""
    kubeconfig, directory = map(Path, sys.argv[1:])
    ledger, run = Ledger(directory), f"victim-{uuid4().hex[:8]}"
    with (
        Cluster.connect(kubeconfig) as cluster,
        interruptible() as interrupts,
        interrupts.held(),
        Tenure(cluster, ledger, run, "default") as tenure,
    ):
        heal(cluster, ledger, elsewhere=False)
        tenure.await_watchdog()
        print("ready", flush=True)  # noqa: T201
        tenure.take()
        with (
            apply_changes(cluster, CHANGES, run=run, ledger=ledger, expires_in=600),
            interrupts.released(),
        ):
            pass
        print("over", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
