"""Which header values Envoy takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.kinds.istio import formats


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "plain",
            "100%%",
            "%%",
            "%REQ(x-id)%",
            "%REQ(:path?x-path):10%",
            "a %HOSTNAME% b",
            "%REQ(a)%%RESP(b)%",
        ),
        *(
            "%START_TIME%",
            "%START_TIME(%Y/%m/%d)%",
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "%ENVIRONMENT(HOME)%",
        ),
    ],
)
def test_a_known_command_or_none_is_sound(value):
    """Commands with the arguments they need, and "%%" for the sign."""
    assert formats.fault(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *(
            "%",
            "100%",
            "x % y",
            "%req(x)%",
            "%FOO%",
            "%REQ%",
            "%REQ()%",
            "%REQ(a b)%",
            "%PROTOCOL(x)%",
            "%DURATION%%",
        ),
        *("%REQ(x", "%METADATA(a)%", "%REQ(a?b?c)%", "%HOSTNAME:5%", "é" * 8193),
    ],
)
def test_what_envoy_does_not_know_is_a_fault(value):
    """A lone "%", an unknown command, a wrong argument and a value that is too long are told."""
    assert formats.fault(value)


@given(st.text(alphabet=st.sampled_from("%ABREQ_()x:1? "), max_size=20))
def test_no_text_breaks_the_reader(text):
    """Any text has a fault that is told in words, or none; without a "%" it has none."""
    fault = formats.fault(text)
    assert fault is None or (len(fault) > 5 and "%" in text)
