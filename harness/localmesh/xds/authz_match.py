"""The values of an AuthorizationPolicy's field or condition as a matcher of Envoy's RBAC.

An attribute belongs to what is asked for (Envoy's *permissions*) or to who asks (its *principals*). Attributes have
the names of the keys of `when`. Source: istio/istio `pilot/pkg/security/authz/model/generator.go` and
`pilot/pkg/security/authz/matcher`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.localmesh.xds.model import TRUST_DOMAIN, Resource
from harness.localmesh.xds.proto import extension

_HEADER = "request.headers"
_METADATA = "experimental.envoy.filters."
_SPIFFE = "spiffe://"
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True)
class Side:
    """The words by which Envoy joins permissions or principals."""

    every: str
    some: str
    no: str
    items: str

    def all_of(self, parts: Sequence[Resource]) -> Resource:
        """What holds when each of `parts` does; without any it always holds."""
        return {self.every: {self.items: [*parts] or [{"any": True}]}}

    def any_of(self, parts: Sequence[Resource]) -> Resource:
        """What holds when one of `parts` does."""
        return {self.some: {self.items: [*parts]}}


PERMISSION = Side("and_rules", "or_rules", "not_rule", "rules")
"""What is asked for."""

PRINCIPAL = Side("and_ids", "or_ids", "not_id", "ids")
"""Who asks."""


@dataclass(frozen=True)
class Attribute:
    """How values are matched; an `http_only` attribute does not exist on a TCP connection.

    `match` gives the matcher that holds when one of the values does; it raises ValueError for one that istiod does not
    translate.
    """

    side: Side
    match: Callable[[Sequence[str]], Resource]
    http_only: bool = False


def attribute(key: str) -> Attribute:
    """The attribute that `key` of a condition names; `source.serviceAccount` wants its values as "namespace/name".

    Raises:
        LookupError: there is none of that name.
    """
    if key.startswith(_HEADER):
        return _each(PRINCIPAL, lambda value: {"header": _header(_in_brackets(key), value)}, http_only=True)
    if key.startswith(_METADATA):
        return Attribute(PERMISSION, lambda values: _metadata(key, values))
    if key not in _ATTRIBUTES:
        raise LookupError(f"{key!r} is no attribute that is translated; those are {', '.join(_ATTRIBUTES)}")
    return _ATTRIBUTES[key]


def _each(side: Side, one: Callable[[str], Resource], *, http_only: bool = False) -> Attribute:
    """The attribute of which `one` matches a single value."""
    return Attribute(side, lambda values: side.any_of([one(value) for value in values]), http_only)


def _metadata(key: str, values: Sequence[str]) -> Resource:
    """`experimental.envoy.filters.a.b[c]` reads `c` of the filter `envoy.filters.a.b`; "[v]" is a list that has v.

    istiod gives all values to one matcher, unlike those of the other attributes.
    """
    name, _, path = key.removeprefix("experimental.").removesuffix("]").partition("[")
    found = [_metadata_value(value) for value in values]
    value = found[0] if len(found) == 1 else {"or_match": {"value_matchers": found}}
    return {"metadata": {"filter": name, "path": [{"key": path}], "value": value}}


def _metadata_value(value: str) -> Resource:
    if value.startswith("[") and value.endswith("]"):
        return {"list_match": {"one_of": {"string_match": _text(value.strip("[]"))}}}
    return {"string_match": _text(value)}


def _text(value: str, prefix: str = "") -> Resource:
    """A lone "*" is anything but nothing, "*x" a suffix, "x*" a prefix; `prefix` goes before what is written."""
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        rest = value[1:]
        return _regex(f"{prefix}.*{_quoted(rest)}") if prefix else {"suffix": rest}
    if value.endswith("*"):
        return {"prefix": prefix + value[:-1]}
    return {"exact": prefix + value}


def _regex(regex: str) -> Resource:
    return {"safe_regex": {"regex": regex}}


def _quoted(literal: str) -> str:
    """`literal` with exactly the signs escaped that Go's regexp.QuoteMeta escapes."""
    return _SPECIAL.sub(r"\\\g<0>", literal)


def _header(name: str, value: str, *, ignore_case: bool = False) -> Resource:
    if value == "*":
        return {"name": name, "present_match": True}
    case = {"ignore_case": True} if ignore_case else {}
    return {"name": name, "string_match": {**_text(value), **case}}


