"""What Istio's webhook, or Envoy itself, holds against a DestinationRule (`ValidateDestinationRule`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.destinationrule import (
    ConnectionPool,
    DestinationRule,
    OutlierDetection,
    PortTrafficPolicy,
    Tls,
    TrafficPolicy,
)
from harness.localmesh.kinds.istio.rules import loadbalancer
from harness.localmesh.kinds.istio.rules.common import (
    each,
    export_problems,
    host_problems,
    label_problems,
    namespace_of,
    repeated,
    selector_problems,
    tag_problems,
    under,
)
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

_LONGEST_NAME = 255  # bytes: Envoy's limit for a server name
_LONGEST_KEEPALIVE = 2**32 - 1


def problems(spec: DestinationRule, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    yield from host_problems("host", spec.host)
    yield from _policy_problems("trafficPolicy", spec.traffic_policy)
    if (twice := repeated(subset.name for subset in spec.subsets)) is not None:
        yield "subsets", f"the subset {twice!r} stands there twice"
    for index, subset in enumerate(spec.subsets):
        yield from label_problems(f"subsets[{index}].name", subset.name)
        yield from tag_problems(f"subsets[{index}].labels", subset.labels)
        yield from _policy_problems(f"subsets[{index}].trafficPolicy", subset.traffic_policy)
    own_only = spec.workload_selector is not None
    yield from export_problems(spec.export_to, namespace_of(manifest), own_only=own_only)
    if spec.workload_selector is not None:
        yield from selector_problems("workloadSelector.matchLabels", spec.workload_selector.match_labels)


def warnings(spec: DestinationRule, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    policies = {"trafficPolicy": spec.traffic_policy}
    policies |= {
        f"subsets[{index}].trafficPolicy": one.traffic_policy for index, one in enumerate(spec.subsets)
    }
    for place, policy in policies.items():
        if policy is not None:
            yield from under(place, loadbalancer.warnings(policy.load_balancer, policy.outlier_detection))


def _policy_problems(field: str, policy: TrafficPolicy | None) -> Iterator[Problem]:
    if policy is None:
        return
    if policy == TrafficPolicy():
        yield field, "a traffic policy must have at least one field"
    yield from under(field, _parts_problems(policy))
    yield from each(f"{field}.portLevelSettings", map(_port_problems, policy.port_level_settings))


def _port_problems(policy: PortTrafficPolicy) -> Iterator[Problem]:
    if policy.port is None:
        yield "port", "must be given"
    if policy == PortTrafficPolicy(port=policy.port):
        yield "", "the policy of a port must have at least one field"
    yield from _parts_problems(policy)


def _parts_problems(policy: TrafficPolicy | PortTrafficPolicy) -> Iterator[Problem]:
    if policy.outlier_detection is not None:
        yield from under("outlierDetection", _outlier_problems(policy.outlier_detection))
    if policy.connection_pool is not None:
        yield from under("connectionPool", _pool_problems(policy.connection_pool))
    if policy.load_balancer is not None:
        yield from under("loadBalancer", loadbalancer.problems(policy.load_balancer))
    if policy.tls is not None:
        yield from under("tls", _tls_problems(policy.tls))


def _outlier_problems(outlier: OutlierDetection) -> Iterator[Problem]:
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        yield (
            "consecutiveLocalOriginFailures",
            "has no effect without splitExternalLocalOriginErrors; set that to true",
        )


def _pool_problems(pool: ConnectionPool) -> Iterator[Problem]:
    if pool == ConnectionPool():
        yield "", "a connection pool must have tcp or http settings"
    if pool.http is not None and pool.http.use_client_protocol and pool.http.h2_upgrade_policy == "UPGRADE":
        yield "http.useClientProtocol", "must not be true when h2UpgradePolicy is UPGRADE"
    if pool.tcp is not None and (keepalive := pool.tcp.tcp_keepalive) is not None:
        for name in ("time", "interval"):
            if (getattr(keepalive, name) or 0) > _LONGEST_KEEPALIVE:
                yield f"tcp.tcpKeepalive.{name}", "is longer than Envoy can count"


def _tls_problems(tls: Tls) -> Iterator[Problem]:
    if "://" in tls.credential_name:
        yield "credentialName", "the local mesh takes certificates from Secrets only; write the name of one"
    if tls.mode == "MUTUAL" and not tls.credential_name:
        yield "credentialName", "mode MUTUAL needs the Secret with the client's certificate and key"
    if tls.insecure_skip_verify:
        if tls.mode == "SIMPLE" and tls.credential_name:
            yield "insecureSkipVerify", "must not be true together with credentialName"
        if tls.mode in ("SIMPLE", "MUTUAL") and tls.subject_alt_names:
            yield "insecureSkipVerify", "must not be true together with subjectAltNames"
    if len(tls.sni.encode()) > _LONGEST_NAME:
        yield "sni", f"is longer than {_LONGEST_NAME} bytes"
