"""Ephemeral containers of pods: put in through their subresource, and waited for, since nobody can take them out."""

from __future__ import annotations

import time
from typing import Final

from harness.changes import Attach, Manifest, Outlast
from harness.cluster import Cluster
from harness.errors import HarnessError

_MARGIN: Final = 10.0
_POLL: Final = 0.1


def attach(cluster: Cluster, change: Attach, *, uid: str) -> None:
    """Puts an ephemeral container into a pod that runs; one of that name that is there stays as it is.

    Args:
        cluster: where.
        change: the pod and the container.
        uid: put it only into the pod that has this UID.

    Raises:
        HarnessError: the pod is gone, or the server does not admit the container.
    """

    def added(pod: Manifest) -> Manifest:
        if pod["metadata"]["uid"] != uid:
            raise HarnessError(f"{change.ref} is another one by now; resolve the target again.")
        if has(pod, change.container["name"]):
            return pod
        there = pod["spec"].get("ephemeralContainers") or []
        return {**pod, "spec": {**pod["spec"], "ephemeralContainers": [*there, change.container]}}

    cluster.patch(change.ref, added, subresource="ephemeralcontainers")


def outlast(cluster: Cluster, undo: Outlast) -> str:
    """Waits for the end of a program that nobody can end, since it is in a pod of somebody else; says what came of it.

    Raises:
        HarnessError: it has not ended some seconds after its time, or has not even begun.
    """
    began = time.monotonic()
    while True:
        pod = cluster.get(undo.ref)
        if pod is None or pod["metadata"]["uid"] != undo.uid:
            return f"{undo.ref} is gone, and container {undo.container} with it."
        if not has(pod, undo.container):
            return f"Container {undo.container} was never put into {undo.ref}."
        state = _state(pod, undo.container)
        if "terminated" in state:
            return f"Container {undo.container} of {undo.ref} has ended; it is listed until the pod goes."
        if time.monotonic() - began > undo.seconds + _MARGIN:
            why = "runs still" if "running" in state else "has not begun, and may yet"
            raise HarnessError(f"Its container {undo.container} {why}; delete the pod to be rid of it.")
        time.sleep(_POLL)


def has(pod: Manifest, container: str) -> bool:
    """Whether an ephemeral container of that name was put into the pod."""
    return any(one["name"] == container for one in pod["spec"].get("ephemeralContainers") or ())


def ended(pod: Manifest, container: str) -> bool:
    """Whether the program of an ephemeral container has ended."""
    return "terminated" in _state(pod, container)


def _state(pod: Manifest, container: str) -> Manifest:
    """The state of an ephemeral container, {} when nobody has said anything about it."""
    told = (pod.get("status") or {}).get("ephemeralContainerStatuses") or ()
    return next((one.get("state") or {} for one in told if one["name"] == container), {})
