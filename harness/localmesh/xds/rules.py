"""DestinationRules as istiod holds them: merged by host, and which one a client sees for a Service.

Source: istio/istio `pilot/pkg/model/destination_rule.go`, `push_context.go` (setDestinationRules,
destinationRule), `sidecar.go` (SidecarScope.DestinationRule).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from harness.localmesh.kinds import istio
from harness.localmesh.xds.hosts import fqdn, is_wildcard, most_specific
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import ROOT_NAMESPACE, DestinationRule, Service

_PRIVATE = frozenset({"."})


@dataclass(frozen=True)
class Rule:
    """One or more DestinationRules for the same host, merged: the first policy, and the subsets of all.

    `name` and `namespace` are those of the first; `export_to` empty means everywhere.
    """

    name: str
    namespace: str
    spec: istio.DestinationRule
    export_to: frozenset[str]

    @property
    def selector(self) -> Mapping[str, str] | None:
        """The workloads whose outbound side it is for; None for all."""
        chosen = self.spec.workload_selector
        return None if chosen is None else chosen.match_labels

    @property
    def config(self) -> str:
        """Its name as istiod writes it into the metadata of clusters."""
        return f"/apis/networking.istio.io/v1/namespaces/{self.namespace}/destination-rule/{self.name}"


@dataclass
class _Place:
    """The merged rules of one place to look at, by host."""

    by_host: dict[str, list[Rule]] = field(default_factory=dict)
    wildcards: dict[str, list[Rule]] = field(default_factory=dict)

    def add(self, memo: Memo, rule: Rule) -> None:
        known = self.by_host.setdefault(rule.spec.host, [])
        if is_wildcard(rule.spec.host):
            self.wildcards[rule.spec.host] = known
        apart = True
        for index, existing in enumerate(known):
            apart = True
            if rule.export_to == existing.export_to:
                apart = False
            elif not (existing.export_to and rule.export_to >= existing.export_to):
                continue
            if (
                existing.selector is not None
                and rule.selector is not None
                and existing.selector != rule.selector
            ):
                apart = True
                continue
            if existing.selector == rule.selector:
                apart = False
            known[index] = memo(_merged, existing, rule)
        if apart:
            known.append(rule)

    def find(self, host: str) -> list[Rule]:
        return self.by_host.get(host) or most_specific(host, self.wildcards) or []


def _resolved(item: DestinationRule) -> Rule:
    to = _PRIVATE if item.spec.workload_selector is not None else frozenset(item.spec.export_to)
    spec = msgspec.structs.replace(item.spec, host=fqdn(item.spec.host, item.namespace))
    return Rule(item.name, item.namespace, spec, to)


def _merged(first: Rule, second: Rule) -> Rule:
    names = {subset.name for subset in first.spec.subsets}
    more = tuple(subset for subset in second.spec.subsets if subset.name not in names)
    policy = first.spec.traffic_policy or second.spec.traffic_policy
    spec = msgspec.structs.replace(first.spec, subsets=first.spec.subsets + more, traffic_policy=policy)
    return replace(first, spec=spec)


class Rules:
    """The DestinationRules of a mesh."""

    def __init__(self, memo: Memo, rules: Sequence[DestinationRule]) -> None:
        """Args: memo: keeps what is made of rules that have not changed the same objects."""
        self._local: dict[str, _Place] = {}
        self._exported: dict[str, _Place] = {}
        self._root = _Place()
        for item in _by_selector_and_age(rules):
            self._add(memo, item)
        self.asked = frozenset(name for item in rules for name in _asked(item.spec))
        """The labels of callers that the rules ask for: in workload selectors and failover priorities."""

    def _add(self, memo: Memo, item: DestinationRule) -> None:
        rule = memo(_resolved, item)
        namespace, to = rule.namespace, rule.export_to
        if not to or to & {"*", ".", namespace}:
            self._local.setdefault(namespace, _Place()).add(memo, rule)
        if len(to) == 1 and to <= {".", namespace}:
            if namespace == ROOT_NAMESPACE:
                self._root.add(memo, rule)
        else:
            self._exported.setdefault(namespace, _Place()).add(memo, rule)

    def candidates(self, client: str, service: Service) -> tuple[Rule, ...]:
        """The rules for `service` that `client`, a namespace, sees: its own, else the Service's, else the root's."""
        own = self._root if client == ROOT_NAMESPACE else self._local.get(client, _Place())
        if found := own.find(service.host):
            return tuple(found)
        for namespace in dict.fromkeys((service.namespace, ROOT_NAMESPACE)):
            place = self._exported.get(namespace, _Place())
            seen = [rule for rule in place.find(service.host) if _reaches(rule, client)]
            if seen:
                return tuple(seen)
        return ()


def _asked(spec: istio.DestinationRule) -> Iterator[str]:
    if spec.workload_selector is not None:
        yield from spec.workload_selector.match_labels
    policies = [spec.traffic_policy, *(subset.traffic_policy for subset in spec.subsets)]
    for policy in filter(None, policies):
        balancers = [policy.load_balancer, *(item.load_balancer for item in policy.port_level_settings)]
        for balancer in filter(None, balancers):
            if (setting := balancer.locality_lb_setting) is not None:
                yield from (item.partition("=")[0] for item in setting.failover_priority)


def _reaches(rule: Rule, client: str) -> bool:
    return not rule.export_to or bool(rule.export_to & {"*", client})


def chosen(candidates: Iterable[Rule], namespace: str, labels: Mapping[str, str] | None) -> Rule | None:
    """The rule of `candidates` for a proxy of `namespace` with `labels`.

    None for `labels` is its inbound side, where selectors do not count.
    """
    for_all = None
    for rule in candidates:
        if rule.selector is None:
            for_all = rule
        elif labels is not None and rule.namespace == namespace and rule.selector.items() <= labels.items():
            return rule
    return for_all


def _by_selector_and_age(rules: Iterable[DestinationRule]) -> list[DestinationRule]:
    return sorted(
        rules,
        key=lambda item: (
            item.spec.workload_selector is None,
            item.created,
            item.name,
            item.namespace,
            item.uid,
        ),
    )
