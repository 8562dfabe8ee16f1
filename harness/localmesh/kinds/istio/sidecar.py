"""Sidecar: which services a workload's proxy knows, and what it does with unknown ones."""

from __future__ import annotations

from typing import Literal

from harness.localmesh.kinds.istio.selectors import WorkloadSelector
from harness.localmesh.kinds.istio.values import Port, Protocol
from harness.localmesh.kinds.parse import Kind


class SidecarPort(Kind):
    """A port of the proxy."""

    number: Port
    protocol: Protocol = Protocol("")
    name: str = ""


class EgressListener(Kind):
    """Services a workload can reach, "namespace/host" each ("." its own namespace, "*" any, "~" none).

    Without a `port`, at all ports that no other listener names. Where it listens cannot be said (`bind`, `captureMode:
    NONE`): programs call by way of their proxy, and not straight into a listener.
    """

    hosts: tuple[str, ...]
    port: SidecarPort | None = None
    capture_mode: Literal["DEFAULT"] = "DEFAULT"


class OutboundTrafficPolicy(Kind):
    """What becomes of requests to unknown hosts."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"


class Sidecar(Kind):
    """The spec of a Sidecar: for the selected workloads, else for the namespace (in the root one: for all)."""

    workload_selector: WorkloadSelector | None = None
    egress: tuple[EgressListener, ...] = ()
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
