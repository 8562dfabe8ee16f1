"""The patch formats by media type. Pure: an object and a patch in, a new object out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonpatch
import jsonpointer

from harness.localmesh.api.resources import Resource
from harness.localmesh.api.status import bad_request, unsupported_media
from harness.localmesh.api.strategic import strategic_merge
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


Patch = Callable[[Manifest, Any], Any]
"""From an object and a patch to the patched object."""


def patcher(resource: Resource, media_type: str) -> Patch:
    """What applies patches of that media type to objects of `resource`.

    Raises:
        Refused: 415 when the type is not served: a strategic merge patch only for builtin kinds.
    """
    served: dict[str, Patch] = {JSON_PATCH: json_patch, MERGE_PATCH: _merged}
    if resource.builtin:
        served[STRATEGIC_MERGE_PATCH] = _strategically_merged
    if media_type not in served:
        raise unsupported_media((*served, APPLY), "an apply is served on the object and its status")
    return served[media_type]


def json_patch(original: Manifest, patch: Any) -> Any:
    """RFC 6902: every operation applied in turn, or none.

    Raises:
        Refused: 400 when `patch` is no list of operations, 422 when one cannot be applied or a test fails.
    """
    if not isinstance(patch, list):
        raise bad_request("a JSON patch is a list of operations")
    try:
        return jsonpatch.JsonPatch(patch).apply(copy.deepcopy(original))
    except (jsonpatch.InvalidJsonPatch, jsonpointer.JsonPointerException) as error:
        if isinstance(error, jsonpatch.InvalidJsonPatch):
            raise bad_request(f"invalid JSON patch: {error}") from None
        raise _not_applicable(error) from None
    except jsonpatch.JsonPatchException as error:
        raise _not_applicable(error) from None


def merge_patch(original: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(original) if isinstance(original, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _merged(original: Manifest, patch: Any) -> Any:
    return merge_patch(original, _object(patch))


def _strategically_merged(original: Manifest, patch: Any) -> Any:
    return strategic_merge(original, _object(patch))


def _object(patch: Any) -> Manifest:
    if not isinstance(patch, dict):
        raise bad_request("a merge patch is an object")
    return patch


def _not_applicable(error: Exception) -> Refused:
    return Refused(422, "Invalid", f"the server rejected our request due to an error in our request: {error}")
