"""Admission: what may enter the store, and what it looks like then.

What a struct does not hold is refused by name; the rules of each kind stand in `rules`.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from harness.localmesh.api.resources import Resource
from harness.localmesh.errors import Refused
from harness.localmesh.kinds import defaults, istio, kubernetes, names, podrules, rules
from harness.localmesh.kinds.parse import Kind, Manifest, invalid, unprintable
from harness.localmesh.store import Admitted

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
# Fields that Kubernetes does not ask for.
_WANTING = {
    "optional": ": the local mesh mounts no files; say true where the program can do without, or leave it out"
}
_CUSTOM = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))


def admit(
    operation: Literal["CREATE", "UPDATE", "STATUS", "ATTACH"],
    resource: Resource,
    new: Manifest,
    old: Manifest | None,
) -> Manifest | Admitted:
    """`new` with its defaults, when it is a valid object of `resource` and may follow `old`, and what to warn of.

    Raises:
        Refused: 400 for an unknown field or a wrong type, 422 for a value that is not allowed; the field is named.
    """
    if operation == "STATUS":
        _status(new)
        return new
    if not resource.builtin:
        new = {**new, "metadata": defaults.tidied(new["metadata"])}
        warnings = _custom(resource, new)
        names.check_finalizers(new, old)
        return Admitted(new, warnings) if warnings else new
    new = defaults.without_nulls(new)
    new["metadata"] = defaults.tidied(new["metadata"])
    _parse(new, resource.version, kubernetes.KINDS[resource.kind])
    names.check(resource, new)
    names.check_finalizers(new, old)
    for field in unprintable({key: new.get(key) for key in ("metadata", "spec")}, "", allowed="\t\n\r"):
        raise invalid(new, field.lstrip("."), "Invalid value: it holds a control character")
    new = _carried_over(new, old)
    rules.check(new)
    new = defaults.complete(new)
    if operation == "UPDATE" and old is not None:
        rules.check_change(new, old)
    elif operation == "ATTACH" and old is not None:
        podrules.check_attached(new, old)
    elif resource.kind == "Pod":
        podrules.check_born(new)
    return new


def _status(manifest: Manifest) -> None:
    if not isinstance(manifest.get("status", {}), dict):
        raise invalid(manifest, "status", "Invalid value: it is not an object")
    try:
        msgspec.convert(manifest.get("status", {}), kubernetes.Status)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        field = "status" + (f".{place['path']}" if place and place["path"] else "")
        raise invalid(manifest, field, _PLACE.sub("", text)) from None


def _custom(resource: Resource, manifest: Manifest) -> tuple[str, ...]:
    """The warnings about a valid object of Istio's."""
    for field in manifest:
        if field not in _CUSTOM:
            raise _unknown(manifest, resource.version, field)
    head = {key: manifest[key] for key in ("apiVersion", "kind")}
    _parse({**head, "metadata": manifest["metadata"]}, resource.version, kubernetes.Custom)
    names.check(resource, manifest)
    return istio.admit(manifest)


def _parse(manifest: Manifest, version: str, into: type[Kind]) -> None:
    try:
        msgspec.convert(manifest, into)
    except msgspec.ValidationError as error:
        text = str(error)
        if unknown := _UNKNOWN.fullmatch(text):
            raise _unknown(manifest, version, _joined(unknown["path"], unknown["name"])) from None
        place = _PLACE.search(text)
        field = place["path"] if place else ""
        why = _PLACE.sub("", text)
        if required := re.fullmatch(r"Object missing required field `(.*)`", why):
            why = _WANTING.get(required[1], "")
            raise invalid(manifest, _joined(field, required[1]), f"Required value{why}") from None
        if why.startswith("Invalid enum value"):
            raise invalid(manifest, field, f"Unsupported value: {why[19:]}") from None
        message = f"{_cannot_be_handled(manifest, version)}: {field}: {why[0].lower()}{why[1:]}"
        raise Refused(400, "BadRequest", message, field) from None


def _unknown(manifest: Manifest, version: str, field: str) -> Refused:
    return Refused(
        400,
        "BadRequest",
        f'{_cannot_be_handled(manifest, version)}: strict decoding error: unknown field "{field}" '
        "(Kubernetes does not know it, or the local mesh does not emulate it)",
        field,
    )


def _cannot_be_handled(manifest: Manifest, version: str) -> str:
    kind = manifest["kind"]
    return f'{kind} in version "{version}" cannot be handled as a {kind}'


def _joined(path: str | None, name: str) -> str:
    return f"{path}.{name}" if path else name


def _carried_over(new: Manifest, old: Manifest | None) -> Manifest:
    """A Service keeps its address when the writer leaves it out, as with `kubectl replace`."""
    if old is None or new["kind"] != "Service":
        return new
    kept = {key: old["spec"][key] for key in ("clusterIP", "clusterIPs") if key in old["spec"]}
    return {**new, "spec": {**kept, **new["spec"]}}
