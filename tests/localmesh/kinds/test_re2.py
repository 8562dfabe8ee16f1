"""Which texts are expressions that Envoy takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.kinds.istio import re2

SOUND = [
    *(
        "a",
        "/api/v[0-9]+/.*",
        "^$",
        "a|b|",
        "()",
        "(?i)a",
        "(?i:a)b",
        "(?P<n>a)",
        "(?<n>a)",
        "a{2,3}?",
        "a{,3}",
        "a{",
    ),
    *(
        "[]a]",
        "[^]]",
        "[a-]",
        r"[\d-z]",
        r"[a\-z]",
        "[[:alpha:]x]",
        r"\Q(\E",
        r"\pL",
        r"\p{^Greek}",
        r"\x{41}",
        r"\012",
    ),
    *(r"\.", r"\_", "é", "]", "}", r"a\z", "(?)", "((a{10}){10}){10}", "^*"),
]
BROKEN = [
    *(
        "",
        "(",
        ")",
        "a)",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?>a)",
        "(?#x)",
        "*",
        "|*",
        "(*)",
        "a**",
        "a{2}{2}",
        "a{1001}",
    ),
    *(
        "a{3,2}",
        "((a{11}){10}){10}",
        "[",
        "[]",
        "[z-a]",
        r"[a-\d]",
        "[[:foo:]]",
        r"\1",
        r"\8",
        r"\Z",
        r"\h",
        "\\",
        r"\é",
    ),
    *(r"\p{Foo}", r"\x{110000}", r"\xg", "(?P<n>a)(?P<n>b)", "(?i", "(?P<a", "(?P=n)", "a" * 1025),
    *(r"(\pL{100}){10}", "(" * 200 + ")" * 200),
]


@pytest.mark.parametrize("regex", SOUND)
def test_an_expression_of_re2_is_sound(regex):
    """What Envoy takes has no fault."""
    assert re2.fault(regex) is None


@pytest.mark.parametrize("regex", BROKEN)
def test_what_re2_does_not_have_is_a_fault(regex):
    """Look-around, back references, stacked repetitions, unknown classes, and what is too large are told."""
    assert re2.fault(regex)


@pytest.mark.parametrize(
    ("regex", "count"), [("a", 0), ("(a)(?:b)(?P<n>c)", 2), (r"\((a)", 1), ("[(](a)", 1)]
)
def test_the_groups_a_substitution_can_name_are_counted(regex, count):
    """Named and plain groups count, others do not."""
    assert re2.groups(regex) == count


@given(st.text(alphabet=st.sampled_from("ab0(){}[]^$|*+?\\.:-<>PQEpdx=!,1é"), max_size=30))
def test_no_text_breaks_the_reader(text):
    """Any text is an expression or has a fault that is told in words."""
    fault = re2.fault(text)
    assert fault is None or len(fault) > 5
