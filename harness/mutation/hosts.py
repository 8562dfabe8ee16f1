"""Which Services the hosts of Istio's objects mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.changes import Manifest


def full_host(host: str, namespace: str) -> str:
    """The full name of a host that an object in `namespace` names; as in Istio, a name with a dot is taken as full."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"


def namespace_of(manifest: Manifest) -> str:
    """The namespace of an object; Kubernetes puts one that names none into `default`."""
    return str(manifest["metadata"].get("namespace") or "default")


def hosts_of(manifest: Manifest) -> frozenset[str]:
    """The full names of the hosts that a VirtualService or a DestinationRule is about."""
    spec = manifest.get("spec") or {}
    named = spec.get("hosts") or ([spec["host"]] if "host" in spec else [])
    return frozenset(full_host(host, namespace_of(manifest)) for host in named)


def routes_of(manifest: Manifest) -> list[tuple[tuple[str | int, ...], Any]]:
    """The routes of a VirtualService, each with its path."""
    spec = manifest.get("spec") or {}
    return [
        (("spec", protocol, number), route)
        for protocol in ("http", "tls", "tcp")
        for number, route in enumerate(spec.get(protocol) or ())
    ]


def subsets_of(host: str, objects: Sequence[Manifest]) -> tuple[str, ...]:
    """The subsets that the DestinationRules among `objects` give a host, by its full name."""
    rules = (one for one in objects if one["kind"] == "DestinationRule" and host in hosts_of(one))
    return tuple(subset["name"] for rule in rules for subset in rule["spec"].get("subsets") or ())


def subsets_in_use(host: str, objects: Sequence[Manifest]) -> frozenset[str]:
    """The subsets of a host to which a VirtualService among `objects` sends requests."""
    return frozenset(
        there["destination"]["subset"]
        for one in objects
        if one["kind"] == "VirtualService"
        for _, route in routes_of(one)
        for there in route.get("route") or ()
        if "subset" in there["destination"]
        and full_host(there["destination"]["host"], namespace_of(one)) == host
    )
