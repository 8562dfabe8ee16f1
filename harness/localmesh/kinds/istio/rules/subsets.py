"""Subsets that a VirtualService sends to and no DestinationRule defines: Envoy answers such requests with 503."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.localmesh.kinds.istio.destinationrule import DestinationRule
from harness.localmesh.kinds.istio.rules.common import covers
from harness.localmesh.kinds.istio.virtualservice import Destination, VirtualService


def subset_warnings(
    spec: VirtualService, namespace: str, rules: Iterable[tuple[DestinationRule, str]]
) -> tuple[str, ...]:
    """A sentence for each destination of `spec` with a subset that none of the `rules` for its host defines.

    `namespace` is that of the VirtualService; each rule comes with its own. Short names are those of Services in that
    namespace. Istio says this in `istioctl analyze` (IST0101); the mesh says it when the VirtualService is written.
    """
    known = [(_whole(rule.host, own), {subset.name for subset in rule.subsets}) for rule, own in rules]
    found = []
    for field, destination in _destinations(spec):
        host = _whole(destination.host, namespace)
        defined = set().union(*(subsets for wide, subsets in known if covers(wide, host)))
        if destination.subset and destination.subset not in defined:
            found.append(
                f"spec.{field}.subset: no DestinationRule defines the subset {destination.subset!r} of {host}"
            )
    return tuple(found)


def called_hosts(spec: VirtualService) -> frozenset[str]:
    """The hosts, as written, that `spec` names a subset of."""
    return frozenset(destination.host for _, destination in _destinations(spec) if destination.subset)


def _whole(host: str, namespace: str) -> str:
    return host if "." in host or "*" in host else f"{host}.{namespace}.svc.cluster.local"


def _destinations(spec: VirtualService) -> Iterator[tuple[str, Destination]]:
    for kind in ("http", "tls", "tcp"):
        for index, route in enumerate(getattr(spec, kind)):
            for number, weighted in enumerate(route.route):
                yield f"{kind}[{index}].route[{number}].destination", weighted.destination
    for index, http in enumerate(spec.http):
        if http.mirror is not None:
            yield f"http[{index}].mirror", http.mirror
        for number, mirror in enumerate(http.mirrors):
            yield f"http[{index}].mirrors[{number}].destination", mirror.destination
