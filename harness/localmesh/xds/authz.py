"""AuthorizationPolicy as Envoy's RBAC filters.

A rule becomes a policy of the filter of its action: permissions from `to`, principals from `from`, and each condition
of `when` joined to every one of the side it belongs to. Fields and conditions must all hold, of several values one.
Source: istio/istio `pilot/pkg/security/authz/builder/builder.go` and `pilot/pkg/security/authz/model/model.go`.

What the attributes are here: `destination.ip` and `destination.port` are the address of the listener, which is the
pod's own; `source.ip` is the other end of the connection, a caller's pod IP only when its sidecar binds that address
(loopback would have 127.0.0.1); `remote.ip` is the last address of x-forwarded-for, else the same; principals,
namespaces and service accounts are those of the client certificate, so that plaintext has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy, Operation, Rule, Source
from harness.localmesh.xds.authz_match import (
    HOST,
    METHOD,
    PATH,
    PERMISSION,
    PRINCIPAL,
    Attribute,
    Side,
    attribute,
)
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import extension

# The actions in the order of their filters, as Envoy names them; it omits the first of its names.
_ACTIONS: Mapping[str, Resource] = {"AUDIT": {"action": "LOG"}, "DENY": {"action": "DENY"}, "ALLOW": {}}
_NEVER: Resource = {
    "permissions": [{"not_rule": {"any": True}}],
    "principals": [{"not_id": {"any": True}}],
}


@dataclass(frozen=True)
class Policy:
    """An AuthorizationPolicy that applies to a workload; one with `dry_run` refuses nothing, it is only counted."""

    name: str
    namespace: str
    dry_run: bool
    spec: AuthorizationPolicy


@dataclass(frozen=True)
class _Test:
    """An attribute with the values that a rule wants and those that it does not want."""

    attribute: Attribute
    values: Sequence[str]
    not_values: Sequence[str]


def rbac_filters(policies: Sequence[Policy], *, tcp: bool) -> list[Resource]:
    """The RBAC filters, in Envoy's order (AUDIT, DENY, ALLOW), for the `policies` that apply to one workload.

    They are HTTP filters, or network filters when `tcp`. There is none for an action that no policy has; the order of
    `policies` has no influence.

    Raises:
        LookupError: a condition names an attribute that is not translated, which admission refuses.
    """
    filters = []
    for action in _ACTIONS:
        fitting = [policy for policy in policies if policy.spec.action == action]
        if fitting:
            filters.append(_filter(action, sorted(fitting, key=lambda one: (one.namespace, one.name)), tcp))
    return filters


def _filter(action: str, policies: Sequence[Policy], tcp: bool) -> Resource:
    enforced = [policy for policy in policies if not policy.dry_run]
    tried = [policy for policy in policies if policy.dry_run]
    fields: Resource = {"stat_prefix": "tcp."} if tcp else {}
    if enforced:
        fields["rules"] = _rules(action, enforced, tcp)
    if tried:
        fields["shadow_rules"] = _rules(action, tried, tcp)
    # istiod asks the shadow rules for their action, and absent ones answer ALLOW. LOG has no prefix.
    if not tried or action == "ALLOW":
        fields["shadow_rules_stat_prefix"] = "istio_dry_run_allow_"
    elif action == "DENY":
        fields["shadow_rules_stat_prefix"] = "istio_dry_run_deny_"
    protocol = "network" if tcp else "http"
    return extension(
        f"envoy.filters.{protocol}.rbac", f"envoy.extensions.filters.{protocol}.rbac.v3.RBAC", **fields
    )


def _rules(action: str, policies: Sequence[Policy], tcp: bool) -> Resource:
    """All rules of one action; if none is left, Envoy's ALLOW refuses everything and its DENY nothing."""
    made = {
        f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]": rule
        for policy in policies
        for index, rule in _translated(policy, tcp)
    }
    return {**_ACTIONS[action], "policies": made} if made else {**_ACTIONS[action]}


def _translated(policy: Policy, tcp: bool) -> Iterator[tuple[int, Resource]]:
    """The rules by their index; a policy without rules has one that never matches."""
    if not policy.spec.rules:
        yield 0, _NEVER
    for index, rule in enumerate(policy.spec.rules or ()):
        if (made := _translate(rule, policy, tcp)) is not None:
            yield index, made


def _translate(rule: Rule, policy: Policy, tcp: bool) -> Resource | None:
    """The rule in Envoy's words, None when it is dropped.

    A test that cannot be made (of HTTP on a TCP connection) never lets anyone in: an ALLOW rule with it is dropped, a
    DENY or AUDIT rule matches as if it was not there.
    """
    where = policy.namespace
    when = [_test(each.key, each.values, each.not_values, where) for each in rule.when]
    asked = [_operation_tests(each.operation or Operation(), where) for each in rule.to] or [[]]
    asking = [_source_tests(each.source or Source(), where) for each in rule.from_] or [[]]
    lenient = policy.spec.action != "ALLOW"

    def alternatives(side: Side, tests: Sequence[Sequence[_Test]]) -> list[Resource]:
        shared = [test for test in when if test.attribute.side is side]
        return [side.all_of([*_parts([*each, *shared], tcp, lenient)]) for each in tests]

    try:
        permissions = alternatives(PERMISSION, asked)
        return {"permissions": permissions, "principals": alternatives(PRINCIPAL, asking)}
    except ValueError:
        return None


def _parts(tests: Sequence[_Test], tcp: bool, lenient: bool) -> Iterator[Resource]:
    for test in tests:
        if not (test.values or test.not_values):
            continue
        try:
            yield from _part(test, tcp)
        except ValueError:
            if not lenient:
                raise


def _part(test: _Test, tcp: bool) -> list[Resource]:
    made = test.attribute
    if tcp and made.http_only:
        raise ValueError("there is no HTTP on a TCP connection")
    wanted = [made.match(test.values)] if test.values else []
    return [*wanted, {made.side.no: made.match(test.not_values)}] if test.not_values else wanted


def _operation_tests(operation: Operation, namespace: str) -> list[_Test]:
    tests = [
        _Test(HOST, operation.hosts, operation.not_hosts),
        _Test(METHOD, operation.methods, operation.not_methods),
        _Test(PATH, operation.paths, operation.not_paths),
    ]
    return [*tests, _test("destination.port", operation.ports, operation.not_ports, namespace)]


def _source_tests(source: Source, namespace: str) -> list[_Test]:
    fields = (
        ("source.principal", source.principals, source.not_principals),
        ("source.serviceAccount", source.service_accounts, source.not_service_accounts),
        ("source.trustDomain", source.trust_domains, source.not_trust_domains),
        ("source.namespace", source.namespaces, source.not_namespaces),
        ("remote.ip", source.remote_ip_blocks, source.not_remote_ip_blocks),
        ("source.ip", source.ip_blocks, source.not_ip_blocks),
    )
    return [_test(key, values, not_values, namespace) for key, values, not_values in fields]


def _test(key: str, values: Sequence[str], not_values: Sequence[str], namespace: str) -> _Test:
    """A service account without namespace is one of the policy's; istiod drops trust domains that stand twice."""

    def completed(given: Sequence[str]) -> list[str]:
        if key == "source.serviceAccount":
            return [value if "/" in value else f"{namespace}/{value}" for value in given]
        return [*dict.fromkeys(given)] if key == "source.trustDomain" else [*given]

    return _Test(attribute(key), completed(values), completed(not_values))
