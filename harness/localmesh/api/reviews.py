"""Questions about what the caller may do: the one token may do everything that is served.

Answers as kubernetes/kubernetes' `pkg/registry/authorization` gives them; nothing is stored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.localmesh.api.messages import Request, Response, decode_object, response
from harness.localmesh.api.resources import RESOURCES, Resource
from harness.localmesh.api.status import bad_request, no_such_method
from harness.localmesh.kinds.parse import Kind, Manifest, parse

_USER = "mesh-user"
_GROUPS = ("system:masters", "system:authenticated")
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch", "*")
_SUBRESOURCES = {"eviction": ("create",), "log": ("get",)}


class _ResourceAttributes(Kind):
    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    field_selector: dict[str, Any] = msgspec.field(default_factory=dict)
    label_selector: dict[str, Any] = msgspec.field(default_factory=dict)


class _PathAttributes(Kind):
    path: str = ""
    verb: str = ""


class _Access(Kind):
    resource_attributes: _ResourceAttributes | None = None
    non_resource_attributes: _PathAttributes | None = None


class _Rules(Kind):
    namespace: str = ""


_ACCESS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
_RULES = Resource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False
)
_SELF = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)

REVIEWS = (_ACCESS, _RULES, _SELF)
"""The kinds that are asked and not stored."""


def answer(request: Request, resource: Resource, name: str) -> Response:
    """The review that a POST brought, with its status filled in.

    Raises:
        Refused: 405 for another method, 400 or 422 for a body that is no such review.
    """
    if request.method != "POST" or name:
        raise no_such_method()
    review = decode_object(request.body, request.media_type)
    if review.get("kind", resource.kind) != resource.kind:
        raise bad_request(f"the body is a {review['kind']}, not a {resource.kind}")
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}}
    spec, status = review.get("spec") or {}, _ANSWERS[resource](review)
    return response({**head, **({"spec": spec} if spec else {}), "status": status}, 201)


def _access(review: Manifest) -> Manifest:
    asked = parse(review, "spec", _Access)
    if (asked.resource_attributes is None) == (asked.non_resource_attributes is None):
        raise bad_request("spec: exactly one of resourceAttributes and nonResourceAttributes is wanted")
    if asked.resource_attributes is None:
        return {"allowed": True}
    why = _refusal(asked.resource_attributes)
    return {"allowed": False, "reason": why} if why else {"allowed": True}


def _refusal(asked: _ResourceAttributes) -> str:
    """Why that cannot be done, "" when it can."""
    if asked.resource == "*" and asked.group in ("*", ""):
        return ""
    known = [item for item in RESOURCES if item.plural == asked.resource and asked.group in (item.group, "*")]
    if not known:
        return f"the local mesh has no {asked.resource or 'such resource'}"
    if asked.subresource not in ("", "*", *known[0].subresources):
        return f"the local mesh does not serve {asked.resource}/{asked.subresource}"
    verbs = _SUBRESOURCES.get(asked.subresource, _VERBS)
    if asked.verb not in verbs:
        return f"the local mesh does not know the verb {asked.verb!r} for {asked.resource}"
    if known[0].derived and asked.verb in ("create", "patch", "update"):
        return f"the local mesh writes {asked.resource} itself"
    return ""


def _rules(review: Manifest) -> Manifest:
    parse(review, "spec", _Rules)
    resources = [
        {"verbs": list(_VERBS[:-1]), "apiGroups": [group], "resources": plurals}
        for group, plurals in _by_group().items()
    ]
    paths = [{"verbs": ["get"], "nonResourceURLs": ["*"]}]
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def _by_group() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for resource in RESOURCES:
        subresources = (f"{resource.plural}/{name}" for name in resource.subresources)
        groups.setdefault(resource.group, []).extend((resource.plural, *subresources))
    return groups


def _self(review: Manifest) -> Manifest:
    return {"userInfo": {"username": _USER, "groups": list(_GROUPS)}}


_ANSWERS = {_ACCESS: _access, _RULES: _rules, _SELF: _self}
