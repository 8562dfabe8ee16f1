"""From a raw manifest to a typed struct, or a refusal that names the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, dataclass_transform

import msgspec

from harness.localmesh.errors import Refused

Manifest = dict[str, Any]
"""A Kubernetes object as JSON: the only raw dict in the project."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Kind(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """Base of every struct that stands for a part of a manifest: camelCase there, unknown fields refused."""


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_VALUE = re.compile(r"Invalid enum value '(?P<value>.*)'")
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")


def invalid(manifest: Manifest, field: str, why: str) -> Refused:
    """The refusal of `manifest` because of `field`, worded and coded as Kubernetes does (422, `Invalid`)."""
    kind = manifest.get("kind", "object")
    metadata = manifest.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    return Refused(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {why}', field)


def parse(
    manifest: Manifest,
    section: str,
    into: type[T],
    decode: Callable[[type, Any], Any] | None = None,
    hints: Mapping[str, str] | None = None,
    *,
    hint: str = "",
) -> T:
    """The part `manifest[section]` as `into` (an absent section is an empty one).

    `decode(type, value)` makes values of types that JSON does not know, and raises ValueError for a value that
    is none of that type. `hints` say, by the name of an unknown field or by an unknown value, what to do instead;
    `hint` says it of all others.

    Raises:
        Refused: 422 with the path of the first field that is unknown or has the wrong type.
    """
    try:
        return msgspec.convert(manifest.get(section) or {}, into, dec_hook=decode)
    except msgspec.ValidationError as error:
        field, why = _explain(section, str(error), hints or {}, hint)
        raise invalid(manifest, field, why) from None


def unprintable(value: Any, path: str, *, allowed: str = "") -> Iterator[str]:
    """The paths below `path` of strings (and keys) with control characters other than those `allowed`."""
    if isinstance(value, str):
        # Nearly every string of a manifest is printable, which is known fast.
        if not value.isprintable() and any(ord(sign) < 32 and sign not in allowed for sign in value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from unprintable(key, path, allowed=allowed)
            yield from unprintable(item, f"{path}.{key}", allowed=allowed)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unprintable(item, f"{path}[{index}]", allowed=allowed)


def _explain(section: str, message: str, hints: Mapping[str, str], hint: str) -> tuple[str, str]:
    place = _PLACE.search(message)
    field = section + (place["path"] if place else "")
    text = _PLACE.sub("", message)
    if unknown := _UNKNOWN.match(text):
        why = hints.get(
            unknown["name"], hint or "this field is unknown or the local mesh does not emulate it"
        )
        return f"{field}.{unknown['name']}", why
    if (value := _VALUE.fullmatch(text)) and (why := hints.get(value["value"], hint)):
        return field, f"{text[0].lower()}{text[1:]}: {why}"
    return field, text[0].lower() + text[1:]
