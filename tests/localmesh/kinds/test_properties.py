"""What holds for every manifest whatever."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.localmesh.errors import Refused
from harness.localmesh.kinds import istio
from harness.localmesh.kinds.istio.rules.table import TABLE

SCHEMAS = json.loads(Path(__file__).with_name("crds.json").read_text())
WORDS = st.sampled_from(
    [
        *(
            "",
            "a",
            "*",
            "a.test",
            "*.test",
            "ns/a.test",
            "1.2.3.4",
            "10.0.0.0/8",
            "1s",
            "0s",
            "HTTP",
            "TLS",
            "80",
            "(",
        ),
        *(
            "%",
            "~",
            ".",
            "request.headers[x]",
            "source.ip",
            "mesh",
            "host",
            "/a/{*}",
            "us/*",
            "5xx",
            "a" * 300,
        ),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


PLAIN = {
    "integer": st.sampled_from([0, 1, 80, 100, 200, 65535, 65536, -1, 2**32]),
    "number": st.sampled_from([0, 0.00001, 1, 50.5, 100, 101, -1]),
    "boolean": st.booleans(),
    "string": WORDS,
    "object": JSON,
}


def values(schema):
    """Values that mostly fit a schema."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return st.lists(st.deferred(lambda: values(schema["items"])), max_size=2)
    if "additionalProperties" in schema:
        return st.dictionaries(WORDS, st.deferred(lambda: values(schema["additionalProperties"])), max_size=2)
    if "properties" in schema:
        return fields(schema["properties"], schema.get("required", []))
    return PLAIN[schema["type"]]


def fields(schemas, required):
    """Objects with the required fields and some others."""
    several = st.lists(st.sampled_from(sorted(schemas)), max_size=3, unique=True)
    return several.flatmap(
        lambda names: st.fixed_dictionaries({name: values(schemas[name]) for name in {*required, *names}})
    )


def admitted(kind, spec):
    """Whether the spec is admitted; it is unchanged, and a refusal is of the right form."""
    manifest = {"kind": kind, "metadata": {"name": "it", "namespace": "default"}, "spec": spec}
    before = copy.deepcopy(manifest)
    refused = None
    try:
        warnings = istio.admit(manifest)
    except Refused as error:
        refused, warnings = error, ()
    assert manifest == before
    assert refused is None or (refused.code, refused.reason) == (422, "Invalid")
    assert refused is None or refused.field.startswith(("spec", "metadata"))
    assert all(isinstance(warning, str) for warning in warnings)
    return refused is None


@pytest.mark.parametrize("kind", TABLE)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_spec_of_the_schema_is_admitted_or_refused(kind, data):
    """Whatever fits the published schema passes or is refused with its field; nothing else happens."""
    admitted(kind, data.draw(values(SCHEMAS[kind])))


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(sorted(TABLE)), spec=JSON)
def test_any_json_is_admitted_or_refused(kind, spec):
    """No JSON makes admission fail in another way than with a refusal."""
    admitted(kind, spec)


def test_deep_nesting_is_refused():
    """However deeply a manifest nests, it is told what is wrong with it."""
    spec: object = "x"
    for _ in range(5000):
        spec = {"http": [spec]}
    with pytest.raises(Refused):
        istio.admit({"kind": "VirtualService", "metadata": {"name": "it"}, "spec": spec})
