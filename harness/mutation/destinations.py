"""What weakens a DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.changes import ABSENT, Manifest, Path
from harness.mutation.durations import seconds, written
from harness.mutation.hosts import hosts_of, subsets_in_use
from harness.mutation.mutant import Weakening

_THRESHOLDS = ("consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures")
_OUT_OF_REACH = 1_000_000
_BALANCING = {
    "consistentHash": "requests of one user go to many pods",
    "warmup": "a new pod gets its full share at once",
    "warmupDurationSecs": "a new pod gets its full share at once",
}


def weaker_destination_rule(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """Ejection, limits, balancing and TLS of each of its traffic policies, and the subsets in use."""
    for path, policy in _policies(manifest):
        yield from _ejection((*path, "outlierDetection"), policy.get("outlierDetection"))
        yield from _limits((*path, "connectionPool"), policy.get("connectionPool") or {})
        if "retryBudget" in policy:
            why = "every request is tried again as often as it may be"
            yield Weakening((*path, "retryBudget"), ABSENT, "retryBudget removed", why)
        yield from _balancing((*path, "loadBalancer"), policy.get("loadBalancer") or {})
        if (policy.get("tls") or {}).get("mode", "DISABLE") != "DISABLE":
            yield _plaintext((*path, "tls", "mode"))
    if "tls" not in (manifest["spec"].get("trafficPolicy") or {}):
        yield _plaintext(("spec", "trafficPolicy", "tls", "mode"))
    yield from _subsets(manifest, objects)


def _policies(manifest: Manifest) -> Iterator[tuple[Path, Any]]:
    """Its traffic policies, each with its path: that of the host, of its subsets, and of single ports of both."""
    spec = manifest["spec"]
    subsets = enumerate(spec.get("subsets") or ())
    owners = [(("spec",), spec), *((("spec", "subsets", number), one) for number, one in subsets)]
    for path, owner in owners:
        policy, at = owner.get("trafficPolicy") or {}, (*path, "trafficPolicy")
        if policy:
            yield at, policy
        for number, one in enumerate(policy.get("portLevelSettings") or ()):
            yield (*at, "portLevelSettings", number), one


def _plaintext(path: Path) -> Weakening:
    return Weakening(path, "DISABLE", "tls mode DISABLE", "callers speak plaintext")


def _ejection(path: Path, ejection: Any) -> Iterator[Weakening]:
    if ejection is None:
        return
    yield Weakening(path, ABSENT, "outlierDetection removed", "a pod that fails keeps its share of requests")
    for name in _THRESHOLDS:
        if 0 < ejection.get(name, 0) < _OUT_OF_REACH:
            why = "no pod ever fails that often in a row"
            yield Weakening((*path, name), _OUT_OF_REACH, "threshold out of reach", why)
    if ejection.get("maxEjectionPercent", 10) > 1:
        why = "not even one pod of a hundred may be out"
        yield Weakening((*path, "maxEjectionPercent"), 1, "maxEjectionPercent too small", why)
    if (seconds(ejection.get("baseEjectionTime", "30s")) or 0.0) > 0.001:
        why = "a pod is back before it can be well again"
        yield Weakening((*path, "baseEjectionTime"), "0.001s", "base ejection time too short", why)
    if (seconds(ejection.get("interval", "10s")) or 0.0) < 600.0:
        why = "a pod that is well again stays out: returns are looked at once in an interval"
        yield Weakening((*path, "interval"), "600s", "interval of ten minutes", why)
    yield from _panic((*path, "minHealthPercent"), ejection.get("minHealthPercent", 0))


def _panic(path: Path, percent: int) -> Iterator[Weakening]:
    if percent < 100:
        why = "as soon as one pod is out, all of them are asked again"
        yield Weakening(path, 100, "panic at the first ejection", why)
    if percent > 0:
        yield Weakening(path, 0, "panic removed", "few pods that are left get the requests of all")


def _limits(path: Path, pool: Any) -> Iterator[Weakening]:
    for protocol in ("tcp", "http"):
        for name, value in (pool.get(protocol) or {}).items():
            at = (*path, protocol, name)
            if isinstance(value, int) and not isinstance(value, bool):
                yield Weakening(at, ABSENT, f"{name} removed", "there is no limit any more")
            elif length := seconds(value):
                yield Weakening(at, ABSENT, f"{name} removed", "Istio's default is in its place")
                why = "what hangs is given up ten times as late"
                yield Weakening(at, written(10 * length), f"{name} tenfold", why)


def _balancing(path: Path, balancer: Any) -> Iterator[Weakening]:
    for name, why in _BALANCING.items():
        if name in balancer:
            yield Weakening((*path, name), ABSENT, f"{name} removed", why)
    if balancer.get("simple") in ("ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN"):
        yield Weakening((*path, "simple"), "RANDOM", "balancing by chance", "pods get uneven shares")
    yield from _zones((*path, "localityLbSetting"), balancer.get("localityLbSetting") or {})


def _zones(at: Path, locality: Any) -> Iterator[Weakening]:
    """Without the setting it is the mesh's that counts, in which zones are on (MeshConfig's localityLbSetting)."""
    if locality and locality.get("enabled", True):
        why = "requests do not stay in the zone of their caller"
        yield Weakening((*at, "enabled"), False, "locality off", why)
    for name in ("failover", "failoverPriority", "distribute"):
        if name in locality:
            why = "requests go elsewhere when the pods of a zone are out"
            yield Weakening((*at, name), ABSENT, f"{name} removed", why)


def _subsets(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """Only of subsets that a route names: nothing depends on the others."""
    used = frozenset[str]().union(*(subsets_in_use(host, objects) for host in hosts_of(manifest)))
    for number, subset in enumerate(manifest["spec"].get("subsets") or ()):
        if subset["name"] not in used:
            continue
        path = ("spec", "subsets", number)
        yield Weakening(path, ABSENT, f"subset {subset['name']} dropped", "requests to it find no pod")
        if subset.get("labels"):
            yield Weakening(
                (*path, "labels"),
                ABSENT,
                f"subset {subset['name']} widened",
                "every pod of the host is in it",
            )
