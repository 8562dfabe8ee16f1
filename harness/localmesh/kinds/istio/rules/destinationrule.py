"""What Istio's webhook holds against a DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.localmesh.kinds.istio.destinationrule import ConnectionPool, DestinationRule, TrafficPolicy
from harness.localmesh.kinds.istio.values import Problem, host_problems, label_problems, repeated


def problems(spec: DestinationRule) -> Iterator[Problem]:
    """What Istio's webhook holds against `spec`."""
    yield from host_problems("host", spec.host)
    yield from _policy_problems("trafficPolicy", spec.traffic_policy)
    if twice := repeated([subset.name for subset in spec.subsets]):
        yield "subsets", f"the subset {twice!r} stands there twice"
    for index, subset in enumerate(spec.subsets):
        yield from label_problems(f"subsets[{index}].name", subset.name)
        yield from _policy_problems(f"subsets[{index}].trafficPolicy", subset.traffic_policy)


def _policy_problems(field: str, policy: TrafficPolicy | None) -> Iterator[Problem]:
    if policy is None:
        return
    if policy == TrafficPolicy():
        yield field, "a traffic policy must have at least one field"
    if (pool := policy.connection_pool) is None:
        return
    if pool == ConnectionPool():
        yield f"{field}.connectionPool", "a connection pool must have tcp or http settings"
    for name in msgspec.structs.fields(pool):
        part = getattr(pool, name.name)
        if part is not None and part == type(part)():
            yield f"{field}.connectionPool.{name.name}", "at least one setting must be given"
