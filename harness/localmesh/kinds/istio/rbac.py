"""What Envoy's RBAC cannot take of an AuthorizationPolicy, though Istio's webhook lets most of it pass.

Found by trying with Envoy 1.40: a path template it cannot parse makes it crash, the others make it reject its listener.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy, Operation, Source
from harness.localmesh.kinds.istio.values import Problem

_ADDRESSES = frozenset(
    {"ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks", "source.ip", "remote.ip", "destination.ip"}
)  # fmt: skip
_TEXT = r"/[-a-zA-Z0-9._~%!$&'()+,;:@=]+"
_TEMPLATE = re.compile(rf"(?:/\{{\*\}}|{_TEXT})*(?:/\{{\*\*\}}(?:{_TEXT})*)?/?")
_LONGEST_TEMPLATE = 256
# The longest identity that SPIFFE allows, in bytes; a regular expression of ten times as many would be too long.
_LONGEST_IDENTITY = 2048


def problems(spec: AuthorizationPolicy) -> Iterator[Problem]:
    """The fields of `spec` that would make Envoy crash or reject its configuration, as paths inside the spec."""
    for number, rule in enumerate(spec.rules or ()):
        place = f"rules[{number}]"
        for index, source in enumerate(rule.from_):
            for attribute, field, value in _values(
                source.source or Source(), f"{place}.from[{index}].source"
            ):
                yield from _source_problems(attribute, field, value)
        for index, to in enumerate(rule.to):
            for attribute, field, value in _values(
                to.operation or Operation(), f"{place}.to[{index}].operation"
            ):
                if attribute in ("paths", "notPaths"):
                    yield from _template_problems(field, value)
        for index, condition in enumerate(rule.when):
            for name, values in (("values", condition.values), ("notValues", condition.not_values)):
                for each, value in enumerate(values):
                    yield from _source_problems(condition.key, f"{place}.when[{index}].{name}[{each}]", value)


def _values(part: Source | Operation, place: str) -> Iterator[tuple[str, str, str]]:
    """The name of the field, its path and the value, for every value of a source or an operation."""
    for attribute, name in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True):
        for index, value in enumerate(getattr(part, attribute)):
            yield name, f"{place}.{name}[{index}]", value


def _source_problems(attribute: str, field: str, value: str) -> Iterator[Problem]:
    if attribute in _ADDRESSES:
        if "%" in value:
            yield (
                field,
                f"{value!r} names a zone, which means something on one machine only; leave the zone out",
            )
    elif "." in attribute and not attribute.startswith("source."):
        return
    elif len(value.encode()) > _LONGEST_IDENTITY:
        yield field, f"it has more than {_LONGEST_IDENTITY} bytes, which no identity of SPIFFE has"


def _template_problems(field: str, path: str) -> Iterator[Problem]:
    if "{*}" not in path and "{**}" not in path:
        return
    template = path.replace("{*}", "*").replace("{**}", "**")
    if not _TEMPLATE.fullmatch(path):
        yield (
            field,
            f"the path template {path!r} must consist of segments behind single slashes, "
            "each {*}, {**} (with neither behind it) or plain text",
        )
    elif len(template) > _LONGEST_TEMPLATE:
        yield (
            field,
            f"a path template has at most {_LONGEST_TEMPLATE} characters; this one has {len(template)}",
        )
