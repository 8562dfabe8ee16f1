"""What holds for every AuthorizationPolicy that is admitted."""

from __future__ import annotations

import json
import subprocess

import msgspec
import pytest
from guarded import bootstrap, door
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.localmesh import programs
from harness.localmesh.kinds.istio import rbac
from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.xds.authz import Policy

pytestmark = pytest.mark.e2e

# Odd values, those that Istio's webhook lets pass and others.
WORDS = st.text(st.sampled_from('ab.é-*[]()\\+?{}^$|/ "'), min_size=1, max_size=8)
NAMES = st.one_of(
    WORDS,
    st.sampled_from(
        ["*" + "*a" * 1023, "*" + "é" * 1023, "*", "a*", "*a", "cluster.local/ns/a/sa/b", "clus*/ns/a/sa/b"]
    ),
)
ADDRESSES = st.sampled_from(
    ["1.2.3.4", "10.1.2.3/8", "::1", "2001:db8::1/32", "0.0.0.0/0", "::ffff:1.2.3.4/100"]
)
ACCOUNTS = st.one_of(st.from_regex(r"[a-z.+]{1,5}(/[a-z.+]{1,5})?", fullmatch=True), st.just("é" * 320))
PORTS = st.integers(0, 65535).map(str)
SEGMENTS = st.lists(st.sampled_from(["a", "b.c", "{*}", "%zz", "~!$&'()+,;:@=", "{**}"]), max_size=5)
PATHS = st.one_of(
    st.tuples(st.sampled_from(["/", "", "//"]), SEGMENTS, st.sampled_from(["", "/", "//"])).map(
        lambda parts: parts[0] + "/".join(parts[1]) + parts[2]
    ),
    WORDS.filter(lambda path: not set("{}") & set(path)),
)
_SOURCE = {"principals": NAMES, "namespaces": NAMES, "trustDomains": NAMES, "serviceAccounts": ACCOUNTS,
           "ipBlocks": ADDRESSES, "remoteIpBlocks": ADDRESSES}  # fmt: skip
_OPERATION = {"hosts": NAMES, "ports": PORTS, "methods": NAMES, "paths": PATHS}
_WHEN = {"request.headers[x y]": NAMES, "request.headers[:path]": NAMES, "source.ip": ADDRESSES,
         "remote.ip": ADDRESSES, "source.namespace": NAMES, "source.principal": NAMES, "source.trustDomain": NAMES,
         "source.serviceAccount": ACCOUNTS, "destination.ip": ADDRESSES, "destination.port": PORTS,
         "connection.sni": NAMES, "experimental.envoy.filters.a[b]": NAMES}  # fmt: skip


def _part(fields: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[dict[str, list[str]]]:
    both = {**fields, **{f"not{name[0].upper()}{name[1:]}": value for name, value in fields.items()}}
    lists = {name: st.lists(value, min_size=1, max_size=3) for name, value in both.items()}
    return st.fixed_dictionaries({}, optional=lists).filter(bool)


_CONDITIONS = st.one_of(
    [
        st.fixed_dictionaries(
            {"key": st.just(key), "values": st.lists(value, min_size=1, max_size=3)},
            optional={"notValues": st.lists(value, max_size=3)},
        )
        for key, value in _WHEN.items()
    ]
)
_RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(st.fixed_dictionaries({"source": _part(_SOURCE)}), min_size=1, max_size=2),
        "to": st.lists(st.fixed_dictionaries({"operation": _part(_OPERATION)}), min_size=1, max_size=2),
        "when": st.lists(_CONDITIONS, max_size=3),
    },
)
_SPECS = st.fixed_dictionaries(
    {"action": st.sampled_from(["ALLOW", "DENY", "AUDIT"]), "rules": st.lists(_RULES, max_size=3)}
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_SPECS, st.booleans()), min_size=1, max_size=6))
def test_no_policy_makes_envoys_configuration_invalid(tmp_path_factory, specs):
    """Whatever the fields and conditions say, Envoy takes the filters, on HTTP and on TCP."""
    policies = [
        Policy(f"p{number}", "shop", tried, msgspec.convert(spec, AuthorizationPolicy))
        for number, (spec, tried) in enumerate(specs)
    ]
    fitting = [policy for policy in policies if not [*rbac.problems(policy.spec)]]
    listeners = [door("127.0.0.1", 0, fitting, None, tcp=tcp) for tcp in (False, True)]
    path = tmp_path_factory.mktemp("policies") / "envoy.json"
    path.write_text(json.dumps(bootstrap(listeners)))
    command = [programs.envoy(), "--mode", "validate", "-c", str(path), "-l", "error"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
