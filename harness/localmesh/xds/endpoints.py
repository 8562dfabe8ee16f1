"""Endpoints (EDS): who serves each outbound cluster, by locality and as preferred by the client.

Pods that are not ready are sent as unhealthy ones, so that Envoy knows how much of a locality is healthy (unless
the rule has a `minHealthPercent`, whose panic would give them requests); terminating ones are not sent.
Differences from istiod: none but the metadata that our own telemetry reads.
Source: istio/istio `pilot/pkg/xds/endpoints/endpoint_builder.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.localmesh.kinds.istio.destinationrule import Subset, TrafficPolicy
from harness.localmesh.xds import names, telemetry
from harness.localmesh.xds.hosts import is_ip
from harness.localmesh.xds.locality import Group, balanced, grouped, matters
from harness.localmesh.xds.model import Endpoint, Locality, Proxy, Resource, Service, ServicePort
from harness.localmesh.xds.policy import endpoint_tls_mode, locality_setting, passes_through, policy_for
from harness.localmesh.xds.proto import address, typed
from harness.localmesh.xds.rules import Rule
from harness.localmesh.xds.services import augmented
from harness.localmesh.xds.view import View

_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
_TLS = {"envoy.transport_socket_match": {"tlsMode": "istio"}}


def endpoints(view: View) -> dict[str, Resource]:
    """The load assignment of each outbound EDS cluster, by the cluster's name."""
    return view.shared(_outbound, view.rules, view.served, view.config)


def _outbound(view: View) -> dict[str, Resource]:
    made: dict[str, Resource] = {}
    by_mesh = view.config.locality_enabled
    for service in view.services:
        if not is_eds(service, gateway=view.proxy.gateway):
            continue
        rule = view.destination_rule(service)
        for port in service.ports:
            found = view.endpoints(service, port)
            client = whereabouts(view.proxy, rule, port, by_mesh=by_mesh)
            for name, assignment in view.memo(_assignments, service, port, rule, found, *client, by_mesh):
                made.setdefault(name, assignment)
    return made


def is_eds(service: Service, *, gateway: bool) -> bool:
    """Whether the Service's endpoints come by EDS.

    A headless Service's do, as with istiod's PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES, which is there for callers
    that use an explicit HTTP proxy; gateways have no other way for any Service without an address.
    """
    if service.resolution == "PASSTHROUGH":
        return gateway or service.kubernetes
    return service.resolution == "CLIENT_SIDE"


def whereabouts(proxy: Proxy, rule: Rule | None, port: ServicePort, *, by_mesh: bool) -> tuple[str, str]:
    """What of the client counts for `port`: its locality, and the labels failover asks for; "" for what does not.

    Most clients have the same answer, and so share what is worked out from it.
    """
    if rule is None:
        return "", ""
    labels: dict[str, str] = {}
    counts = False
    for subset in (None, *rule.spec.subsets):
        policy = policy_for(rule, port.number, subset)
        setting = locality_setting(policy, by_mesh=by_mesh)
        if setting is None or not matters(setting, detecting=policy.outlier_detection is not None):
            continue
        counts = True
        own = augmented(proxy.workload.labels, proxy.workload.locality)
        asked = (item.partition("=")[0] for item in setting.failover_priority)
        labels |= {name: own[name] for name in asked if name in own}
    where = proxy.workload.locality
    text = f"{where.region}/{where.zone}/{where.subzone}" if counts else ""
    return text, ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def localities(
    found: Iterable[Endpoint],
    policy: TrafficPolicy,
    client: tuple[str, str],
    *,
    by_mesh: bool,
) -> tuple[Group, ...]:
    """`found` as groups with their priorities and weights for a client (see `whereabouts`)."""
    where, labels = client
    own = dict(pair.split("=", 1) for pair in labels.split(",") if pair)
    return balanced(
        grouped(found),
        locality_setting(policy, by_mesh=by_mesh),
        Locality.read(where),
        own,
        detecting=policy.outlier_detection is not None,
    )


def of_subset(found: Iterable[Endpoint], subset: Subset | None) -> list[Endpoint]:
    """Those of `found` that carry the labels of `subset`."""
    wanted: Mapping[str, str] = subset.labels if subset else {}
    return [endpoint for endpoint in found if wanted.items() <= endpoint.labels.items()]


def assignment(name: str, groups: Iterable[Group], mode: str) -> Resource:
    """The endpoints of cluster `name`; `mode` is `endpoint_tls_mode`."""
    return {"cluster_name": name, "endpoints": [_locality(group, mode) for group in groups]}


def _assignments(  # noqa: PLR0917 - the memory knows arguments by their place
    service: Service,
    port: ServicePort,
    rule: Rule | None,
    found: tuple[Endpoint, ...],
    where: str,
    labels: str,
    by_mesh: bool,
) -> tuple[tuple[str, Resource], ...]:
    """The assignments of the port and of its subsets, by name."""
    made = []
    numeric = [endpoint for endpoint in found if is_ip(endpoint.address)]
    for subset in (None, *(rule.spec.subsets if rule else ())):
        policy = policy_for(rule, port.number, subset)
        chosen = of_subset(numeric, None if passes_through(policy) else subset)
        served = [endpoint for endpoint in chosen if _is_sent(endpoint, service, policy)]
        groups = localities(served, policy, (where, labels), by_mesh=by_mesh)
        name = names.outbound_cluster(port.number, subset.name if subset else "", service.host)
        mode = endpoint_tls_mode(rule, port.number, subset)
        made.append((name, typed(_ASSIGNMENT, **assignment(name, groups, mode))))
    return tuple(made)


def _is_sent(endpoint: Endpoint, service: Service, policy: TrafficPolicy) -> bool:
    if endpoint.pod and endpoint.pod.terminating and not service.publish_not_ready:
        return False
    detection = policy.outlier_detection
    return endpoint.ready or not (detection and detection.min_health_percent)


def _locality(group: Group, mode: str) -> Resource:
    parts = {"region": group.locality.region, "zone": group.locality.zone, "sub_zone": group.locality.subzone}
    made: Resource = {
        "locality": {name: part for name, part in parts.items() if part},
        "lb_endpoints": [_endpoint(member, mode) for member in group.members],
        "load_balancing_weight": group.weight,
    }
    if group.priority:
        made["priority"] = group.priority
    return made


def _endpoint(endpoint: Endpoint, mode: str) -> Resource:
    """A rule's TLS mode beats PeerAuthentication: its ISTIO_MUTUAL goes to every sidecar, other modes to none."""
    mtls = endpoint.sidecar and mode == "ISTIO_MUTUAL" if mode else endpoint.mtls
    metadata = telemetry.endpoint_metadata(endpoint)
    made: Resource = {
        "endpoint": {"address": address(endpoint.address, endpoint.port)},
        "metadata": {"filter_metadata": {**metadata, **_TLS} if mtls else metadata},
        "load_balancing_weight": endpoint.weight or 1,
    }
    if endpoint.pod is not None or not endpoint.ready:
        made["health_status"] = "HEALTHY" if endpoint.ready else "UNHEALTHY"
    return made
