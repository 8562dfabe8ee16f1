"""What a route does with requests: where they go, how they are changed, retried and copied.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (applyHTTPRouteDestination,
GetDestinationCluster, MirrorPercent, sourceMatchHTTP).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.istio.destinationrule import ConsistentHash
from harness.localmesh.kinds.istio.virtualservice import (
    Destination,
    HttpRoute,
    Match,
    MirrorPolicy,
    Rewrite,
    WeightedDestination,
)
from harness.localmesh.xds import names
from harness.localmesh.xds.hashing import hash_policy
from harness.localmesh.xds.headers import authority, header_changes
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.percent import fraction, whole
from harness.localmesh.xds.proto import duration
from harness.localmesh.xds.retry import retry_policy


@dataclass(frozen=True)
class Place:
    """From where routes are looked at, as far as it decides about them.

    Attributes:
        port: the one called.
        gateways: the names that `gateways` of a match may have.
        tls: whether requests come by TLS.
        labels: those of the proxy that some match asks for.
        namespace: the proxy's, if some match asks for it.
        ports: the ports of destinations that have only one, for which it needs not be written.
    """

    port: int
    gateways: frozenset[str]
    tls: bool = False
    labels: frozenset[tuple[str, str]] = frozenset()
    namespace: str = ""
    ports: frozenset[tuple[str, int]] = frozenset()

    def admits(self, match: Match) -> bool:
        """Whether `match` can hold at all; where gateways are named, istiod does not look at who calls."""
        if match.port not in (None, self.port):
            return False
        if match.gateways:
            return not self.gateways.isdisjoint(match.gateways)
        return match.source_labels.items() <= self.labels and match.source_namespace in ("", self.namespace)

    def cluster(self, destination: Destination) -> str:
        """The cluster's name; one that does not exist is named all the same, and answers 503 NC, as in Istio."""
        host = destination.host
        port = destination.port.number if destination.port else dict(self.ports).get(host, self.port)
        return names.outbound_cluster(port, destination.subset, host)


def route_action(http: HttpRoute, place: Place, hashes: Sequence[ConsistentHash | None]) -> Resource:
    """Envoy's `route` of a rule that forwards; `hashes` are those of its destinations, in order.

    The host is rewritten by `rewrite`, else by the route's headers, else by those of the only destination.
    """
    single = http.route[0] if len(http.route) == 1 else None
    action: Resource = {"timeout": duration(http.timeout or 0.0), **_rewrite(http.rewrite)}
    if single is not None:
        action["cluster"] = place.cluster(single.destination)
    else:
        shares = [_share(item, place) for item in http.route if item.weight]
        action["weighted_clusters"] = {"clusters": shares}
    if host := _host(http, single):
        action["host_rewrite_literal"] = host
    if mirrors := [_mirror(place.cluster(to), share) for to, share in _copies(http)]:
        action["request_mirror_policies"] = mirrors
    if policies := list(_hash_policies(http, hashes)):
        action["hash_policy"] = policies
    hashed = single is not None and hashes[0] is not None
    if (policy := retry_policy(http.retries, hashed=hashed)) is not None:
        action["retry_policy"] = policy
    return action


def _host(http: HttpRoute, single: WeightedDestination | None) -> str:
    rewritten = http.rewrite.authority if http.rewrite else ""
    return rewritten or authority(http.headers) or (authority(single.headers) if single else "")


def _share(item: WeightedDestination, place: Place) -> Resource:
    share: Resource = {
        "name": place.cluster(item.destination),
        "weight": item.weight,
        **header_changes(item.headers),
    }
    if host := authority(item.headers):
        share["host_rewrite_literal"] = host
    return share


def _rewrite(rewrite: Rewrite | None) -> Resource:
    if rewrite is None:
        return {}
    if (regex := rewrite.uri_regex_rewrite) is not None:
        return {"regex_rewrite": {"pattern": {"regex": regex.match}, "substitution": regex.rewrite}}
    return {"prefix_rewrite": rewrite.uri} if rewrite.uri else {}


def _copies(http: HttpRoute) -> Iterator[tuple[Destination, Resource]]:
    """Who gets copies, and of how many requests; a share of zero is no mirror."""
    if http.mirror is not None and (share := _mirrored(http)) is not None:
        yield http.mirror, share
    for policy in http.mirrors:
        if (share := _copied(policy)) is not None:
            yield policy.destination, share


def _mirrored(http: HttpRoute) -> Resource | None:
    if http.mirror_percentage is not None:
        return fraction(http.mirror_percentage) if http.mirror_percentage.value > 0 else None
    percent = http.mirror_percent_old if http.mirror_percent is None else http.mirror_percent
    if percent is not None:
        return whole(percent) if percent > 0 else None
    return whole(100)


def _copied(policy: MirrorPolicy) -> Resource | None:
    if policy.percentage is None:
        return whole(100)
    return fraction(policy.percentage) if policy.percentage.value > 0 else None


def _mirror(cluster: str, share: Resource) -> Resource:
    return {
        "cluster": cluster,
        "runtime_fraction": {"default_value": share},
        "trace_sampled": False,
        "disable_shadow_host_suffix_append": True,
    }


def _hash_policies(http: HttpRoute, hashes: Sequence[ConsistentHash | None]) -> Iterator[Resource]:
    weighted = len(http.route) > 1
    for item, hashed in zip(http.route, hashes, strict=True):
        policy = hash_policy(hashed) if hashed is not None else None
        if policy is not None and (item.weight or not weighted):
            yield policy
