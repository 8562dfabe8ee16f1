"""Strategic merge patch: a merge patch that knows which lists are sets of objects, and by which key. Pure.

Rules: kubernetes/community, contributors/devel/sig-api-machinery/strategic-merge-patch.md; the keys are the
`patchMergeKey` tags of the Kubernetes API types.
"""

from __future__ import annotations

from typing import Any

from harness.localmesh.api.status import bad_request

Path = tuple[str, ...]

_KEYS: dict[Path, str] = {
    ("containers",): "name",
    ("env",): "name",
    ("volumes",): "name",
    ("imagePullSecrets",): "name",
    ("secrets",): "name",
    ("volumeMounts",): "mountPath",
    ("topologySpreadConstraints",): "topologyKey",
    ("conditions",): "type",
    ("ownerReferences",): "uid",
    ("podIPs",): "ip",
    ("containers", "ports"): "containerPort",
    ("spec", "ports"): "port",
}
_SETS = frozenset(("finalizers",))
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def strategic_merge(original: Any, patch: Any, path: Path = ()) -> Any:
    """`original` with `patch` merged into it; `path` is where both are in the object.

    Raises:
        Refused: 400 when an element of a keyed list lacks its key, or a directive is unknown or malformed.
    """
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"{_text(path)}: unknown patch type: {directive}")
    merged = dict(original) if isinstance(original, dict) else {}
    if "$retainKeys" in patch:
        retained = _list(patch["$retainKeys"], (*path, "$retainKeys"))
        merged = {key: value for key, value in merged.items() if key in retained}
    _apply_lists(merged, patch, path)
    for key, value in patch.items():
        if key.startswith("$") or isinstance(value, list):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = strategic_merge(merged.get(key), value, (*path, key))
    return merged


def _apply_lists(merged: dict[str, Any], patch: dict[str, Any], path: Path) -> None:
    for key, value in patch.items():
        if key.startswith(_DELETE):
            field = key.removeprefix(_DELETE)
            gone, known = _list(value, (*path, key)), merged.get(field) or []
            merged[field] = [item for item in _list(known, (*path, field)) if item not in gone]
    ordered = {
        key.removeprefix(_ORDER): _list(value, (*path, key))
        for key, value in patch.items()
        if key.startswith(_ORDER)
    }
    changed = {
        key: value for key, value in patch.items() if isinstance(value, list) and not key.startswith("$")
    }
    for field in {**ordered, **changed}:
        if field in changed:
            merged[field] = _merged_list(merged.get(field) or [], changed[field], (*path, field))
        if field in ordered and isinstance(merged.get(field), list):
            merged[field] = _ordered(merged[field], ordered[field], (*path, field))


def _merged_list(known: Any, patch: list[Any], path: Path) -> list[Any]:
    key = _key(path)
    original = known if isinstance(known, list) else []
    if path[-1] in _SETS:
        return [
            *original,
            *(item for place, item in enumerate(patch) if item not in [*original, *patch[:place]]),
        ]
    if not key:
        return patch
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not isinstance(item, dict) or item.get("$patch") != "replace"]
    merged = list(original)
    for item in patch:
        _merge_item(merged, item, key, path)
    return merged


def _merge_item(merged: list[Any], item: Any, key: str, path: Path) -> None:
    if not isinstance(item, dict) or key not in item:
        raise bad_request(f"{_text(path)}: {item} does not contain declared merge key: {key}")
    places = [index for index, other in enumerate(merged) if other.get(key) == item[key]]
    if item.get("$patch") == "delete":
        merged[:] = [other for other in merged if other.get(key) != item[key]]
    elif places:
        merged[places[0]] = strategic_merge(merged[places[0]], item, path)
    else:
        merged.append(strategic_merge({}, item, path))


def _ordered(items: list[Any], order: list[Any], path: Path) -> list[Any]:
    """The items the patch orders in that order, the others where they were in relation to them."""
    key = _key(path)

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    named = sorted(
        (item for item in items if identity(item) in wanted), key=lambda item: wanted.index(identity(item))
    )
    others = [item for item in items if identity(item) not in wanted]
    result: list[Any] = []
    while named and others:
        first = named if items.index(named[0]) < items.index(others[0]) else others
        result.append(first.pop(0))
    return [*result, *named, *others]


def _list(value: Any, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{_text(path)}: {value!r} is no list")
    return value


def _key(path: Path) -> str:
    return _KEYS.get(path[-2:]) or _KEYS.get(path[-1:]) or ""


def _text(path: Path) -> str:
    return ".".join(path) or "patch"
