"""OpenAPI v3 of the served groups: for `kubectl explain`, and for `kubectl apply`, which looks up what PATCH takes.

The schemas are made of the structs that admission parses objects with: what they show is what the mesh takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from harness.localmesh.api.resources import Resource
from harness.localmesh.kinds import kubernetes
from harness.localmesh.kinds.parse import Manifest

_PATCH_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_REFERENCE = "#/components/schemas/{name}"
_INT_OR_STRING = {"type": "string", "format": "int-or-string", "x-kubernetes-int-or-string": True}


def document(group: str, version: str, resources: Iterable[Resource]) -> Manifest:
    """The document of one version of a group, with a schema for each builtin kind of `resources`."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    schemas: Manifest = {}
    paths = {}
    for resource in resources:
        home = "/namespaces/{namespace}" if resource.namespaced else ""
        kind = {"group": group, "version": version, "kind": resource.kind}
        paths[f"{root}{home}/{resource.plural}/{{name}}"] = {"get": _get(kind), "patch": _patch(kind)}
        if resource.kind in kubernetes.KINDS and resource.builtin:
            schemas |= _with_parts(resource.kind)
            schemas[resource.kind] |= {"x-kubernetes-group-version-kind": [kind]}
    return {
        "openapi": "3.0.0",
        "info": {"title": "local mesh", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


@cache
def _schemas() -> dict[str, Manifest]:
    """The schema of every struct that a builtin kind is made of."""
    _, found = msgspec.json.schema_components(tuple(kubernetes.KINDS.values()), ref_template=_REFERENCE)
    return {name: _plain(schema) for name, schema in found.items()}


def _with_parts(name: str) -> dict[str, Manifest]:
    """The schema of that name and those it refers to."""
    found: dict[str, Manifest] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found[current] = dict(_schemas()[current])
            waiting += _references(found[current])
    return found


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if "$ref" in schema else []
    return own + [name for item in schema.values() for name in _references(item)]


def _plain(schema: Any) -> Any:
    """JSON schema as OpenAPI v3.0 has it: no types that are lists, a type for every enum, no null."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        choices = [item for item in schema["anyOf"] if item.get("type") != "null"]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return {**rest, **(_plain(choices[0]) if len(choices) == 1 else _INT_OR_STRING)}
    kept = {key: _plain(value) for key, value in schema.items() if key not in ("default", "title")}
    if "enum" in kept and "type" not in kept:
        kept["type"] = "boolean" if isinstance(kept["enum"][0], bool) else "string"
    return kept


def _get(kind: Manifest) -> Manifest:
    return {
        "operationId": f"read{kind['kind']}",
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": kind,
    }


def _patch(kind: Manifest) -> Manifest:
    return {
        "operationId": f"patch{kind['kind']}",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in _PATCH_PARAMETERS
        ],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }
