"""The traffic policies of DestinationRules, as istiod merges them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.changes import Manifest, Ref, ref_of
from harness.faults import Pod
from harness.preflight.premises import Premises, Service

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


@dataclass(frozen=True)
class Policy:
    """What one traffic policy says, and to how many pods it applies.

    A subset has the fields of its DestinationRule that it does not set itself; `portLevelSettings` have nothing but
    their own, since they replace outlierDetection and loadBalancer as a whole (istio/istio
    `pilot/pkg/networking/util/util.go`, `shadowCopyPortTrafficPolicy`).

    Attributes:
        ref: its DestinationRule.
        path: where it is, `spec.trafficPolicy`.
        fields: what it says, with the path of each field.
        hosts: how many pods it chooses from.
        service: for which Service.
    """

    ref: Ref
    path: str
    fields: Mapping[str, tuple[Any, str]] = field(hash=False)
    hosts: int
    service: Service

    def get(self, name: str) -> Any:
        """One of its fields, None where it says nothing."""
        return self.fields.get(name, (None, ""))[0]

    def at(self, name: str, *path: str) -> str:
        """One of its fields as people write it; the policy itself where it has no such field."""
        where = self.fields[name][1] if name in self.fields else self.path
        return f"{self.ref} {'.'.join((where, *path))}"


def policies(premises: Premises) -> Iterator[Policy]:
    """The traffic policies that choose among the pods of the target: those of subsets that no route names are not."""
    for service in premises.services:
        pods = premises.behind(service) or premises.scene.pods
        for rule in premises.rules(service):
            yield from _policies(rule, service, pods, _subsets(premises, service))


def seconds(text: Any) -> float | None:
    """A duration as Istio writes it ("1.5s", "1m30s"), in seconds; None for what is none, or not there."""
    terms = _TERM.findall(str(text))
    if text is None or "".join(number + unit for number, unit in terms) != str(text):
        return None
    return math.fsum(float(number) * _UNITS[unit] for number, unit in terms)


def _subsets(premises: Premises, service: Service) -> frozenset[str]:
    """The subsets that routes to a Service name; "" for the Service as a whole, also where no route leads to it."""
    found = set()
    for route in premises.routes_to(service):
        home = route.item["metadata"]["namespace"]
        for way in route.content["route"]:
            if service.is_meant(way["destination"]["host"], home):
                found.add(str(way["destination"].get("subset", "")))
    return frozenset(found or {""})


def _policies(
    rule: Manifest, service: Service, pods: tuple[Pod, ...], used: frozenset[str]
) -> Iterator[Policy]:
    ref, spec = ref_of(rule), rule["spec"]
    whole = _fields(spec.get("trafficPolicy"), "spec.trafficPolicy")
    if "" in used:
        yield Policy(ref, "spec.trafficPolicy", whole, len(pods), service)
        yield from _ports(ref, spec.get("trafficPolicy"), "spec.trafficPolicy", len(pods), service)
    for index, subset in enumerate(spec.get("subsets") or ()):
        if subset["name"] not in used:
            continue
        path = f"spec.subsets[{index}].trafficPolicy"
        own = subset.get("trafficPolicy")
        labels = (subset.get("labels") or {}).items()
        count = sum(labels <= pod.labels.items() for pod in pods)
        yield Policy(ref, path, {**whole, **_fields(own, path)}, count, service)
        yield from _ports(ref, own or spec.get("trafficPolicy"), path, count, service)


def _ports(ref: Ref, policy: Any, path: str, hosts: int, service: Service) -> Iterator[Policy]:
    for index, settings in enumerate((policy or {}).get("portLevelSettings") or ()):
        where = f"{path}.portLevelSettings[{index}]"
        yield Policy(ref, where, _fields(settings, where), hosts, service)


def _fields(policy: Any, path: str) -> dict[str, tuple[Any, str]]:
    return {name: (value, f"{path}.{name}") for name, value in (policy or {}).items()}
