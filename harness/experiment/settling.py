"""Waiting for the pods of a workload that was changed."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.changes import Ref
from harness.cluster import Cluster
from harness.errors import HarnessError


def await_settled(cluster: Cluster, ref: Ref, *, within: float, wait: Callable[[], None]) -> None:
    """Waits until a Deployment has all of its pods as its template says, ready, and no other ones.

    Args:
        cluster: where it is.
        ref: the Deployment.
        within: for at most so many seconds.
        wait: lets some time pass.

    Raises:
        HarnessError: it is gone, or not settled in time.
    """
    deadline = time.monotonic() + within
    while amiss := _amiss(cluster, ref):
        if time.monotonic() > deadline:
            raise HarnessError(f"{ref} has not settled within {within:g} s: {amiss}.")
        wait()


def _amiss(cluster: Cluster, ref: Ref) -> str:
    """What is missing until a Deployment is settled, "" for nothing."""
    manifest = cluster.get(ref)
    if manifest is None:
        raise HarnessError(f"{ref} is gone; somebody has deleted it meanwhile.")
    spec, status = manifest["spec"], manifest.get("status") or {}
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < manifest["metadata"].get("generation", 0):
        return "its controller has not seen the change yet"
    if status.get("updatedReplicas", 0) != wanted:
        return f"{status.get('updatedReplicas', 0)} of {wanted} pods are as its template says"
    pods = cluster.pods(ref.namespace, spec["selector"].get("matchLabels") or {})
    ready = sum(pod.ready and not pod.terminating for pod in pods)
    if ready != wanted or len(pods) != wanted:
        return f"{ready} of {wanted} pods are ready, and {len(pods)} are there"
    return ""
