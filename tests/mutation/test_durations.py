"""Durations as Istio writes them, to and fro."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.mutation.durations import seconds, written


@given(st.integers(1, 10_000_000))
def test_a_duration_that_is_written_is_read_again(milliseconds):
    """To the millisecond."""
    assert seconds(written(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "length"), [("1h2m3.5s", 3723.5), ("5ms", 0.005), ("", None), (5, None), ("5", None)]
)
def test_durations_are_read_as_istio_writes_them(text, length):
    """And nothing else is one."""
    assert seconds(text) == length
