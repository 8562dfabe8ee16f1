"""Which policy applies: destination, port and subset, as istiod merges them."""

from __future__ import annotations

import msgspec
import pytest

from harness.localmesh.kinds.istio import DestinationRule
from harness.localmesh.kinds.istio.values import decode
from harness.localmesh.xds.policy import endpoint_tls_mode, locality_setting, passes_through, policy_for
from harness.localmesh.xds.rules import Rule


def _rule(**spec):
    typed = msgspec.convert({"host": "a", **spec}, DestinationRule, dec_hook=decode)
    return Rule("a", "default", typed, frozenset())


POOL = {"http": {"http1MaxPendingRequests": 5}}
OTHER = {"http": {"http1MaxPendingRequests": 7}}
OUTLIERS = {"consecutive5xxErrors": 3}


def _pending(policy):
    pool = policy.connection_pool
    return pool.http.http1_max_pending_requests if pool else None


def test_settings_of_a_port_replace_the_destinations_in_full():
    """What the port's settings leave out is default, PROXY protocol and retry budget are lost."""
    rule = _rule(
        trafficPolicy={
            "connectionPool": POOL,
            "outlierDetection": OUTLIERS,
            "proxyProtocol": {"version": "V2"},
            "retryBudget": {"percent": 5},
            "portLevelSettings": [{"port": {"number": 80}, "connectionPool": OTHER}],
        }
    )
    at, elsewhere = policy_for(rule, 80), policy_for(rule, 81)
    assert (_pending(at), at.outlier_detection, at.proxy_protocol, at.retry_budget) == (7, None, None, None)
    assert _pending(elsewhere) == 5
    assert elsewhere.outlier_detection.consecutive_5xx_errors == 3
    assert (elsewhere.proxy_protocol.version, elsewhere.retry_budget.percent) == ("V2", 5)


def test_a_subset_replaces_the_policy_block_by_block():
    """Blocks that the subset leaves out are the destination's, or those of its port."""
    rule = _rule(
        trafficPolicy={
            "connectionPool": POOL,
            "retryBudget": {"percent": 5},
            "portLevelSettings": [{"port": {"number": 81}, "outlierDetection": OUTLIERS}],
        },
        subsets=[{"name": "v1", "trafficPolicy": {"connectionPool": OTHER}}, {"name": "v2"}],
    )
    first, second = rule.spec.subsets
    assert _pending(policy_for(rule, 80, first)) == 7
    assert policy_for(rule, 80, first).retry_budget.percent == 5
    assert policy_for(rule, 80, second) == policy_for(rule, 80)
    merged = policy_for(rule, 81, first)
    assert (_pending(merged), merged.outlier_detection.consecutive_5xx_errors) == (7, 3)


def test_settings_of_a_port_in_a_subset_leave_nothing_of_the_destinations_but_whole_blocks():
    """They replace all four blocks; PROXY protocol and retry budget stay the destination's."""
    settings = [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]
    rule = _rule(
        trafficPolicy={"connectionPool": POOL, "retryBudget": {"percent": 5}},
        subsets=[{"name": "v1", "trafficPolicy": {"connectionPool": OTHER, "portLevelSettings": settings}}],
    )
    merged = policy_for(rule, 80, rule.spec.subsets[0])
    assert merged.connection_pool is None
    assert (merged.tls.mode, merged.retry_budget.percent) == ("DISABLE", 5)


def test_without_a_rule_there_is_no_policy():
    """Nothing is limited, nothing ejected."""
    policy = policy_for(None, 80)
    assert policy.connection_pool is None
    assert endpoint_tls_mode(None, 80) == ""
    assert not passes_through(None)


def test_endpoints_follow_the_tls_mode_of_port_then_subset_then_destination():
    """A port's settings without a mode leave the destination's in force for marks on endpoints."""
    rule = _rule(
        trafficPolicy={
            "tls": {"mode": "DISABLE"},
            "portLevelSettings": [
                {"port": {"number": 81}, "tls": {"mode": "ISTIO_MUTUAL"}},
                {"port": {"number": 82}, "connectionPool": POOL},
            ],
        },
        subsets=[{"name": "v1", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}, {"name": "v2"}],
    )
    v1, v2 = rule.spec.subsets
    assert [endpoint_tls_mode(rule, port) for port in (80, 81, 82)] == ["DISABLE", "ISTIO_MUTUAL", "DISABLE"]
    assert endpoint_tls_mode(rule, 81, v1) == "SIMPLE"
    assert endpoint_tls_mode(rule, 81, v2) == "ISTIO_MUTUAL"


@pytest.mark.parametrize(
    ("own", "by_mesh", "there"),
    [(None, True, True), (None, False, False), ({}, False, True), ({"enabled": False}, True, False)],
)
def test_a_rules_locality_setting_beats_the_meshs(own, by_mesh, there):
    """A rule's own counts, also against a mesh where it is off; `enabled: false` leaves locality out."""
    balancer = {"simple": "RANDOM"} if own is None else {"localityLbSetting": own}
    policy = policy_for(_rule(trafficPolicy={"loadBalancer": balancer}), 80)
    assert (locality_setting(policy, by_mesh=by_mesh) is not None) == there
