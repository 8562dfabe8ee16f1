"""Istio's kinds as far as the local mesh translates them, and the rules of Istio's webhook for them.

Each module has the structs of one kind on top and its rules below. What is not in a struct is refused with
its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from harness.localmesh.kinds.istio import (
    destinationrule,
    envoyfilter,
    gateway,
    peerauthentication,
    virtualservice,
)
from harness.localmesh.kinds.istio.destinationrule import DestinationRule
from harness.localmesh.kinds.istio.envoyfilter import EnvoyFilter
from harness.localmesh.kinds.istio.gateway import Gateway
from harness.localmesh.kinds.istio.peerauthentication import PeerAuthentication
from harness.localmesh.kinds.istio.values import Problem, decode
from harness.localmesh.kinds.istio.virtualservice import VirtualService
from harness.localmesh.kinds.parse import Kind, Manifest, invalid, parse, unprintable

__all__ = [
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "PeerAuthentication",
    "VirtualService",
    "admit",
    "spec_of",
]

S = TypeVar("S", bound=Kind)

_KINDS: dict[str, tuple[type[Kind], Callable[[Any], Iterator[Problem]]]] = {
    "VirtualService": (VirtualService, virtualservice.problems),
    "DestinationRule": (DestinationRule, destinationrule.problems),
    "PeerAuthentication": (PeerAuthentication, peerauthentication.problems),
    "Gateway": (Gateway, gateway.problems),
    "EnvoyFilter": (EnvoyFilter, envoyfilter.problems),
}


def admit(manifest: Manifest) -> None:
    """Let `manifest` pass when the mesh translates every field of it and Istio's webhook would take it.

    Raises:
        Refused: 422 `Invalid` with the first field that is unknown, malformed or against a rule of the
            webhook (istio/istio `pkg/config/validation/validation.go`), or because its kind is none of the five.
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
