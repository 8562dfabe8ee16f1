"""Objects as the tables kubectl prints: the columns Kubernetes and Istio's definitions give each kind. Pure.

Columns: kubernetes/kubernetes pkg/printers/internalversion, and `additionalPrinterColumns` of Istio's
definitions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.localmesh.api.resources import Resource
from harness.localmesh.api.status import bad_request
from harness.localmesh.kinds.parse import Manifest

Cell = Callable[[Manifest], Any]
"""From an object to what a column shows of it."""

_NONE = "<none>"
_UNREADABLE = "<invalid>"


@dataclass(frozen=True)
class Column:
    """One column; a `wide` one is shown with `-o wide` only."""

    name: str
    cell: Cell
    wide: bool = False
    type: str = "string"


def table(
    resource: Resource, items: Sequence[Manifest], revision: str, now: datetime, include: str = "Metadata"
) -> Manifest:
    """`items` as a `Table` of meta.k8s.io/v1; ages are as of `now`.

    Each row carries as much of its object as `include` says: `Metadata`, `Object` (all of it) or `None`.

    Raises:
        Refused: 400 when `include` is something else.
    """
    if include not in _INCLUDED:
        raise bad_request(f"includeObject: Unsupported value: {include!r}: Metadata, Object or None")
    part = _INCLUDED[include]
    columns = _columns(resource, now)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [
            {"cells": [_shown(column, item) for column in columns], "object": part(item)} for item in items
        ],
    }


def age(created: str, now: datetime) -> str:
    """How long ago `created` was, as kubectl writes it: `7s`, `4m10s`, `3h`, `5d2h`."""
    if not created:
        return "<unknown>"
    seconds = max(0, int((now - datetime.fromisoformat(created)).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    steps = (
        (seconds < 120, f"{seconds}s"),
        (minutes < 10, _pair(minutes, "m", seconds % 60, "s")),
        (hours < 3, f"{minutes}m"),
        (hours < 8, _pair(hours, "h", minutes % 60, "m")),
        (hours < 48, f"{hours}h"),
        (days < 8, _pair(days, "d", hours % 24, "h")),
        (days < 730, f"{days}d"),
    )
    return next((text for fits, text in steps if fits), _pair(days // 365, "y", days % 365, "d"))


def _shown(column: Column, item: Manifest) -> Any:
    try:
        return column.cell(item)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        # A status, and an Event, is whatever its writer says: one that nobody can read spoils its own cell only.
        return _UNREADABLE


def _pair(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def _columns(resource: Resource, now: datetime) -> tuple[Column, ...]:
    def created(manifest: Manifest) -> str:
        return age(manifest["metadata"].get("creationTimestamp", ""), now)

    def last_seen(manifest: Manifest) -> str:
        moment = manifest.get("lastTimestamp") or manifest.get("eventTime") or manifest.get("firstTimestamp")
        return age(moment or manifest["metadata"].get("creationTimestamp", ""), now)

    name = Column("Name", _path("metadata", "name"))
    if resource.kind == "Event":
        return (Column("Last Seen", last_seen), *_EVENT, Column("Name", name.cell, True))
    before, after = _COLUMNS.get(resource.kind, ((), ()))
    return (name, *before, Column("Age", created), *after)


def _definition(column: Column) -> Manifest:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == "Name" else "",
        "description": column.name,
        "priority": int(column.wide),
    }


def _partial(manifest: Manifest) -> Manifest:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": manifest["metadata"],
    }


_INCLUDED: dict[str, Callable[[Manifest], Manifest | None]] = {
    "Metadata": _partial,
    "Object": lambda manifest: manifest,
    "None": lambda manifest: None,
}


def _path(*steps: str, default: Any = "") -> Cell:
    def cell(manifest: Manifest) -> Any:
        found: Any = manifest
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        return default if found is None else found

    return cell


def _count(*steps: str) -> Cell:
    return _path(*steps, default=0)


def _as_json(*steps: str) -> Cell:
    value = _path(*steps, default=None)
    return lambda manifest: (
        "" if value(manifest) is None else json.dumps(value(manifest), separators=(",", ":"))
    )


def _containers(field: str) -> Cell:
    def cell(manifest: Manifest) -> str:
        return ",".join(item[field] for item in manifest["spec"]["template"]["spec"]["containers"])

    return cell


def _selector(manifest: Manifest) -> str:
    selector = manifest["spec"].get("selector") or {}
    labels = selector.get("matchLabels", {}) if "template" in manifest["spec"] else selector
    return ",".join(f"{key}={value}" for key, value in labels.items()) or _NONE


def _statuses(pod: Manifest) -> list[Manifest]:
    return list(pod.get("status", {}).get("containerStatuses") or ())


def _pod_ready(pod: Manifest) -> str:
    return f"{sum(bool(s.get('ready')) for s in _statuses(pod))}/{len(pod['spec']['containers'])}"


def _pod_status(pod: Manifest) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    status = pod.get("status", {})
    reason = status.get("reason") or status.get("phase") or "Unknown"
    for container in _statuses(pod):
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if kind in state:
                reason = state[kind].get("reason") or f"ExitCode:{state[kind].get('exitCode', 0)}"
    return str(reason)


def _pod_restarts(pod: Manifest) -> int:
    return sum(int(status.get("restartCount", 0)) for status in _statuses(pod))


def _service_ports(service: Manifest) -> str:
    ports = service["spec"].get("ports") or ()
    return (
        ",".join(f"{port['port']}{_node_port(port)}/{port.get('protocol', 'TCP')}" for port in ports) or _NONE
    )


def _node_port(port: Manifest) -> str:
    return f":{port['nodePort']}" if port.get("nodePort") else ""


def _external_ip(service: Manifest) -> str:
    if service["spec"].get("type") != "LoadBalancer":
        return _NONE
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return ",".join(item.get("ip") or item.get("hostname", "") for item in ingress) or "<pending>"


def _deployment_ready(deployment: Manifest) -> str:
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    return f"{ready}/{deployment['spec'].get('replicas', 1)}"


def _slice_ports(endpoints: Manifest) -> str:
    return ",".join(str(port.get("port", "*")) for port in endpoints.get("ports") or ()) or "<unset>"


def _slice_addresses(endpoints: Manifest) -> str:
    found = [address for item in endpoints.get("endpoints") or () for address in item.get("addresses", ())]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more or "<unset>"


def _involved(event: Manifest) -> str:
    involved = event.get("involvedObject", {})
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _node_status(node: Manifest) -> str:
    conditions = node.get("status", {}).get("conditions") or ()
    ready = next((item["status"] for item in conditions if item["type"] == "Ready"), "Unknown")
    words = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    return words + (",SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else "")


def _node_roles(node: Manifest) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels", {})
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or _NONE


def _node_address(node: Manifest) -> str:
    addresses = node.get("status", {}).get("addresses") or ()
    return next((str(item["address"]) for item in addresses if item["type"] == "InternalIP"), _NONE)


def _endpoints(endpoints: Manifest) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more or _NONE


_WORKLOAD_WIDE = (
    Column("Containers", _containers("name"), True),
    Column("Images", _containers("image"), True),
    Column("Selector", _selector, True),
)
_EVENT = (
    Column("Type", _path("type")),
    Column("Reason", _path("reason")),
    Column("Object", _involved),
    Column("Source", _path("source", "component"), True),
    Column("Message", _path("message")),
    Column("Count", _path("count", default=1), True, "integer"),
)
# Columns between Name and Age, and those after Age.
_COLUMNS: dict[str, tuple[tuple[Column, ...], tuple[Column, ...]]] = {
    "Pod": (
        (
            Column("Ready", _pod_ready),
            Column("Status", _pod_status),
            Column("Restarts", _pod_restarts, type="integer"),
        ),
        (
            Column("IP", _path("status", "podIP", default=_NONE), True),
            Column("Node", _path("spec", "nodeName", default=_NONE), True),
        ),
    ),
    "Service": (
        (
            Column("Type", _path("spec", "type")),
            Column("Cluster-IP", _path("spec", "clusterIP", default=_NONE)),
            Column("External-IP", _external_ip),
            Column("Port(s)", _service_ports),
        ),
        (Column("Selector", _selector, True),),
    ),
    "Deployment": (
        (
            Column("Ready", _deployment_ready),
            Column("Up-to-date", _count("status", "updatedReplicas"), type="integer"),
            Column("Available", _count("status", "availableReplicas"), type="integer"),
        ),
        _WORKLOAD_WIDE,
    ),
    "ReplicaSet": (
        (
            Column("Desired", _count("spec", "replicas"), type="integer"),
            Column("Current", _count("status", "replicas"), type="integer"),
            Column("Ready", _count("status", "readyReplicas"), type="integer"),
        ),
        _WORKLOAD_WIDE,
    ),
    "Namespace": ((Column("Status", _path("status", "phase")),), ()),
    "Node": (
        (
            Column("Status", _node_status),
            Column("Roles", _node_roles),
        ),
        (
            Column("Version", _path("status", "nodeInfo", "kubeletVersion")),
            Column("Internal-IP", _node_address, True),
        ),
    ),
    "Endpoints": ((Column("Endpoints", _endpoints),), ()),
    "PodDisruptionBudget": (
        (
            Column("Min Available", _path("spec", "minAvailable", default="N/A")),
            Column("Max Unavailable", _path("spec", "maxUnavailable", default="N/A")),
            Column("Allowed Disruptions", _count("status", "disruptionsAllowed"), type="integer"),
        ),
        (),
    ),
    "ServiceAccount": (
        (Column("Secrets", lambda manifest: len(manifest.get("secrets", ())), type="integer"),),
        (),
    ),
    "ConfigMap": ((Column("Data", lambda manifest: len(manifest.get("data", ())), type="integer"),), ()),
    "Secret": (
        (
            Column("Type", _path("type")),
            Column("Data", lambda manifest: len(manifest.get("data", ())), type="integer"),
        ),
        (),
    ),
    "Lease": ((Column("Holder", _path("spec", "holderIdentity")),), ()),
    "EndpointSlice": (
        (
            Column("AddressType", _path("addressType")),
            Column("Ports", _slice_ports),
            Column("Endpoints", _slice_addresses),
        ),
        (),
    ),
    "VirtualService": (
        (Column("Gateways", _as_json("spec", "gateways")), Column("Hosts", _as_json("spec", "hosts"))),
        (),
    ),
    "DestinationRule": ((Column("Host", _path("spec", "host")),), ()),
    "ServiceEntry": (
        (
            Column("Hosts", _as_json("spec", "hosts")),
            Column("Location", _path("spec", "location")),
            Column("Resolution", _path("spec", "resolution")),
        ),
        (),
    ),
    "WorkloadEntry": ((), (Column("Address", _path("spec", "address")),)),
    "PeerAuthentication": ((Column("Mode", _path("spec", "mtls", "mode")),), ()),
    "AuthorizationPolicy": ((Column("Action", _path("spec", "action")),), ()),
}


def now() -> datetime:
    """The moment ages are counted to."""
    return datetime.now(UTC)
