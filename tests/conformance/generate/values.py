"""Small values that generated manifests are made of: few of each, so that objects meet one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Made = st.SearchStrategy[Any]

NAMESPACES = ("default", "shop")
ROOT = "istio-system"
SERVICES = ("a", "b", "c")
SUBSETS = ("v1", "v2")
PLACES = (*NAMESPACES, *NAMESPACES, ROOT)
"""Namespaces of objects, the root now and then."""

PORTS = {"http": 80, "http-web": 8000, "grpc": 7070, "tcp-db": 9000, "https": 443, "grpc-web": 8090}
"""The ports of Services by name; the target is the number, or the container port of that name."""

OUTSIDE = ("ext.example.com", "api.example.com", "*.example.org")
GATEWAYS = ("edge", "side")
REGIONS = ("west/w1/rack1", "west/w1/rack2", "west/w2", "east/e1", "")
"""Localities of nodes."""


def record(required: Mapping[str, Made] | None = None, **optional: Made) -> Made:
    """A JSON object with all of `required` and any of `optional`; `from_` stands for the field "from"."""
    return st.fixed_dictionaries(
        dict(required or {}), optional={name.rstrip("_"): made for name, made in optional.items()}
    )


def filled(**optional: Made) -> Made:
    """A JSON object with at least one of these fields."""
    return record(None, **optional).filter(bool)


def one_key(**choices: Made) -> Made:
    """A JSON object with exactly one of these fields."""
    return st.one_of(*(st.fixed_dictionaries({name.rstrip("_"): made}) for name, made in choices.items()))


def some(values: Made, most: int = 2) -> Made:
    """One or more."""
    return st.lists(values, min_size=1, max_size=most)


def few(*values: Any) -> Made:
    """One of these."""
    return st.sampled_from(values)


def distinct(*values: Any, most: int = 3) -> Made:
    """One or more of these, each once."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


def manifest(
    kind: str, name: str, namespace: str, spec: Any, created: int, **metadata: Any
) -> dict[str, Any]:
    """The manifest of an Istio object made `created` seconds after the start."""
    group = "security" if kind in ("PeerAuthentication", "AuthorizationPolicy") else "networking"
    version = "v1alpha3" if kind == "EnvoyFilter" else "v1"
    minutes, seconds = divmod(created, 60)
    return {
        "apiVersion": f"{group}.istio.io/{version}",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": f"2026-01-01T00:{minutes:02}:{seconds:02}Z",
            **metadata,
        },
        "spec": spec,
    }


durations = few("0.25s", "1s", "2.5s", "10s", "90s", "1h0m0s")
percents = record({"value": few(0.1, 1, 12.5, 50, 99.99, 100)})
export_to = few(["."], ["*"], ["shop"], [".", "istio-system"], ["default", "shop"])
header_names = few("x-user", "x-group", "end-user", "cookie")
labels = st.one_of(
    few(*({"app": name} for name in SERVICES)),
    few(*({"version": version} for version in SUBSETS)),
    few({"app": "a", "version": "v1"}, {"app": "b", "version": "v2"}),
)
string_match = one_key(
    exact=few("/", "/a", "/a/b", "alice"),
    prefix=few("/", "/a", "/api/", "al"),
    regex=few(".*", "/v[0-9]+/.*", "^(.*?;)?(user=jason)(;.*)?$"),
)
hosts = few(
    *SERVICES,
    *(f"{name}.{space}.svc.cluster.local" for name in SERVICES for space in NAMESPACES),
    "ext.example.com",
    "api.example.com",
)
