"""Istio's kinds as far as the local mesh translates them, and the rules of Istio's webhook for them.

Each module has the structs of one kind, and the module of that name in `rules` says what is held against them.
What is not in a struct is refused with its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from harness.localmesh.kinds.istio import rules
from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.kinds.istio.destinationrule import DestinationRule
from harness.localmesh.kinds.istio.envoyfilter import EnvoyFilter
from harness.localmesh.kinds.istio.gateway import Gateway
from harness.localmesh.kinds.istio.peerauthentication import PeerAuthentication
from harness.localmesh.kinds.istio.serviceentry import ServiceEntry, WorkloadEntry
from harness.localmesh.kinds.istio.sidecar import Sidecar
from harness.localmesh.kinds.istio.telemetry import Telemetry
from harness.localmesh.kinds.istio.values import Problem, decode
from harness.localmesh.kinds.istio.virtualservice import VirtualService
from harness.localmesh.kinds.parse import Kind, Manifest, invalid, parse, unprintable

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
    "spec_of",
]

S = TypeVar("S", bound=Kind)


def _none(spec: Any) -> Iterator[Problem]:
    yield from ()


_KINDS: dict[str, tuple[type[Kind], Callable[[Any], Iterator[Problem]]]] = {
    "VirtualService": (VirtualService, rules.virtualservice.problems),
    "DestinationRule": (DestinationRule, rules.destinationrule.problems),
    "Gateway": (Gateway, rules.gateway.problems),
    "ServiceEntry": (ServiceEntry, _none),
    "WorkloadEntry": (WorkloadEntry, _none),
    "Sidecar": (Sidecar, _none),
    "PeerAuthentication": (PeerAuthentication, rules.peerauthentication.problems),
    "AuthorizationPolicy": (AuthorizationPolicy, _none),
    "Telemetry": (Telemetry, _none),
    "EnvoyFilter": (EnvoyFilter, rules.envoyfilter.problems),
}


def admit(manifest: Manifest) -> None:
    """Let `manifest` pass when the mesh translates every field of it and Istio's webhook would take it.

    Raises:
        Refused: 422 `Invalid` with the first field that is unknown, malformed or against a rule of the
            webhook (istio/istio `pkg/config/validation/validation.go`), or because its kind is none of these.
    """
    name = str(manifest.get("kind"))
    if name not in _KINDS:
        kinds = ", ".join(_KINDS)
        raise invalid(manifest, "kind", f"the local mesh does not emulate this kind of Istio, only {kinds}")
    kind, problems = _KINDS[name]
    for field in unprintable(manifest.get("spec"), "spec"):
        raise invalid(
            manifest, field, "it holds a control character, with which Envoy refuses its configuration"
        )
    spec = _parsed(manifest, kind)
    for field, why in problems(spec):
        raise invalid(manifest, f"spec.{field}", why)


def spec_of(manifest: Manifest, kind: type[S]) -> S:
    """The spec of an admitted manifest, typed: `spec_of(manifest, VirtualService)`.

    Raises:
        Refused: 422 when the manifest was never admitted and does not fit.
    """
    return _parsed(manifest, kind)


def _parsed(manifest: Manifest, kind: type[S]) -> S:
    return parse(manifest, "spec", kind, decode)
