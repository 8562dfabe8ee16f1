"""Manifests that are somewhat wrong, made of valid ones."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.localmesh.kinds.parse import Manifest

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 100, 101, 503, 65535, 65536, 2**31, 2**32, 2**63, 0.5, 1e-9, 1e308),
    *(
        "",
        " ",
        "x",
        "*",
        "*x",
        "x*",
        "**",
        ".",
        "..",
        "~",
        "a b",
        "%",
        "%FOO%",
        "%REQ(x)%",
        "100%",
        "\\1",
        "\\9",
    ),
    *("a\x00b", "a\nb", "a\tb", "\u202e", "é", "é" * 300, "x" * 300, "x" * 70_000, "A", "a_b", "-a", "a."),
    *("1.2.3.4", "::1", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4/8", "10.0.0.0/33", "0.0.0.0", "0.0.0.0/0"),  # noqa: S104
    *("eA==", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="),
    *(
        "0",
        "80",
        "0s",
        "1s",
        "-1s",
        "1ms",
        "0.1ms",
        "1ns",
        "1h",
        "1000000h",
        "99999999999s",
        "1s1",
        "2540400h",
    ),
    *("[", "(?=a)", "(a", "a{1,1001}", "(((a{100}){100}){100})", "\\p{Greek}", ".*", "(?i)a", "{*}", "/{**}"),
    *("host", "Host", ":authority", ":path", ":method", "x-envoy-retry-on", "content-length", "connection"),
    *(
        "GET",
        "get",
        "5xx",
        "retriable-status-codes",
        "UNAVAILABLE",
        "99",
        "default",
        "other",
        "mesh",
        "a",
        "b",
    ),
    *("v1", "HTTP", "TCP", "TLS", "HTTPS", "STATIC", "DNS", "NONE", "SIMPLE", "MUTUAL", "DISABLE", "STRICT"),
    *(
        "a.default.svc.cluster.local",
        "*.default.svc.cluster.local",
        "one.test",
        "*.test",
        "*/*",
        "./*",
        "*.*",
    ),
    *([], {}, [None], [[]], [{}], {"": ""}, {"x": None}, {"prefix": ""}, {"exact": ""}, {"regex": ""}),
    *({"prefix": "/"}, {"seconds": 1}, {"value": 0}, {"value": 100}, {"number": 0}, {"number": 8080}),
)
"""Values that are often not what a field wants, and sometimes are just that."""

_DEPTH = 60
_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
}


class Mutations:
    """Draws manifests: those of `seeds`, each with up to three things changed."""

    def __init__(self, seeds: Sequence[Manifest], schemas: Mapping[str, Any], chance: random.Random) -> None:
        """Args: schemas: by kind, what a spec made up at random follows."""
        self._schemas = schemas
        self._seeds = seeds
        self._chance = chance
        self._by_key: dict[str, list[Any]] = {}
        for seed in seeds:
            for path, value in places(seed):
                if path and isinstance(path[-1], str):
                    self._by_key.setdefault(path[-1], []).append(value)

    def manifest(self) -> Manifest:
        """A manifest of a small set of names; what is wrong is never which object it is."""
        chance = self._chance
        seed = chance.choice(self._seeds)
        identity = {"name": seed["metadata"]["name"]}
        if seed["kind"] != "ConfigMap":
            identity["name"] = f"{seed['kind'].lower()}-{chance.randrange(2)}"
        if seed["kind"] == "ConfigMap":
            identity["namespace"] = "istio-system"
        elif seed["kind"] != "Node":
            identity["namespace"] = chance.choice(("default", "default", "default", "other", "istio-system"))
        made = copy.deepcopy(seed)
        if seed["kind"] in self._schemas and chance.random() < 0.3:
            made["spec"] = {**made.get("spec", {}), **self._generated(self._schemas[seed["kind"]], "spec")}
        for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3))):
            self._change(made)
        kept = made["metadata"] if isinstance(made["metadata"], dict) else {}
        free = {key: value for key, value in kept.items() if key in ("labels", "annotations")}
        return {
            **made,
            "apiVersion": seed["apiVersion"],
            "kind": seed["kind"],
            "metadata": {**free, **identity},
        }

    def _generated(self, schema: Any, name: str, depth: int = 0) -> Any:
        """A value of `schema` with a few of its fields; plain values are such as stand in fields of that `name`."""
        chance = self._chance
        if schema["type"] == "array":
            return [
                self._generated(schema["items"], name, depth + 1) for _ in range(chance.choice((1, 1, 2)))
            ]
        if "additionalProperties" in schema:
            key = chance.choice(("app", "x", "8080", "http", "r1/*", "version"))
            return {key: self._generated(schema["additionalProperties"], name, depth + 1)}
        if fields := schema.get("properties"):
            wanted = {
                *schema.get("required", ()),
                *chance.sample(sorted(fields), min(len(fields), 1 + (depth < 3))),
            }
            return {field: self._generated(fields[field], field, depth + 1) for field in sorted(wanted)}
        if schema.get("enum"):
            return chance.choice(schema["enum"])
        known = [item for item in self._by_key.get(name, ()) if isinstance(item, _TYPES[schema["type"]])]
        odd = [item for item in ODD if isinstance(item, _TYPES[schema["type"]])]
        return copy.deepcopy(chance.choice(known if known and chance.random() < 0.5 else odd))

    def _change(self, made: Manifest) -> None:
        chance = self._chance
        found = [path for path, _ in places(made) if path and _is_free(path)]
        if not found:
            return
        path = chance.choice(found)
        holder = made
        for step in path[:-1]:
            holder = holder[step]
        last = path[-1]
        match chance.randrange(7):
            case 0 | 1:
                holder[last] = copy.deepcopy(chance.choice(ODD))
            case 2:
                del holder[last]
            case 3 if isinstance(holder, list):
                holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(holder[last]))
            case 4:
                holder[last] = self._nested(holder[last])
            case _:
                self._borrow(holder, last)

    def _borrow(self, holder: Any, last: Any) -> None:
        """Takes what another manifest has in a field of that name, or a field that its neighbours have."""
        chance = self._chance
        if isinstance(last, str) and chance.random() < 0.6:
            holder[last] = copy.deepcopy(chance.choice(self._by_key.get(last, [None])))
        elif isinstance(holder, dict):
            key = chance.choice(sorted(self._by_key))
            holder[key] = copy.deepcopy(chance.choice(self._by_key[key]))
        else:
            holder.append(copy.deepcopy(chance.choice(ODD)))

    def _nested(self, value: Any) -> Any:
        for _ in range(self._chance.choice((1, 2, _DEPTH))):
            value = [value] if self._chance.random() < 0.5 else {"x": value}
        return value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a manifest, with what is there."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def _is_free(path: tuple[Any, ...]) -> bool:
    """Whether a change there leaves it clear which object it is, and that nothing outlives its deletion."""
    return (
        path[0] == "spec"
        or path[0] == "data"
        or path[:2] in (("metadata", "labels"), ("metadata", "annotations"))
    )
