"""AuthorizationPolicy: which requests and connections a workload accepts."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from harness.localmesh.kinds.istio.values import Labels
from harness.localmesh.kinds.parse import Kind

Values = tuple[str, ...]


class WorkloadSelector(Kind):
    """The workloads that carry all `match_labels`."""

    match_labels: Labels = field(default_factory=dict)


class Source(Kind):
    """Who asks; every field that is set must hold, one of its values is enough."""

    principals: Values = ()
    not_principals: Values = ()
    namespaces: Values = ()
    not_namespaces: Values = ()
    service_accounts: Values = ()
    not_service_accounts: Values = ()
    trust_domains: Values = ()
    not_trust_domains: Values = ()
    ip_blocks: Values = ()
    not_ip_blocks: Values = ()
    remote_ip_blocks: Values = ()
    not_remote_ip_blocks: Values = ()


class Operation(Kind):
    """What is asked for; every field that is set must hold, one of its values is enough."""

    hosts: Values = ()
    not_hosts: Values = ()
    ports: Values = ()
    not_ports: Values = ()
    methods: Values = ()
    not_methods: Values = ()
    paths: Values = ()
    not_paths: Values = ()


class From(Kind):
    """One of the alternatives of a rule's `from`."""

    source: Source


class To(Kind):
    """One of the alternatives of a rule's `to`."""

    operation: Operation


class Condition(Kind):
    """The attribute `key` has one of `values` and none of `not_values`."""

    key: str
    values: Values = ()
    not_values: Values = ()


class Rule(Kind):
    """Matches when one of `from`, one of `to` and all of `when` do; what is absent matches everything."""

    from_: tuple[From, ...] = field(default=(), name="from")
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()


class AuthorizationPolicy(Kind):
    """The spec of an AuthorizationPolicy; without `rules` it matches nothing, so that ALLOW refuses everything."""

    selector: WorkloadSelector = WorkloadSelector()
    action: Literal["ALLOW", "DENY", "AUDIT"] = "ALLOW"
    rules: tuple[Rule, ...] | None = None
