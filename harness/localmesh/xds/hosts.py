"""Host names and wildcards as istiod compares them (istio/istio `pkg/config/host/name.go`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TypeVar

from harness.localmesh.xds.model import TRUST_DOMAIN

V = TypeVar("V")


def is_wildcard(host: str) -> bool:
    """Whether `host` stands for many: "*", "*.example.com"."""
    return host.startswith("*")


def matches(one: str, other: str) -> bool:
    """Whether there is a name that both cover."""
    if is_wildcard(one) and is_wildcard(other):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if is_wildcard(one):
        return other.endswith(one[1:])
    if is_wildcard(other):
        return one.endswith(other[1:])
    return one == other


def is_within(host: str, pattern: str) -> bool:
    """Whether `pattern` covers every name that `host` covers."""
    if not is_wildcard(pattern):
        return host == pattern
    name = host[1:] if is_wildcard(host) else host
    return name.endswith(pattern[1:])


def is_ip(host: str) -> bool:
    """Whether `host` is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def fqdn(host: str, namespace: str) -> str:
    """The full name of a host as written in an object of `namespace`: short names have no dots."""
    if not host or "." in host or host == "*" or is_ip(host):
        return host
    return f"{host}.{namespace}.svc.{TRUST_DOMAIN}"


def most_specific(host: str, patterns: Mapping[str, V]) -> V | None:
    """What stands at the pattern that covers `host` most closely: itself, then the longest wildcard."""
    if host in patterns:
        return patterns[host]
    covering = [pattern for pattern in patterns if is_wildcard(pattern) and is_within(host, pattern)]
    if not covering:
        return None
    return patterns[min(covering, key=lambda pattern: (-len(pattern), pattern))]
