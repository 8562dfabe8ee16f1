"""What Istio's webhook holds against an AuthorizationPolicy (`ValidateAuthorizationPolicy`, `pkg/config/security`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from harness.localmesh.kinds.istio import rbac
from harness.localmesh.kinds.istio.authorizationpolicy import (
    AuthorizationPolicy,
    Condition,
    Operation,
    Rule,
    Source,
)
from harness.localmesh.kinds.istio.rules.common import each, selector_problems, subnet_problems, under
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

_PATH_PART = re.compile(r"[-a-zA-Z0-9._~%!$&'()+,;:@=]+")
_TEMPLATES = ("{*}", "{**}")
_HEADER = re.compile(r"request\.headers\[.+\]", re.DOTALL)
_ADDRESSES = ("source.ip", "remote.ip", "destination.ip")
_PLAIN = ("source.namespace", "source.principal", "connection.sni")
_REPLACED = {
    "destination.namespace": "write the policy into that namespace",
    "destination.name": "use a selector",
    "destination.user": "use a selector",
}


def problems(spec: AuthorizationPolicy, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    yield from selector_problems("selector.matchLabels", spec.selector.match_labels)
    if spec.action == "DENY" and not spec.rules:
        yield "rules", "a DENY policy without rules denies nothing; add the rule {} to deny everything"
    yield from each("rules", map(_rule_problems, spec.rules))
    yield from rbac.problems(spec)


def warnings(spec: AuthorizationPolicy, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    if spec.action != "DENY":
        return
    for index, rule in enumerate(spec.rules):
        sources = [one.source for one in rule.from_ if one.source is not None]
        operations = [one.operation for one in rule.to if one.operation is not None]
        tcp_from = any(_tells_connections(source) for source in sources)
        tcp_to = any(operation.ports or operation.not_ports for operation in operations)
        if (sources and not operations and not tcp_from) or (operations and not tcp_to):
            yield (
                f"rules[{index}]",
                "uses HTTP attributes only, so it denies all traffic to TCP ports; name the ports",
            )


def _tells_connections(source: Source) -> bool:
    lists = msgspec.structs.asdict(source)
    return any(value for name, value in lists.items() if "trust_domains" not in name)


def _rule_problems(rule: Rule) -> Iterator[Problem]:
    for index, one in enumerate(rule.from_):
        if one.source is None or one.source == Source():
            yield f"from[{index}].source", "must not be empty"
        else:
            yield from under(f"from[{index}].source", _source_problems(one.source))
    for index, to in enumerate(rule.to):
        if to.operation is None or to.operation == Operation():
            yield f"to[{index}].operation", "must not be empty"
        else:
            yield from under(f"to[{index}].operation", _operation_problems(to.operation))
    yield from each("when", map(_condition_problems, rule.when))


def _source_problems(source: Source) -> Iterator[Problem]:
    others = source.principals + source.not_principals + source.namespaces + source.not_namespaces
    if others and (source.service_accounts or source.not_service_accounts):
        yield "serviceAccounts", "cannot stand together with principals or namespaces"
    for name in ("principals", "notPrincipals", "namespaces", "notNamespaces"):
        yield from _empty_problems(name, _values(source, name))
    for name in ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"):
        yield from _address_problems(name, _values(source, name))
    for name in ("serviceAccounts", "notServiceAccounts"):
        yield from _account_problems(name, _values(source, name))
    for name in ("trustDomains", "notTrustDomains"):
        yield from _wildcard_problems(name, _values(source, name))
        for index, value in enumerate(_values(source, name)):
            if "/" in value:
                yield f"{name}[{index}]", f'{value!r} is no trust domain; it has a "/"'


def _operation_problems(operation: Operation) -> Iterator[Problem]:
    for name in ("ports", "notPorts"):
        yield from _port_problems(name, _values(operation, name))
    for name in ("methods", "notMethods", "hosts", "notHosts", "paths", "notPaths"):
        yield from _empty_problems(name, _values(operation, name))
    for name in ("paths", "notPaths"):
        for index, path in enumerate(_values(operation, name)):
            yield from _path_problems(f"{name}[{index}]", path)


def _condition_problems(condition: Condition) -> Iterator[Problem]:
    key = condition.key
    if not condition.values and not condition.not_values:
        yield "values", "one of values and notValues must be given"
    if key.startswith("request.auth."):
        yield "key", f"{key!r} needs RequestAuthentication, which the local mesh does not emulate"
    elif key.startswith("experimental.envoy.filters."):
        yield "key", f"{key!r} needs metadata of Envoy's filters, which the local mesh does not emulate"
    elif key in _REPLACED:
        yield "key", f"{key!r} is no longer an attribute; {_REPLACED[key]}"
    elif key.startswith("request.headers"):
        if not _HEADER.fullmatch(key):
            yield "key", f"{key!r} names no header; write request.headers[name]"
    elif key not in (*_ADDRESSES, *_PLAIN, "source.serviceAccount", "source.trustDomain", "destination.port"):
        yield "key", f"{key!r} is no attribute"
    for name in ("values", "notValues"):
        yield from _attribute_problems(name, key, _values(condition, name))


def _attribute_problems(field: str, key: str, values: Sequence[str]) -> Iterator[Problem]:
    yield from _empty_problems(field, values)
    if key in _ADDRESSES:
        yield from _address_problems(field, values)
    elif key == "source.serviceAccount":
        yield from _account_problems(field, values)
    elif key == "source.trustDomain":
        yield from _wildcard_problems(field, values)
    elif key == "destination.port":
        yield from _port_problems(field, values)


def _values(part: Source | Operation | Condition, name: str) -> tuple[str, ...]:
    """The list called `name` in the manifest."""
    values: tuple[str, ...] = getattr(part, re.sub(r"([A-Z])", r"_\1", name).lower())
    return values


def _empty_problems(field: str, values: Sequence[str]) -> Iterator[Problem]:
    if "" in values:
        yield f"{field}[{values.index('')}]", "must not be empty"


def _address_problems(field: str, values: Sequence[str]) -> Iterator[Problem]:
    for index, value in enumerate(values):
        yield from subnet_problems(f"{field}[{index}]", value)


def _port_problems(field: str, values: Sequence[str]) -> Iterator[Problem]:
    for index, value in enumerate(values):
        if not (
            value.isascii() and value.isdecimal() and int(value[-9:]) <= 65535 and len(value.lstrip("0")) <= 5
        ):
            yield f"{field}[{index}]", f"{value!r} is no port"


def _account_problems(field: str, values: Sequence[str]) -> Iterator[Problem]:
    for index, value in enumerate(values):
        if "*" in value or len(value) > 320 or value.count("/") > 1 or "" in value.split("/"):
            yield f"{field}[{index}]", f'{value!r} is no service account; write "name" or "namespace/name"'


def _wildcard_problems(field: str, values: Sequence[str]) -> Iterator[Problem]:
    yield from _empty_problems(field, values)
    for index, value in enumerate(values):
        if value.count("*") > 1 or "*" in value[1:-1]:
            yield f"{field}[{index}]", f'{value!r} can have one "*", at its beginning or its end'


def _path_problems(field: str, path: str) -> Iterator[Problem]:
    """Templates are whole parts of a path; nothing like one may follow {**}, and the rest is plain characters."""
    templated = any(template in path for template in _TEMPLATES)
    last = False
    for part in path.strip("/").split("/"):
        if part in _TEMPLATES:
            if last:
                yield field, f"{path!r} has a template after {{**}}, which must be the last"
            last = last or part == "{**}"
        elif "{" in part or "}" in part:
            yield (
                field,
                f"{path!r} has braces; there are the templates {{*}} and {{**}}, each a whole part of the path",
            )
        elif templated and not _PATH_PART.fullmatch(part):
            yield field, f"{path!r} has the part {part!r}, which cannot stand beside templates"
