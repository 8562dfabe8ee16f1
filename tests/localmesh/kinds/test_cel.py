"""Which CEL expressions Envoy builds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.kinds.istio import cel


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "response.code >= 400",
            "response.code >= 400 || connection.mtls",
            "has(request.id) && !has(a.b)",
            "true",
        ),
        *(
            'request.headers["x"] == "y"',
            '"x" in request.headers',
            "a ? b : c ? d : e",
            "1 + 2 * -3 % 4 < 5.5",
        ),
        *(
            "size(request.path) > 3",
            "request.path.matches('^/a')",
            'a.contains("b").size()',
            "[1, 2][0]",
            "!!a",
        ),
        *(
            'request.path.startsWith("/a")',
            "r'\\d' == b",
            'duration("1s") > duration("2s")',
            "'it\\'s'",
            "0x1Fu",
        ),
    ],
)
def test_an_expression_is_sound(expression):
    """Operators, attributes, indices and the functions Envoy has."""
    assert cel.fault(expression) is None


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "",
            " ",
            "1 +",
            "(a",
            "a)",
            "a b",
            "a.",
            "a[",
            "has(a)",
            'has(a["b"])',
            "foo(1)",
            "a.foo()",
            "size()",
            "in",
        ),
        *(
            "size(1, 2)",
            "[1].exists(x, x > 1)",
            "'open",
            '"a',
            "a = b",
            "a ? b",
            "for",
            "@",
            'a.matches("(")',
            "- ",
        ),
        *("(" * 60 + "a" + ")" * 60, "a" * 5000, '"a\nb"'),
    ],
)
def test_what_envoy_does_not_build_is_a_fault(expression):
    """Broken syntax, unknown functions, comprehensions, and expressions that cannot match are told."""
    assert cel.fault(expression)


@given(st.text(alphabet=st.sampled_from("ab1.()[]?:!-+&|=<>'\" inhas,"), max_size=30))
def test_no_text_breaks_the_reader(text):
    """Any text is an expression or has a fault that is told in words."""
    fault = cel.fault(text)
    assert fault is None or len(fault) > 5
