"""Outlier detection that cannot eject, or does so for another reason; failover that waits for it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from harness.caveats import Caveat
from harness.preflight.policies import Policy, policies
from harness.preflight.premises import Premises

_MAX_EJECTION_PERCENT = 10
_CONSECUTIVE_5XX = 5


def no_ejection(premises: Premises) -> Iterator[Caveat]:
    """Outlier detection that cannot eject a single one of the pods.

    Envoy ejects a host only while `100 * (ejected + 1) / hosts <= maxEjectionPercent`, 10 where it is not given
    (envoy `source/common/upstream/outlier_detection_impl.cc`, `ejectHost`; istiod does not set
    `always_eject_one_host`). Below `minHealthPercent` of healthy hosts it asks all of them, ejected ones too.
    """
    for policy in policies(premises):
        detection = policy.get("outlierDetection")
        if detection is not None and policy.hosts:  # {} is in force, with Envoy's defaults
            yield from _too_few(policy, detection)
            yield from _panic(policy, detection)
            yield from _off(policy, detection)


def default_5xx(premises: Premises) -> Iterator[Caveat]:
    """A threshold of gateway errors beside the one of all 5xx, which Envoy has by default and counts them as well."""
    for policy in policies(premises):
        detection = policy.get("outlierDetection") or {}
        gateway, every = detection.get("consecutiveGatewayErrors"), detection.get("consecutive5xxErrors")
        if not gateway or every == 0:
            continue
        beside = f"Envoy's default of {_CONSECUTIVE_5XX} consecutive 5xx" if every is None else f"{every} 5xx"
        if every is not None and gateway < every:
            continue
        never = gateway >= (every or _CONSECUTIVE_5XX)
        so = (
            f"so {gateway} gateway errors in a row are never reached"
            if never
            else "so other 5xx eject a pod too"
        )
        yield Caveat(
            "default-5xx",
            "warn",
            f"consecutiveGatewayErrors stands beside {beside} in a row, {so}",
            policy.at("outlierDetection", "consecutiveGatewayErrors"),
            "add consecutive5xxErrors: 0 to count gateway errors only",
        )


def no_failover(premises: Premises) -> Iterator[Caveat]:
    """Locality failover without outlier detection, for which istiod makes no priorities.

    Unless the Service asks for them by its trafficDistribution (istio/istio
    `pilot/pkg/networking/core/loadbalancer/loadbalancer.go`).
    """
    distributed = {
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in premises.of("Service")
        if item["spec"].get("trafficDistribution")
    }
    for policy in policies(premises):
        setting = (policy.get("loadBalancer") or {}).get("localityLbSetting") or {}
        asked = next((name for name in ("failover", "failoverPriority") if setting.get(name)), "")
        on = setting.get("enabled", True)
        known = (policy.service.namespace, policy.service.name) in distributed
        if asked and on and not known and policy.get("outlierDetection") is None:
            yield Caveat(
                "no-failover",
                "warn",
                f"{asked} does nothing without outlierDetection: no pod counts as failed, so no other place is asked",
                policy.at("loadBalancer", "localityLbSetting", asked),
                f"add outlierDetection to {policy.path}",
            )


def _too_few(policy: Policy, detection: dict[str, int]) -> Iterator[Caveat]:
    given = detection.get("maxEjectionPercent") or _MAX_EJECTION_PERCENT
    share = 100 / policy.hosts
    if share > given:
        told = "" if detection.get("maxEjectionPercent") else " (Envoy's default)"
        yield Caveat(
            "no-ejection",
            "warn",
            f"one of {policy.hosts} pods of {policy.service.name} is {share:.3g} % of them, and maxEjectionPercent "
            f"is {given} %{told}: no pod is ever ejected",
            policy.at("outlierDetection", "maxEjectionPercent"),
            f"set it to {-(-100 // policy.hosts)} or more, or run {-(-100 // given)} pods",
        )


def _panic(policy: Policy, detection: dict[str, int]) -> Iterator[Caveat]:
    least = detection.get("minHealthPercent") or 0
    left = 100 * (policy.hosts - 1) / policy.hosts
    if left < least:
        yield Caveat(
            "no-ejection",
            "warn",
            f"without one of {policy.hosts} pods of {policy.service.name} {left:.3g} % are healthy, fewer than "
            f"minHealthPercent {least} %: then Envoy asks ejected ones as well",
            policy.at("outlierDetection", "minHealthPercent"),
            f"set it to {int(left)} or less, or leave it out",
        )


def _off(policy: Policy, detection: dict[str, int]) -> Iterator[Caveat]:
    local = detection.get("splitExternalLocalOriginErrors") and detection.get(
        "consecutiveLocalOriginFailures", 5
    )
    if (
        detection.get("consecutive5xxErrors") == 0
        and not detection.get("consecutiveGatewayErrors")
        and not local
    ):
        yield Caveat(
            "no-ejection",
            "warn",
            "consecutive5xxErrors is 0 and consecutiveGatewayErrors is not given: nothing is counted, nothing ejected",
            policy.at("outlierDetection", "consecutive5xxErrors"),
            "set one of the two above 0",
        )
