"""All mutants of some objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from harness.changes import Manifest, apply
from harness.mutation.destinations import weaker_destination_rule
from harness.mutation.mutant import Mutant, Weakening
from harness.mutation.routing import weaker_virtual_service
from harness.mutation.security import (
    weaker_authorization_policy,
    weaker_gateway,
    weaker_peer_authentication,
    weaker_sidecar,
)
from harness.mutation.workloads import weaker_deployment, weaker_disruption_budget

_Operators = Callable[[Manifest, Sequence[Manifest]], Iterator[Weakening]]

_BY_KIND: Final[Mapping[tuple[str, str], _Operators]] = {
    ("networking.istio.io", "VirtualService"): weaker_virtual_service,
    ("networking.istio.io", "DestinationRule"): weaker_destination_rule,
    ("networking.istio.io", "Sidecar"): weaker_sidecar,
    ("networking.istio.io", "Gateway"): weaker_gateway,
    ("security.istio.io", "PeerAuthentication"): weaker_peer_authentication,
    ("security.istio.io", "AuthorizationPolicy"): weaker_authorization_policy,
    ("apps", "Deployment"): weaker_deployment,
    ("policy", "PodDisruptionBudget"): weaker_disruption_budget,
}

KINDS: Final = tuple((f"{group}/v1", kind) for group, kind in _BY_KIND)
"""The kinds of objects that have mutants, as API version and kind."""


def mutants(objects: Sequence[Manifest]) -> tuple[Mutant, ...]:
    """Every mutant of every object, in their order; objects of other kinds have none.

    Each changes exactly one field, and no two of them give the same object.

    Args:
        objects: all that belong together: subsets are those of the DestinationRules among them.
    """
    return tuple(mutant for manifest in objects for mutant in _mutants(manifest, objects))


def _mutants(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Mutant]:
    group = str(manifest["apiVersion"]).rpartition("/")[0]
    operators = _BY_KIND.get((group, manifest["kind"]))
    seen: list[Manifest] = []
    for weakening in operators(manifest, objects) if operators else ():
        mutant = Mutant.of(manifest, weakening)
        changed = apply(mutant.change, manifest)
        if changed not in seen:
            seen.append(changed)
            yield mutant
