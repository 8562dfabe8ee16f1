"""The kinds of Istio that the mesh emulates: one line adds a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.kinds.istio.destinationrule import DestinationRule
from harness.localmesh.kinds.istio.envoyfilter import EnvoyFilter
from harness.localmesh.kinds.istio.gateway import Gateway
from harness.localmesh.kinds.istio.peerauthentication import PeerAuthentication
from harness.localmesh.kinds.istio.rules import (
    authorizationpolicy,
    destinationrule,
    envoyfilter,
    gateway,
    peerauthentication,
    serviceentry,
    sidecar,
    telemetry,
    virtualservice,
)
from harness.localmesh.kinds.istio.serviceentry import ServiceEntry, WorkloadEntry
from harness.localmesh.kinds.istio.sidecar import Sidecar
from harness.localmesh.kinds.istio.telemetry import Telemetry
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.istio.virtualservice import VirtualService
from harness.localmesh.kinds.parse import Kind, Manifest

Rule = Callable[[Any, Manifest], Iterator[Problem]]
"""From a spec and the manifest it stands in to the fields in question, each with the reason."""


def _nothing(spec: Any, manifest: Manifest) -> Iterator[Problem]:
    yield from ()


TABLE: dict[str, tuple[type[Kind], Rule, Rule]] = {
    "VirtualService": (VirtualService, virtualservice.problems, virtualservice.warnings),
    "DestinationRule": (DestinationRule, destinationrule.problems, destinationrule.warnings),
    "Gateway": (Gateway, gateway.problems, gateway.warnings),
    "ServiceEntry": (ServiceEntry, serviceentry.problems, serviceentry.warnings),
    "WorkloadEntry": (WorkloadEntry, serviceentry.workload_problems, _nothing),
    "Sidecar": (Sidecar, sidecar.problems, sidecar.warnings),
    "PeerAuthentication": (PeerAuthentication, peerauthentication.problems, _nothing),
    "AuthorizationPolicy": (AuthorizationPolicy, authorizationpolicy.problems, authorizationpolicy.warnings),
    "Telemetry": (Telemetry, telemetry.problems, telemetry.warnings),
    "EnvoyFilter": (EnvoyFilter, envoyfilter.problems, envoyfilter.warnings),
}
"""By kind: its struct, what makes the webhook refuse it, and what it takes with a warning."""
