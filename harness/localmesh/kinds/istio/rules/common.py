"""What Istio's kinds have in common: names, hosts, labels, selectors, visibility, header names, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network

from harness.localmesh.kinds.istio import re2
from harness.localmesh.kinds.istio.values import Labels, Problem
from harness.localmesh.kinds.parse import Manifest

_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_LABEL_ONLY = re.compile(_LABEL)
_FIRST_LABEL = re.compile(rf"\*|(?:\*-?)?{_LABEL}")
_NUMBER = re.compile(r"[-+]?[0-9]+")
_QUALIFIED = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_KEY = re.compile(rf"(?:(?P<prefix>{_LABEL}(?:\.{_LABEL})*)/)?(?P<name>{_QUALIFIED})")
_LABEL_VALUE = re.compile(rf"(?:{_QUALIFIED})?")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_CRD_LABEL_LENGTH = 63


def namespace_of(manifest: Manifest) -> str:
    """The namespace `manifest` stands in."""
    return str((manifest.get("metadata") or {}).get("namespace", ""))


def under(place: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    """`problems` with their fields moved below `place`."""
    for field, why in problems:
        yield f"{place}.{field}" if field else place, why


def each(place: str, problems: Iterable[Iterable[Problem]]) -> Iterator[Problem]:
    """The problems of each item of the list at `place`, moved below its item."""
    for index, found in enumerate(problems):
        yield from under(f"{place}[{index}]", found)


def is_label(name: str) -> bool:
    """Whether Istio takes `name` for a DNS label; capitals are allowed."""
    return len(name) <= 63 and _LABEL_ONLY.fullmatch(name) is not None


def label_problems(field: str, name: str) -> Iterator[Problem]:
    """What keeps `name` from being a DNS label."""
    if not is_label(name):
        yield field, f"{name!r} is no DNS label (letters, digits, dashes, at most 63 characters)"


def host_problems(field: str, host: str) -> Iterator[Problem]:
    """What keeps `host` from being a DNS name, or one whose first label is a wildcard (`ValidateWildcardDomain`)."""
    first, dot, rest = host.partition(".")
    whole = len(first) <= 63 and _FIRST_LABEL.fullmatch(first) and (not dot or _is_domain(rest))
    if not whole or len(host) > 255:
        yield field, f'{host!r} is no host name; a wildcard is "*" or begins the first label, as in "*.test"'


def name_problems(field: str, host: str) -> Iterator[Problem]:
    """What keeps `host` from being a DNS name without wildcards (`ValidateFQDN`)."""
    if not is_name(host):
        yield field, f"{host!r} is no host name (labels of letters, digits and dashes, joined by dots)"


def is_name(host: str) -> bool:
    """Whether `host` is a DNS name without wildcards."""
    return 0 < len(host) <= 255 and _is_domain(host)


def _is_domain(name: str) -> bool:
    *labels, last = name.split(".")
    return all(is_label(label) for label in labels) and (
        not last or (is_label(last) and not _NUMBER.fullmatch(last))
    )


def gateway_problems(field: str, names: Iterable[str]) -> Iterator[Problem]:
    """What keeps `names` from naming gateways: "namespace/name", "name" or "mesh"."""
    for index, name in enumerate(names):
        namespace, slash, rest = name.partition("/")
        if not slash:
            yield from name_problems(f"{field}[{index}]", name)
        elif not (is_label(namespace) and is_label(rest)):
            yield f"{field}[{index}]", f'{name!r} is no gateway; write "name", "namespace/name" or "mesh"'


def partial_wildcard(host: str) -> bool:
    """Whether a wildcard is only a part of the first label, as in "*-a.test"."""
    return "*" in host and len(host) != 1 and not host.startswith("*.")


def covers(wide: str, host: str) -> bool:
    """Whether every name that `host` stands for is one of those `wide` stands for (`host.Name.SubsetOf`)."""
    if wide.startswith("*"):
        return (
            len(host) >= len(wide) and host.endswith(wide[1:])
            if host.startswith("*")
            else host.endswith(wide[1:])
        )
    return host == wide


def overlap(one: str, other: str) -> bool:
    """Whether `one` and `other` share a name (`host.Name.Matches`)."""
    return covers(one, other) or covers(other, one)


def is_address(text: str) -> bool:
    """Whether `text` is an IP address; scoped ones (`fe80::1%eth0`) are none."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def subnet_problems(field: str, text: str) -> Iterator[Problem]:
    """What keeps `text` from being an IP address or a block of them in CIDR notation."""
    address, slash, length = text.partition("/")
    good = is_address(address)
    if good and slash:
        widest = ip_network(address).prefixlen
        good = _PREFIX_LENGTH.fullmatch(length) is not None and int(length) <= widest
    if not good:
        yield field, f"{text!r} is no IP address and no CIDR block"


def tag_problems(field: str, labels: Labels) -> Iterator[Problem]:
    """What keeps `labels` from being labels of Kubernetes (`labels.Instance.Validate`)."""
    for key, value in labels.items():
        found = _LABEL_KEY.fullmatch(key)
        if found is None or len(found["prefix"] or "") > 253 or len(found["name"]) > 63:
            yield f"{field}[{key}]", f"{key!r} is no name of a label"
        elif not _LABEL_VALUE.fullmatch(value):
            yield f"{field}[{key}]", f"{value!r} is no value of a label"


def selector_problems(field: str, labels: Labels) -> Iterator[Problem]:
    """What Istio holds against the labels of a selector; its CRDs add the length."""
    for key, value in labels.items():
        if not key or "*" in key + value:
            yield f"{field}[{key}]", "a label must have a name, and wildcards are not allowed"
        if len(value) > _CRD_LABEL_LENGTH:
            yield f"{field}[{key}]", f"the value is longer than {_CRD_LABEL_LENGTH} characters"


def export_problems(
    names: Sequence[str], namespace: str, *, nobody: bool = False, own_only: bool = False
) -> Iterator[Problem]:
    """What Istio holds against `exportTo`: `nobody` allows "~", `own_only` the own namespace alone."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        key = namespace if name == "." else name
        if key in seen:
            yield f"exportTo[{index}]", f"{name!r} stands there twice"
        elif name not in (".", "*") and not (nobody and name == "~") and not is_label(name):
            yield f"exportTo[{index}]", f'{name!r} is neither "." nor "*" nor a namespace'
        seen.add(key)
    if len(seen) > 1:
        for alone in ("*", "~"):
            if alone in seen:
                yield "exportTo", f'"{alone}" stands with other namespaces; it must be the only one'
    if own_only and seen - {namespace}:
        yield "exportTo", "with a workloadSelector it can name the resource's own namespace only"


def regex_problems(field: str, regex: str) -> Iterator[Problem]:
    """What keeps `regex` from being an expression that Envoy takes."""
    if why := re2.fault(regex):
        yield field, f"{regex!r} {why}" if regex else why


def is_header(name: str) -> bool:
    """Whether `name` can be the name of an HTTP header."""
    return _TOKEN.fullmatch(name) is not None


def repeated(items: Iterable[str | int]) -> str | int | None:
    """The first item that stands twice in `items`."""
    seen: set[str | int] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None
