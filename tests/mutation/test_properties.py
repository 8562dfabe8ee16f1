"""What holds for every mutant, of whatever policies: one field, taken back, like no other."""

from __future__ import annotations

import json
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st
from policies import manifest, shop

from harness.changes import ABSENT, apply, restore
from harness.mutation import mutants

DURATIONS = st.sampled_from(["1ms", "500ms", "2s", "1m30s", "1h"])


def fields(**strategies):
    """Objects with any of these fields."""
    return st.fixed_dictionaries({}, optional=strategies)


CONDITIONS = st.lists(
    st.sampled_from(
        ["5xx", "gateway-error", "reset", "connect-failure", "refused-stream", "retriable-4xx", "503"]
    ),
    unique=True,
).map(",".join)
RETRIES = fields(attempts=st.integers(0, 9), perTryTimeout=DURATIONS, retryOn=CONDITIONS, backoff=DURATIONS)
DESTINATION = st.fixed_dictionaries(
    {
        "destination": fields(subset=st.sampled_from(["v1", "v2"])).map(
            lambda more: {"host": "catalog", **more}
        )
    },
    optional={"weight": st.integers(0, 100)},
)
ROUTE = fields(
    timeout=DURATIONS,
    retries=RETRIES,
    match=st.just([{"uri": {"prefix": "/a"}}]),
    route=st.lists(DESTINATION, min_size=1, max_size=3),
    mirror=st.just({"host": "payments"}),
    mirrorPercentage=st.just({"value": 50.0}),
)
POLICY = fields(
    outlierDetection=fields(
        consecutive5xxErrors=st.integers(0, 9),
        consecutiveGatewayErrors=st.integers(0, 9),
        maxEjectionPercent=st.integers(0, 100),
        minHealthPercent=st.integers(0, 100),
        baseEjectionTime=DURATIONS,
        interval=DURATIONS,
    ),
    connectionPool=fields(
        tcp=fields(maxConnections=st.integers(1, 9), connectTimeout=DURATIONS),
        http=fields(http1MaxPendingRequests=st.integers(1, 9), useClientProtocol=st.booleans()),
    ),
    loadBalancer=fields(
        simple=st.sampled_from(["ROUND_ROBIN", "RANDOM"]), localityLbSetting=fields(enabled=st.booleans())
    ),
    tls=fields(mode=st.sampled_from(["DISABLE", "ISTIO_MUTUAL"])),
)
SUBSETS = st.permutations([{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2"}])
WORDS = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=2)
RULE = fields(
    **{
        "from": st.lists(
            fields(source=fields(principals=WORDS, notPrincipals=WORDS, namespaces=WORDS)), min_size=1
        ),
        "to": st.lists(fields(operation=fields(methods=WORDS, paths=WORDS, notPaths=WORDS)), min_size=1),
    }
)
MODES = st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE", "UNSET"])
SPECS = {
    "VirtualService": st.lists(ROUTE, max_size=3).map(lambda http: {"hosts": ["catalog"], "http": http}),
    "DestinationRule": st.builds(
        lambda policy, subsets: {"host": "catalog", "trafficPolicy": policy, "subsets": subsets},
        POLICY,
        SUBSETS,
    ),
    "AuthorizationPolicy": fields(
        action=st.sampled_from(["ALLOW", "DENY"]), rules=st.lists(RULE, max_size=3)
    ),
    "PeerAuthentication": fields(
        mtls=fields(mode=MODES),
        portLevelMtls=st.dictionaries(st.sampled_from(["80", "81"]), fields(mode=MODES)),
    ),
}
GROUPS = {"AuthorizationPolicy": "security.istio.io/v1", "PeerAuthentication": "security.istio.io/v1"}
OBJECTS = st.fixed_dictionaries(SPECS).map(
    # Through JSON, as from an API: no two parts of an object are one and the same in memory.
    lambda specs: [
        manifest(kind, json.loads(json.dumps(spec)), GROUPS.get(kind, "networking.istio.io/v1"))
        for kind, spec in specs.items()
    ]
)


def differences(one, other, path=()):
    """Where two objects differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key, ABSENT), other.get(key, ABSENT), (*path, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, (*path, number))
    elif one != other:
        yield path


def check(objects):
    """What holds for all mutants of some objects."""
    before = deepcopy(objects)
    by_ref = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    results, names = [], []
    for mutant in mutants(objects):
        original = by_ref[mutant.ref.kind, mutant.ref.name]
        mutated = apply(mutant.change, original)
        (edit,) = mutant.change.edits
        # An element that is taken out of a list changes the list.
        around = edit.path[:-1] if isinstance(edit.path[-1], int) else edit.path
        changed = list(differences(original, mutated))
        assert changed
        assert all(path[: len(around)] == around or around[: len(path)] == path for path in changed), (
            mutant,
            changed,
        )
        assert restore(mutant.inverse, mutated) == (original, ())
        assert (mutant.ref, mutated) not in results
        results.append((mutant.ref, mutated))
        assert mutant.why
        names.append(str(mutant))
    assert objects == before
    assert len(set(names)) == len(names)


@settings(max_examples=50)
@given(OBJECTS)
def test_a_mutant_differs_in_one_field_can_be_taken_back_and_is_like_no_other(objects):
    """Whatever the policies are; and they are left as they are."""
    check(objects)


def test_so_does_every_mutant_of_the_shop():
    """The objects that are really there."""
    check(shop())
