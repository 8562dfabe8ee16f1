"""How a host of a cluster is chosen, and when one is ejected.

`simple: PASSTHROUGH` keeps the address that the client connected to (istiod: an ORIGINAL_DST cluster). An explicit
proxy has no such address; what a client would have connected to is the Service's cluster IP, behind which
Kubernetes picks any pod, so here it is RANDOM.
Source: istio/istio `pilot/pkg/networking/core/cluster_traffic_policy.go` (applyLoadBalancer,
applyOutlierDetection), `loadbalancer/loadbalancer.go` (ApplyToCluster).
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.destinationrule import (
    ConsistentHash,
    LoadBalancer,
    LocalityLbSetting,
    OutlierDetection,
    TrafficPolicy,
)
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import duration

_POLICIES = {"ROUND_ROBIN": "ROUND_ROBIN", "RANDOM": "RANDOM", "PASSTHROUGH": "RANDOM"}
_LEAST_REQUEST = "LEAST_REQUEST"
_CONFIGS = {"ROUND_ROBIN": "round_robin_lb_config", _LEAST_REQUEST: "least_request_lb_config"}
_RING_SIZE = 1024


def balancing_fields(
    policy: TrafficPolicy, setting: LocalityLbSetting | None, *, chooses: bool = True
) -> Resource:
    """How hosts are chosen (LEAST_REQUEST unless set) and ejected, with the locality `setting` in force.

    Envoy's panic mode is off unless `minHealthPercent` asks for it: pods that are not ready are sent as unhealthy
    ones (PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS), which a panic would give requests to.

    `chooses` is False where the kind of cluster leaves no choice.
    """
    detection = policy.outlier_detection
    percent = detection.min_health_percent if detection else 0
    common: Resource = {"healthy_panic_threshold": {"value": percent} if percent else {}}
    if setting is not None and _by_locality(setting, detection):
        common["locality_weighted_lb_config"] = {}
    fields: Resource = {"common_lb_config": common}
    if chooses:
        fields |= _algorithm(policy.load_balancer or LoadBalancer())
    if detection is not None:
        fields["outlier_detection"] = _outlier(detection)
    return fields


def _by_locality(setting: LocalityLbSetting, detection: OutlierDetection | None) -> bool:
    failover = setting.failover or setting.failover_priority
    return bool(setting.distribute or (failover and detection is not None))


def _algorithm(balancer: LoadBalancer) -> Resource:
    name = _POLICIES.get(balancer.simple, _LEAST_REQUEST)
    if balancer.consistent_hash is not None:
        return _hashing(balancer.consistent_hash)
    fields: Resource = {"lb_policy": name}
    if name in _CONFIGS and (start := _slow_start(balancer)):
        fields[_CONFIGS[name]] = {"slow_start_config": start}
    return fields


def _slow_start(balancer: LoadBalancer) -> Resource:
    if (warmup := balancer.warmup) is not None:
        aggression = 1.0 if warmup.aggression is None else warmup.aggression
        return {
            "slow_start_window": duration(warmup.duration),
            # Envoy wants a runtime key; istiod writes this one, which nobody sets.
            "aggression": {"default_value": aggression, "runtime_key": "("},
            "min_weight_percent": {
                "value": 10.0 if warmup.minimum_percent is None else warmup.minimum_percent
            },
        }
    if balancer.warmup_duration_secs is not None:
        return {"slow_start_window": duration(balancer.warmup_duration_secs)}
    return {}


def _hashing(hashing: ConsistentHash) -> Resource:
    if hashing.maglev is not None:
        size = hashing.maglev.table_size
        return {"lb_policy": "MAGLEV", **({"maglev_lb_config": {"table_size": size}} if size else {})}
    size = (
        hashing.ring_hash.minimum_ring_size if hashing.ring_hash else hashing.minimum_ring_size or _RING_SIZE
    )
    return {
        "lb_policy": "RING_HASH",
        **({"ring_hash_lb_config": {"minimum_ring_size": size}} if size else {}),
    }


def _outlier(detection: OutlierDetection) -> Resource:
    """Consecutive errors eject, and the success rate never does; 0 errors switch a detector off."""
    out: Resource = {"enforcing_success_rate": 0}
    if (errors := detection.consecutive_5xx_errors) is not None:
        out["consecutive_5xx"] = errors
        out["enforcing_consecutive_5xx"] = 100 if errors else 0
    if (errors := detection.consecutive_gateway_errors) is not None:
        out["consecutive_gateway_failure"] = errors
        out["enforcing_consecutive_gateway_failure"] = 100 if errors else 0
    if detection.interval is not None:
        out["interval"] = duration(detection.interval)
    if detection.base_ejection_time is not None:
        out["base_ejection_time"] = duration(detection.base_ejection_time)
    if detection.max_ejection_percent:
        out["max_ejection_percent"] = detection.max_ejection_percent
    if detection.split_external_local_origin_errors:
        out["split_external_local_origin_errors"] = True
        out["enforcing_local_origin_success_rate"] = 0
        if errors := detection.consecutive_local_origin_failures:
            out["consecutive_local_origin_failure"] = errors
            out["enforcing_consecutive_local_origin_failure"] = 100
    return out
