"""What Istio's webhook, or Envoy itself, holds against how hosts are chosen (`validateLoadBalancer`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.localmesh.kinds.istio.destinationrule import (
    ConsistentHash,
    LoadBalancer,
    LocalityLbSetting,
    OutlierDetection,
    Warmup,
)
from harness.localmesh.kinds.istio.rules.common import repeated, under
from harness.localmesh.kinds.istio.values import Problem

_LARGEST_MAGLEV = 5_000_011  # Envoy's limit; so is the next
_LARGEST_RING = 8 * 1024 * 1024
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def problems(balancer: LoadBalancer) -> Iterator[Problem]:
    """The fields of `balancer` that Istio would not take."""
    if balancer.consistent_hash is not None:
        if balancer.simple != "UNSPECIFIED":
            yield "consistentHash", "only one of simple and consistentHash can be given"
        yield from under("consistentHash", _hash_problems(balancer.consistent_hash))
    if balancer.locality_lb_setting is not None:
        yield from under("localityLbSetting", _locality_problems(balancer.locality_lb_setting))
    if balancer.warmup is not None:
        yield from under("warmup", _warmup_problems(balancer.warmup))


def warnings(balancer: LoadBalancer | None, outlier: OutlierDetection | None) -> Iterator[Problem]:
    """The fields of `balancer` that Istio takes with a warning, `outlier` being the policy beside it."""
    if balancer is None:
        return
    if balancer.consistent_hash is not None and balancer.consistent_hash.minimum_ring_size:
        yield "loadBalancer.consistentHash.minimumRingSize", "is deprecated; use ringHash"
    setting = balancer.locality_lb_setting
    if setting is not None and (setting.failover or setting.failover_priority) and outlier is None:
        yield "loadBalancer.localityLbSetting", "there is no failover without outlierDetection; add it"


def _hash_problems(hashing: ConsistentHash) -> Iterator[Problem]:
    keys = (
        hashing.http_header_name,
        hashing.http_cookie,
        hashing.use_source_ip,
        hashing.http_query_parameter_name,
    )
    if sum(key is not None for key in keys) > 1:
        yield (
            "",
            "only one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName can be given",
        )
    for name, key in (("httpHeaderName", keys[0]), ("httpQueryParameterName", keys[3])):
        if key == "":
            yield name, "must not be empty"
    if (cookie := hashing.http_cookie) is not None:
        names = [attribute.name for attribute in cookie.attributes]
        if not cookie.name:
            yield "httpCookie.name", "must not be empty"
        if "" in names:
            yield f"httpCookie.attributes[{names.index('')}].name", "must not be empty"
        if (twice := repeated(names)) is not None:
            yield "httpCookie.attributes", f"{twice!r} stands there twice"
    yield from _table_problems(hashing)


def _table_problems(hashing: ConsistentHash) -> Iterator[Problem]:
    if hashing.ring_hash is not None and hashing.maglev is not None:
        yield "maglev", "only one of ringHash and maglev can be given"
    if hashing.minimum_ring_size and (hashing.ring_hash is not None or hashing.maglev is not None):
        yield "minimumRingSize", "only one of minimumRingSize, ringHash and maglev can be given"
    rings = {"minimumRingSize": hashing.minimum_ring_size}
    if hashing.ring_hash is not None:
        rings["ringHash.minimumRingSize"] = hashing.ring_hash.minimum_ring_size
    for name, size in rings.items():
        if size > _LARGEST_RING:
            yield name, f"a ring can have at most {_LARGEST_RING} entries"
    if hashing.maglev is not None:
        size = hashing.maglev.table_size
        if not size or size >= _LARGEST_MAGLEV or not _is_prime(size):
            yield "maglev.tableSize", f"must be a prime number below {_LARGEST_MAGLEV}"


def _is_prime(number: int) -> bool:
    """As Envoy decides it: 1 is one, too."""
    return number in (1, 2) or (
        number % 2 == 1 and all(number % odd for odd in range(3, int(number**0.5) + 1, 2))
    )


def _locality_problems(setting: LocalityLbSetting) -> Iterator[Problem]:
    if setting.distribute and setting.failover:
        yield "failover", "only one of distribute and failover can be given"
    both = [label for label in setting.failover_priority if label in _TOPOLOGY]
    if setting.failover and both:
        yield "failoverPriority", f"{both[0]!r} cannot stand together with failover"
    for index, rule in enumerate(setting.distribute):
        field = f"distribute[{index}].to"
        for locality, share in rule.to.items():
            if not 1 <= share <= 100:
                yield f"{field}[{locality}]", "a share must be between 1 and 100"
        if sum(rule.to.values()) != 100:
            yield field, f"the shares add up to {sum(rule.to.values())}, not 100"
        yield from _overlap_problems(field, sorted(rule.to, key=lambda locality: locality.endswith("*")))
    yield from _overlap_problems("distribute", [rule.from_ for rule in setting.distribute])
    for index, failover in enumerate(setting.failover):
        field = f"failover[{index}]"
        if failover.from_ == failover.to:
            yield field, "from and to must be different regions"
        for name, region in (("from", failover.from_), ("to", failover.to)):
            if "/" in region or "*" in region:
                yield f"{field}.{name}", f"{region!r} is no region; zones and wildcards are not allowed"


def _overlap_problems(field: str, localities: Iterable[str]) -> Iterator[Problem]:
    """Localities are "region/zone/subzone" with a "*" at the end at most, which may include what stands before."""
    earlier: list[tuple[str, ...]] = []
    for locality in localities:
        if locality.count("*") > 1 or "*" in locality[:-1]:
            yield field, f'{locality!r} is no locality; there can be one "*", at the end'
            continue
        parts = tuple(locality.split("/", 2))
        if "" in parts:
            yield field, f"{locality!r} is no locality; no part of it can be empty"
            continue
        wild = parts[-1] == "*"
        known = parts[:-1] if wild else parts
        if any(
            known[: len(other)] == other or (not wild and other[: len(known)] == known) for other in earlier
        ):
            yield field, f"{locality!r} overlaps with another locality of the list"
        earlier.append(known)


def _warmup_problems(warmup: Warmup) -> Iterator[Problem]:
    if warmup.aggression == 0:
        yield "aggression", "must be greater than 0"
