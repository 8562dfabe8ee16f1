"""Kubernetes' protobuf: what kubectl sends is read as JSON would have it, what is not read is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.api import protobuf

TAGS = {int: 0, bytes: 2}


def varint(number):
    """A number as protobuf writes it."""
    number %= 2**64
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def message(*fields):
    """A message of (number, value) pairs; a value is a number, a text or a message."""
    out = b""
    for number, value in fields:
        raw = value.encode() if isinstance(value, str) else value
        out += varint(number << 3 | TAGS[type(raw)])
        out += varint(raw) if isinstance(raw, int) else varint(len(raw)) + raw
    return out


def envelope(version, kind, raw):
    """The object in its envelope."""
    return b"k8s\x00" + message((1, message((1, version), (2, kind))), (2, raw))


def test_maps_lists_numbers_and_bytes_are_read():
    """Those of a ConfigMap and its metadata; empty fields are absent, pointers to nothing are not."""
    metadata = message(
        (1, "a"),
        (2, ""),
        (8, message()),
        (11, message((1, "k"), (2, "v"))),
        (14, "x.y/z"),
        (14, "x.y/w"),
        (10, 0),
    )
    raw = message(
        (1, metadata), (2, message((1, "a"), (2, "b"))), (3, message((1, "c"), (2, b"\xff"))), (4, 0)
    )
    assert protobuf.decode(envelope("v1", "ConfigMap", raw)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "deletionGracePeriodSeconds": 0,
            "labels": {"k": "v"},
            "finalizers": ["x.y/z", "x.y/w"],
        },
        "data": {"a": "b"},
        "binaryData": {"c": "/w=="},
        "immutable": False,
    }


def test_times_and_int_or_strings_are_read():
    """The spec of a Lease and of a budget."""
    spec = message((1, "me"), (2, 15), (4, message((1, 1_700_000_000), (2, 250_000_000))))
    lease = protobuf.decode(envelope("coordination.k8s.io/v1", "Lease", message((1, message()), (2, spec))))
    assert lease["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": "2023-11-14T22:13:20.250000Z",
    }
    for value, found in (
        (message((1, 1), (3, "50%")), "50%"),
        (message((1, 0), (2, 0)), 0),
        (message((2, -1)), -1),
    ):
        budget = envelope("policy/v1", "PodDisruptionBudget", message((2, message((1, value)))))
        assert protobuf.decode(budget)["spec"]["minAvailable"] == found


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"x", "does not begin"),
        (envelope("v1", "Job", b""), "does not read the kind 'Job'"),
        (envelope("v1", "OwnerReference", b""), "does not read the kind"),
        (
            envelope("v1", "Pod", message((2, message((18, message((1, "x"))))))),
            "does not read field 18 of PodSpec",
        ),
        (envelope("v1", "ConfigMap", b"\x0a\xff"), "ends in the middle"),
        (envelope("v1", "ConfigMap", b"\x0d1234"), "a field of the type 5"),
        (envelope("v1", "ConfigMap", message((1, 5))), "a number where bytes are"),
        (envelope("v1", "ConfigMap", message((4, "x"))), "bytes where a number is"),
    ],
)
def test_what_is_not_read_is_refused(body, why):
    """With the kind and the number of the field."""
    with pytest.raises(ValueError, match=why):
        protobuf.decode(body)


@given(
    st.binary(max_size=80), st.sampled_from(["Deployment", "Service", "Lease", "Eviction", "DeleteOptions"])
)
def test_any_bytes_are_read_or_refused(raw, kind):
    """With a ValueError, never otherwise."""
    try:
        assert protobuf.decode(envelope("v1", kind, raw))["kind"] == kind
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is fine
