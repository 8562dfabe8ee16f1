"""AuthorizationPolicy: which requests a workload lets in."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.selectors import Selector
from harness.localmesh.kinds.parse import Kind

Strings = tuple[str, ...]


class Source(Kind):
    """Who asks: one of each list given, and none of each list that begins with `not_`."""

    principals: Strings = ()
    not_principals: Strings = ()
    namespaces: Strings = ()
    not_namespaces: Strings = ()
    service_accounts: Annotated[Strings, Meta(max_length=16)] = ()
    not_service_accounts: Annotated[Strings, Meta(max_length=16)] = ()
    trust_domains: Strings = ()
    not_trust_domains: Strings = ()
    ip_blocks: Strings = ()
    not_ip_blocks: Strings = ()
    remote_ip_blocks: Strings = ()
    not_remote_ip_blocks: Strings = ()


class Operation(Kind):
    """What is asked: one of each list given, and none of each list that begins with `not_`."""

    hosts: Strings = ()
    not_hosts: Strings = ()
    ports: Strings = ()
    not_ports: Strings = ()
    methods: Strings = ()
    not_methods: Strings = ()
    paths: Strings = ()
    not_paths: Strings = ()


class From(Kind):
    """One alternative of the sources."""

    source: Source | None = None


class To(Kind):
    """One alternative of the operations."""

    operation: Operation | None = None


class Condition(Kind):
    """An attribute and the values it must have, or must not have."""

    key: str
    values: Strings = ()
    not_values: Strings = ()


class Rule(Kind):
    """Requests from one of `from_` to one of `to` when all of `when` hold; what is empty holds always."""

    from_: Annotated[tuple[From, ...], Meta(max_length=512)] = field(default=(), name="from")
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()


class AuthorizationPolicy(Kind):
    """The spec of an AuthorizationPolicy; without rules an ALLOW policy matches nothing and so lets nothing in."""

    selector: Selector = Selector()
    rules: Annotated[tuple[Rule, ...], Meta(max_length=512)] = ()
    action: Literal["ALLOW", "DENY", "AUDIT"] = "ALLOW"
