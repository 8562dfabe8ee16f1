"""Nodes: names, labels and a state for parts of the one machine, so that there is something to cordon and to drain.

A user may make, label, cordon and delete them as on a cluster; every pod runs on this machine all the same.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

from harness.localmesh import events
from harness.localmesh.api.resources import NODES, PODS
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp
from harness.localmesh.store import Store

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
HOSTNAME = "kubernetes.io/hostname"
NAMES = ("local-0", "local-1", "local-2")
"""The nodes of a new mesh, all in one zone, so that locality changes nothing unasked."""

_ADDRESS = "127.0.0.1"


def genesis() -> tuple[Manifest, ...]:
    """The nodes of a new mesh."""
    place = {REGION: "local", ZONE: "local"}
    system = {"kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture()}
    return tuple(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {HOSTNAME: name, **place, **system}},
        }
        for name in NAMES
    )


def locality(node: Manifest) -> str:
    """The locality of the workloads on a node: "region/zone/subzone" without what is missing at its end.

    Source: istio/istio `pilot/pkg/model/context.go` and `pkg/kube/labels`: the labels of the node decide, unless the
    pod has a label istio-locality.
    """
    labels = node["metadata"].get("labels", {})
    return "/".join(labels.get(name, "") for name in (REGION, ZONE, SUBZONE)).rstrip("/")


def reconcile(store: Store) -> None:
    """Every Node says that it is ready; pods whose node has been deleted go at once, as after a machine's loss.

    A cluster waits for some 40 s before its garbage collector takes them (`pkg/controller/podgc`).
    """
    found = store.list(NODES)
    for node in found:
        if not node.get("status", {}).get("conditions"):
            _become_ready(store, node)
    names = {node["metadata"]["name"] for node in found}
    for pod in store.list(PODS):
        metadata, node_name = pod["metadata"], pod["spec"].get("nodeName")
        running = pod.get("status", {}).get("startTime")
        if node_name and node_name not in names and running:
            message = f"Node {node_name} is gone"
            events.record(store, pod, "Warning", "NodeNotFound", message, by="pod-garbage-collector")
            try:
                store.delete(PODS, metadata["namespace"], metadata["name"], grace=0, uid=metadata["uid"])
            except Refused as refused:
                if refused.reason not in ("NotFound", "Conflict"):
                    raise


def _become_ready(store: Store, node: Manifest) -> None:
    name = node["metadata"]["name"]
    try:
        store.update(NODES, "", name, lambda old: {**old, "status": _status(name)}, section="status")
    except Refused as refused:
        if refused.reason != "NotFound":
            raise


def _status(name: str) -> Manifest:
    now = timestamp(datetime.now(UTC))
    room = {"cpu": str(os.cpu_count() or 1), "memory": f"{_memory()}Ki", "pods": "8000"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "the local mesh runs its pods as processes of this machine",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "conditions": [ready],
        "addresses": [
            {"type": "InternalIP", "address": _ADDRESS},
            {"type": "Hostname", "address": name},
        ],
        "capacity": room,
        "allocatable": room,
        "nodeInfo": _node_info(),
    }


def _node_info() -> Manifest:
    return {
        "architecture": _architecture(),
        "operatingSystem": "linux",
        "osImage": "local processes",
        "kernelVersion": platform.release(),
        "containerRuntimeVersion": "process://1",
        "kubeletVersion": "v1.32.0",
        "kubeProxyVersion": "v1.32.0",
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
    }


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _memory() -> int:
    """The machine's memory in KiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
