"""The score of mutants, and how it is shown."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from harness.changes import Edit, Patch, Ref, Restore
from harness.errors import HarnessError
from harness.mutation import Fate, Mutant, Result, Score
from harness.mutation.page import page, remarks, table
from harness.mutation.score import declared_equivalent


def mutant(field="retries"):
    """A mutant of one field."""
    ref = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
    change = Patch(ref, (Edit(("spec", field), 1),))
    return Mutant(f"fewer <{field}>", change, Restore(ref, ()), f"why {field}")


def score(*fates, unguarded=()):
    """A score with such results."""
    results = (Result(mutant(f"f{i}"), fate, ("test_it",), "[observe]") for i, fate in enumerate(fates))
    return Score(tuple(results), unguarded)


@pytest.mark.parametrize(
    ("fates", "text"),
    [
        ([Fate.KILLED, Fate.KILLED], "Mutation score 100 %: 2 of 2 mutants killed"),
        ([Fate.KILLED, Fate.SURVIVED], "Mutation score 50 %: 1 of 2 mutants killed, 1 survived"),
        ([Fate.KILLED, Fate.UNDECIDED], "Mutation score 50 %: 1 of 2 mutants killed, 1 undecided"),
        ([Fate.KILLED, Fate.EQUIVALENT], "Mutation score 100 %: 1 of 1 mutants killed, 1 equivalent"),
        ([Fate.EQUIVALENT], "Mutation score 0 %: 0 of 0 mutants killed, 1 equivalent"),
        ([], "Mutation score 0 %: 0 of 0 mutants killed"),
        (
            [Fate.KILLED] * 4999 + [Fate.SURVIVED],
            "Mutation score 99.9 %: 4999 of 5000 mutants killed, 1 survived",
        ),
    ],
)
def test_what_is_inconclusive_is_not_killed_and_what_is_equivalent_does_not_count(fates, text):
    """A score of nothing is 0 %, and 100 % is said only where every mutant was killed."""
    found = score(*fates)
    assert str(found) == text
    assert found.is_full == ("100 %" in text)


def test_a_campaign_that_was_interrupted_has_no_full_score():
    """What it did not come to is said."""
    found = Score(score(Fate.KILLED).results, left=3)
    assert str(found) == "Mutation score 99.9 %: 1 of 1 mutants killed, 3 not run"
    assert not found.is_full


def test_every_mutant_that_lives_is_named_with_its_reason():
    """And so are the objects that nobody guards."""
    found = score(Fate.KILLED, Fate.SURVIVED, Fate.UNDECIDED, unguarded=(mutant("a"), mutant("b")))
    assert remarks(found) == [
        "survived: VirtualService shop/catalog spec.f1: fewer <f1>: why f1, and test_it did not notice",
        "undecided: VirtualService shop/catalog spec.f2: fewer <f2>: [observe]",
        "2 mutants were not run, since no experiment guards their fields: VirtualService shop/catalog (2)",
    ]


def test_table_and_page_show_every_mutant():
    """With its fate; what is in the names is no markup."""
    found = score(Fate.KILLED, Fate.SURVIVED, unguarded=(mutant("a"),))
    text = StringIO()
    Console(file=text, width=200).print(table(found))
    for piece in ("spec.f0", "killed", "spec.f1", "survived", "fewer <f1>"):
        assert piece in text.getvalue()
    html = page(found, "today & now")
    for piece in (
        "today &amp; now",
        "fewer &lt;f0&gt;",
        '<span class="survived">survived</span>',
        "fewer &lt;a&gt;",
    ):
        assert piece in html
    assert "fewer <" not in html


def test_a_mutant_is_declared_equivalent_with_a_reason():
    """By its name as it is printed."""
    one = mutant()
    assert declared_equivalent(["", f" {one} because one try is enough "], [one]) == {
        str(one): "one try is enough"
    }


@pytest.mark.parametrize(
    "line", [f"{mutant()}", f"{mutant()} because ", "VirtualService shop/x y: z because it is"]
)
def test_a_declaration_without_a_reason_or_of_no_mutant_is_refused(line):
    """A stale one would hide a mutant some day."""
    with pytest.raises(HarnessError, match="equivalent_mutants"):
        declared_equivalent([line], [mutant()])
