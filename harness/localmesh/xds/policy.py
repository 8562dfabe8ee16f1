"""Which traffic policy of a DestinationRule applies to a port, and to a subset of it.

Settings of a port take the place of the destination's own in full (what they leave out is default, and PROXY
protocol and retry budget are lost); a subset's policy replaces the destination's block by block, but settings of
a port in the subset again in full.
Source: istio/istio `pilot/pkg/networking/util/util.go` (GetPortLevelTrafficPolicy, MergeSubsetTrafficPolicy),
`pilot/pkg/model/destination_rule.go` (MergeTrafficPolicy), `pilot/pkg/xds/endpoints/mtls_checker.go`.
"""

from __future__ import annotations

import msgspec

from harness.localmesh.kinds.istio.destinationrule import (
    LocalityLbSetting,
    PortTrafficPolicy,
    Subset,
    TrafficPolicy,
)
from harness.localmesh.xds.rules import Rule

NOTHING = TrafficPolicy()
"""No policy at all."""

_BLOCKS = ("connection_pool", "outlier_detection", "load_balancer", "tls")
_WHOLE_ONLY = ("proxy_protocol", "retry_budget")
_BY_MESH = LocalityLbSetting()


def policy_for(rule: Rule | None, port: int, subset: Subset | None = None) -> TrafficPolicy:
    """The policy for `port` of the destination, or of its `subset`; without settings by port."""
    policy, _ = _at((rule and rule.spec.traffic_policy) or NOTHING, port)
    if subset is None or subset.traffic_policy is None:
        return policy
    over, by_port = _at(subset.traffic_policy, port)
    changes = {name: value for name in _BLOCKS if (value := getattr(over, name)) is not None or by_port}
    changes |= {name: value for name in _WHOLE_ONLY if (value := getattr(over, name)) is not None}
    return msgspec.structs.replace(policy, **changes)


def _at(policy: TrafficPolicy, port: int) -> tuple[TrafficPolicy, bool]:
    """`policy` at `port`, and whether it has settings for that port."""
    settings = _settings(policy, port)
    if settings is None:
        return msgspec.structs.replace(policy, port_level_settings=()), False
    return TrafficPolicy(**{name: getattr(settings, name) for name in _BLOCKS}), True


def _settings(policy: TrafficPolicy, port: int) -> PortTrafficPolicy | None:
    fitting = (item for item in policy.port_level_settings if item.port and item.port.number == port)
    return next(fitting, None)


def endpoint_tls_mode(rule: Rule | None, port: int, subset: Subset | None = None) -> str:
    """The TLS mode that decides whether endpoints are marked for mTLS; "" when the rule says nothing.

    Unlike in `policy_for`, settings of the port without a mode leave the destination's in force, as in istiod.
    """
    if rule is None:
        return ""
    own = _tls_mode(subset.traffic_policy, port) if subset else ""
    return own or _tls_mode(rule.spec.traffic_policy, port)


def _tls_mode(policy: TrafficPolicy | None, port: int) -> str:
    if policy is None:
        return ""
    by_port = next(
        (
            item.tls
            for item in policy.port_level_settings
            if item.tls and item.port and item.port.number == port
        ),
        None,
    )
    tls = by_port or policy.tls
    return tls.mode if tls else ""


def locality_setting(policy: TrafficPolicy, *, by_mesh: bool) -> LocalityLbSetting | None:
    """The locality setting in force; None when locality plays no part.

    `by_mesh` is whether the mesh has locality balancing on where the rule says nothing of it (Istio: yes).
    """
    own = policy.load_balancer.locality_lb_setting if policy.load_balancer else None
    if own is not None:
        return None if own.enabled is False else own
    return _BY_MESH if by_mesh else None


def passes_through(policy: TrafficPolicy | None) -> bool:
    """Whether the caller's own choice of an address is kept (`simple: PASSTHROUGH`)."""
    balancer = policy.load_balancer if policy else None
    return balancer is not None and balancer.simple == "PASSTHROUGH"
