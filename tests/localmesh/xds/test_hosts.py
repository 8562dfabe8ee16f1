"""Host names and wildcards are compared as istiod compares them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.xds.hosts import fqdn, is_within, matches, most_specific

_LABELS = st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=3).map(".".join)
_HOSTS = st.one_of(_LABELS, _LABELS.map(lambda name: f"*.{name}"), st.just("*"))


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.other", "reviews.other"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("", ""),
    ],
)
def test_only_a_name_without_dots_is_a_short_one(written, full):
    """Short names are completed with the namespace of the object they stand in."""
    assert fqdn(written, "shop") == full


@given(_HOSTS, _HOSTS)
def test_what_lies_within_a_pattern_matches_it(host, pattern):
    """Being within is narrower than matching, and matching has no direction."""
    assert matches(host, pattern) == matches(pattern, host)
    if is_within(host, pattern):
        assert matches(host, pattern)


@given(_HOSTS)
def test_everything_lies_within_the_star(host):
    """Every host lies within the star, and within itself."""
    assert is_within(host, "*")
    assert is_within(host, host)


def test_the_closest_pattern_counts():
    """The host itself comes before the longer wildcard, and that before the shorter one."""
    patterns = {"*": 1, "*.com": 2, "*.b.com": 3, "a.b.com": 4}
    assert most_specific("a.b.com", patterns) == 4
    assert most_specific("x.b.com", patterns) == 3
    assert most_specific("b.com", patterns) == 2
    assert most_specific("*.c.b.com", patterns) == 3
    assert most_specific("org", {"*.com": 2}) is None