def _in_brackets(key: str) -> str:
    name = key.removeprefix(_HEADER)
    if not (name.startswith("[") and name.endswith("]")):
        raise ValueError(f"{key!r} names no header; write {_HEADER}[name]")
    return name[1:-1]


def _path(value: str) -> Resource:
    """`{*}` stands for one segment and `{**}` for any number; istiod writes them as Envoy's `*` and `**`."""
    if "{*}" in value or "{**}" in value:
        kind = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
        template = value.replace("{*}", "*").replace("{**}", "**")
        return {"uri_template": extension("uri-template", kind, path_template=template)}
    return {"url_path": {"path": _text(value)}}


def _range(value: str) -> Resource:
    """A block as it is written, bits behind its length included, or the block of one address."""
    written, slash, length = value.partition("/")
    address = ipaddress.ip_address(written)
    bits = _number(length, address.max_prefixlen) if slash else address.max_prefixlen
    # Go writes an IPv4 address inside IPv6 with dots, Python (before 3.13) does not.
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return {"address_prefix": f"::ffff:{inner}" if inner else str(address), "prefix_len": bits}


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= most):
        raise ValueError(f"{text!r} is no number from 0 to {most}")
    return int(text)


def _authenticated(matcher: Resource) -> Resource:
    return {"authenticated": {"principal_name": matcher}}


def _namespace(value: str) -> Resource:
    """A `*` may stand anywhere in a namespace."""
    return _regex(f".*/ns/{'.*'.join(map(_quoted, value.split('*')))}/.*")


def _service_account(value: str) -> Resource:
    """Other pairs of names and values may stand around the namespace and the account."""
    namespace, _, account = value.partition("/")
    return _regex(f"spiffe://.+/ns/{_quoted(namespace)}/(.+/|)sa/{_quoted(account)}(/.+)?")


def _trust_domain(value: str) -> Resource:
    if value == "*":
        return {"prefix": _SPIFFE}
    before, wildcard, after = value.partition("*")
    if not wildcard:
        return {"prefix": f"{_SPIFFE}{value}/"}
    return _regex(f"{_SPIFFE}{_quoted(before)}[^/]*{_quoted(after)}/.*")


def _identity(value: str) -> Resource:
    """A principal `domain/ns/x/sa/y`.

    istiod puts the mesh's trust domain in the place of one whose written beginning fits it ("cluster*/ns/..."), since
    it would be an exact match otherwise (`trustdomain/bundle.go`); "*local/ns/..." stays as it is.
    """
    domain, *rest = value.split("/")
    if len(rest) == 4 and domain != "*" and domain.endswith("*") and TRUST_DOMAIN.startswith(domain[:-1]):
        value = "/".join([TRUST_DOMAIN, *rest])
    return _text(value, _SPIFFE)


HOST = _each(
    PERMISSION, lambda value: {"header": _header(":authority", value, ignore_case=True)}, http_only=True
)
"""The host asked for, in any case."""

METHOD = _each(PERMISSION, lambda value: {"header": _header(":method", value)}, http_only=True)
"""The HTTP method."""

PATH = _each(PERMISSION, _path, http_only=True)
"""The path without its query."""

_ATTRIBUTES: Mapping[str, Attribute] = {
    "destination.ip": _each(PERMISSION, lambda value: {"destination_ip": _range(value)}),
    "destination.port": _each(PERMISSION, lambda value: {"destination_port": _number(value, 65535)}),
    "connection.sni": _each(PERMISSION, lambda value: {"requested_server_name": _text(value)}),
    "source.principal": _each(PRINCIPAL, lambda value: _authenticated(_identity(value))),
    "source.serviceAccount": _each(PRINCIPAL, lambda value: _authenticated(_service_account(value))),
    "source.trustDomain": _each(PRINCIPAL, lambda value: _authenticated(_trust_domain(value))),
    "source.namespace": _each(PRINCIPAL, lambda value: _authenticated(_namespace(value))),
    "remote.ip": _each(PRINCIPAL, lambda value: {"remote_ip": _range(value)}),
    "source.ip": _each(PRINCIPAL, lambda value: {"direct_remote_ip": _range(value)}),
}
