"""Istio's kinds as far as the local mesh translates them, and the rules of Istio's webhook for them.

Each module has the structs of one kind, and the module of that name in `rules` says what is held against them.
What is not in a struct is refused with its path.
"""

from __future__ import annotations

from typing import TypeVar

from harness.localmesh.kinds.istio import refusals, walk
from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.kinds.istio.destinationrule import DestinationRule
from harness.localmesh.kinds.istio.envoyfilter import EnvoyFilter
from harness.localmesh.kinds.istio.gateway import Gateway
from harness.localmesh.kinds.istio.peerauthentication import PeerAuthentication
from harness.localmesh.kinds.istio.rules import metadata as _metadata
from harness.localmesh.kinds.istio.rules.subsets import called_hosts, subset_warnings
from harness.localmesh.kinds.istio.rules.table import TABLE
from harness.localmesh.kinds.istio.serviceentry import ServiceEntry, WorkloadEntry
from harness.localmesh.kinds.istio.sidecar import Sidecar
from harness.localmesh.kinds.istio.telemetry import Telemetry
from harness.localmesh.kinds.istio.values import decode
from harness.localmesh.kinds.istio.virtualservice import VirtualService
from harness.localmesh.kinds.parse import Kind, Manifest, invalid, parse

__all__ = [
    "AuthorizationPolicy",
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "PeerAuthentication",
    "ServiceEntry",
    "Sidecar",
    "Telemetry",
    "VirtualService",
    "WorkloadEntry",
    "admit",
    "called_hosts",
    "spec_of",
    "subset_warnings",
]

S = TypeVar("S", bound=Kind)


def admit(manifest: Manifest) -> tuple[str, ...]:
    """Let `manifest` pass when the mesh translates every field of it and Istio's webhook would take it.

    The answer is the webhook's warnings, a sentence each, beginning with the field; mostly there are none.

    Raises:
        Refused: 422 `Invalid` with the first field that is unknown, malformed or against a rule of the
            webhook (istio/istio `pkg/config/validation/validation.go`), or because its kind is none of these.
    """
    name = str(manifest.get("kind"))
    if name not in TABLE:
        kinds = ", ".join(TABLE)
        raise invalid(manifest, "kind", f"the local mesh does not emulate this kind of Istio, only {kinds}")
    kind, problems, warnings = TABLE[name]
    spec = _parsed(manifest, kind)
    for field, why in walk.flaws(manifest.get("spec", {}), "spec"):
        raise invalid(manifest, field, why)
    for field, why in _metadata.problems(manifest):
        raise invalid(manifest, field, why)
    for field, why in problems(spec, manifest):
        raise invalid(manifest, f"spec.{field}", why)
    found = [f"{field}: {why}" for field, why in _metadata.warnings(manifest)]
    return (*found, *(f"spec.{field}: {why}" for field, why in warnings(spec, manifest)))


def spec_of(manifest: Manifest, kind: type[S]) -> S:
    """The spec of an admitted manifest, typed: `spec_of(manifest, VirtualService)`.

    Raises:
        Refused: 422 when the manifest was never admitted and does not fit.
    """
    return _parsed(manifest, kind)


def _parsed(manifest: Manifest, kind: type[S]) -> S:
    hints = {**refusals.FIELDS, **refusals.VALUES}
    return parse(manifest, "spec", kind, decode, hints, hint=refusals.KINDS.get(manifest["kind"], ""))
