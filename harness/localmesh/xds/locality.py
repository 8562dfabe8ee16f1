"""Endpoints by locality: which are preferred, which stand in when those fail, and what share each locality gets.

Priorities count from 0, the preferred, without gaps. Failover needs outlier detection, without which Envoy would
never find that hosts have failed. `distribute` excludes failover.
Source: istio/istio `pilot/pkg/networking/core/loadbalancer/loadbalancer.go` (ApplyLocalityLoadBalancer).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.localmesh.kinds.istio.destinationrule import Distribute, Failover, LocalityLbSetting
from harness.localmesh.xds.model import Endpoint, Locality

_NETWORK = "topology.istio.io/network"


@dataclass(frozen=True)
class Group:
    """Endpoints of one locality with the same priority; `weight` is the share of the group among such."""

    locality: Locality
    members: tuple[Endpoint, ...]
    weight: int
    priority: int = 0


def grouped(endpoints: Iterable[Endpoint]) -> tuple[Group, ...]:
    """`endpoints` by locality, in the order of istiod (of the localities' texts); the weight is the members'."""
    by_name: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_name.setdefault(_name(endpoint), []).append(endpoint)
    return tuple(_group(by_name[name]) for name in sorted(by_name))


def _name(endpoint: Endpoint) -> str:
    """The text that istiod has of a locality: always three parts for pods, as written for WorkloadEntries."""
    where = endpoint.locality
    if endpoint.pod is None or where == Locality():
        return str(where)
    return f"{where.region}/{where.zone}/{where.subzone}"


def _group(members: Sequence[Endpoint], priority: int = 0) -> Group:
    return Group(members[0].locality, tuple(members), sum(item.weight or 1 for item in members), priority)


def matters(setting: LocalityLbSetting | None, *, detecting: bool) -> bool:
    """Whether `balanced` depends on where the client is."""
    return setting is not None and (bool(setting.distribute) or detecting)


def balanced(
    groups: Sequence[Group],
    setting: LocalityLbSetting | None,
    client: Locality,
    labels: Mapping[str, str],
    *,
    detecting: bool,
) -> tuple[Group, ...]:
    """`groups` as a client at `client` with `labels` (see `services.augmented`) is to use them.

    `detecting` is whether there is outlier detection.
    """
    if setting is None or not matters(setting, detecting=detecting):
        return tuple(groups)
    if setting.distribute:
        return tuple(_distributed(groups, setting.distribute, client))
    if not setting.failover_priority:
        return _failing_over(groups, setting.failover, client)
    made = _by_labels(groups, setting.failover_priority, labels)
    return _failing_over(made, setting.failover, client) if setting.failover else made


def within(locality: Locality, pattern: str) -> bool:
    """Whether `locality` is one of `pattern`: "region/zone/subzone", of which parts may be "*" and the end missing."""
    wanted = Locality.read(pattern)
    pairs = ((locality.zone, wanted.zone), (locality.subzone, wanted.subzone))
    return wanted.region in ("*", locality.region) and all(want in ("*", "", have) for have, want in pairs)


def _distributed(
    groups: Sequence[Group], distribute: Iterable[Distribute], client: Locality
) -> Iterator[Group]:
    """The weights of the first entry for `client`; localities that it does not name get nothing."""
    shares = next((item.to for item in distribute if within(client, item.from_)), None)
    if shares is None:
        yield from groups
        return
    chosen = [next((to for to in shares if within(group.locality, to)), None) for group in groups]
    for group, to in zip(groups, chosen, strict=True):
        if to is None:
            yield replace(group, members=())
            continue
        total = sum(other.weight for other, its in zip(groups, chosen, strict=True) if its == to)
        yield replace(group, weight=math.ceil(group.weight * shares[to] / total) or group.weight)


def _failing_over(
    groups: Sequence[Group], failover: Sequence[Failover], client: Locality
) -> tuple[Group, ...]:
    to = next((item.to for item in failover if item.from_ == client.region), None)
    # Five ranks within each priority that is there already.
    ranked = [
        replace(group, priority=group.priority * 5 + _distance(client, group.locality, to))
        for group in groups
    ]
    return _without_gaps(ranked)


def _distance(client: Locality, other: Locality, failover_to: str | None) -> int:
    """0 for the same subzone, 1 zone, 2 region, 3 another region, 4 a region that failover does not go to."""
    if client.region != other.region:
        return 3 if failover_to in (None, other.region) else 4
    if client.zone != other.zone:
        return 2
    return 0 if client.subzone == other.subzone else 1


def _by_labels(
    groups: Iterable[Group], wanted: Sequence[str], labels: Mapping[str, str]
) -> tuple[Group, ...]:
    """Groups split by how many of the labels `wanted`, from the first on, endpoints share with the client."""
    pairs = [_wanted(item, labels) for item in wanted]
    networked = wanted[0] == _NETWORK
    made = []
    for group in groups:
        ranks: dict[int, list[Endpoint]] = {}
        for member in group.members:
            rank = _mismatch(member.labels, pairs, networked=networked)
            ranks.setdefault(rank, []).append(member)
        made += [_group(ranks[rank], rank) for rank in sorted(ranks)]
    return _without_gaps(made)


def _wanted(item: str, labels: Mapping[str, str]) -> tuple[str, str]:
    """The label and its value: the client's own, unless written as "label=value"."""
    name, *value = item.split("=")
    return name, value[0] if len(value) == 1 else labels.get(name, "")


def _mismatch(labels: Mapping[str, str], wanted: Sequence[tuple[str, str]], *, networked: bool) -> int:
    """0 when all agree, else the more the earlier a label differs.

    `networked` says that the first label is the network: another one is farther than anything in one's own.
    """
    away = 0
    for index, (name, value) in enumerate(wanted):
        if labels.get(name, "") == value:
            continue
        if index or not networked:
            return away + len(wanted) - index
        away = len(wanted)
    return away


def _without_gaps(groups: Sequence[Group]) -> tuple[Group, ...]:
    order = sorted({group.priority for group in groups})
    return tuple(replace(group, priority=order.index(group.priority)) for group in groups)
