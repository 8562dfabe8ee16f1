"""What a client asks before it asks for objects: groups, kinds, versions, and where their OpenAPI is."""

from __future__ import annotations

from typing import Any

from harness.localmesh.api import openapi
from harness.localmesh.api.absent import ABSENT
from harness.localmesh.api.messages import Request, Response, response
from harness.localmesh.api.resources import RESOURCES, Resource, api_version
from harness.localmesh.api.reviews import REVIEWS
from harness.localmesh.kinds.parse import Manifest

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_ABSENT_VERBS = ("create", "get", "list", "patch", "watch")
_SERVED = (*RESOURCES, *REVIEWS, *ABSENT)
_SUBRESOURCE_VERBS = {
    "eviction": ("create",),
    "log": ("get",),
    "proxy": ("create", "delete", "get", "patch", "update"),
}
_OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# A protobuf Document with `swagger: "2.0"` and an `info` of title "local mesh" and version "1": no
# definitions.
_EMPTY_OPENAPI_V2 = b"\x0a\x032.0\x12\x0f\x0a\x0alocal mesh\x12\x011"
_VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+mesh-harness",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def document(request: Request) -> Response | None:
    """The answer to a GET of a discovery path, None when the path is no such."""
    path = request.path.rstrip("/") or "/"
    if path == "/openapi/v2":
        return Response(200, _EMPTY_OPENAPI_V2, _OPENAPI_V2)
    body = _DOCUMENTS.get(path)
    return Response(200, body, "text/plain" if path in _HEALTH else "application/json") if body else None


def _groups() -> dict[str, tuple[str, ...]]:
    """The versions of each group, the preferred one first."""
    found: dict[str, dict[str, None]] = {}
    for resource in _SERVED:
        found.setdefault(resource.group, {}).update(dict.fromkeys(resource.versions))
    return {group: tuple(versions) for group, versions in found.items()}


def _group(group: str, versions: tuple[str, ...]) -> Manifest:
    listed = [{"groupVersion": api_version(group, version), "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _served(group: str, version: str) -> list[Resource]:
    return [resource for resource in _SERVED if resource.group == group and version in resource.versions]


def _resource_list(group: str, version: str) -> Manifest:
    entries = []
    for resource in _served(group, version):
        entries.append(_entry(resource))
        entries += [_subresource(resource, name) for name in resource.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": entries,
    }


def _entry(resource: Resource) -> Manifest:
    return {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
        "shortNames": resource.short,
        "categories": resource.categories,
    }


def _verbs(resource: Resource) -> tuple[str, ...]:
    if resource in REVIEWS:
        return ("create",)
    if resource in ABSENT:
        return _ABSENT_VERBS
    return tuple(verb for verb in _VERBS if not resource.derived or verb not in ("create", "patch", "update"))


def _subresource(resource: Resource, name: str) -> Manifest:
    entry = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _SUBRESOURCE_VERBS.get(name, ("get", "patch", "update")),
    }
    if name == "scale":
        return {**entry, "kind": "Scale", "group": "autoscaling", "version": "v1"}
    if name == "eviction":
        return {**entry, "kind": "Eviction", "group": "policy", "version": "v1"}
    return {**entry, "kind": "PodProxyOptions"} if name == "proxy" else entry


def _documents() -> dict[str, bytes]:
    groups = _groups()
    documents: dict[str, Any] = {"/version": _VERSION}
    index = {}
    for group, versions in groups.items():
        for version in versions:
            root = f"apis/{group}/{version}" if group else f"api/{version}"
            documents[f"/{root}"] = _resource_list(group, version)
            documents[f"/openapi/v3/{root}"] = openapi.document(group, version, _served(group, version))
            index[root] = {"serverRelativeURL": f"/openapi/v3/{root}?hash=1"}
        if group:
            documents[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}
    documents["/openapi/v3"] = {"paths": index}
    documents["/api"] = {"kind": "APIVersions", "versions": groups[""], "serverAddressByClientCIDRs": []}
    named = [_group(group, versions) for group, versions in groups.items() if group]
    documents["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
    documents["/"] = {"paths": sorted([*documents, *_HEALTH])}
    return {path: response(value).body for path, value in documents.items()} | dict.fromkeys(_HEALTH, b"ok")


_HEALTH = ("/healthz", "/livez", "/readyz")
_DOCUMENTS = _documents()
