"""What came of many cases, with differences of one kind together."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tests.conformance.case import Case
from tests.conformance.compare import Difference
from tests.conformance.verdict import Outcome

_NAME = re.compile(r"\[[^\]]*\]")


@dataclass
class Found:
    """Differences of one kind: how often, and the first one with the number of its case."""

    example: Difference
    case: int
    times: int = 0


@dataclass
class Tally:
    """The sums over all cases; `refused` counts why our admission refused what istiod takes."""

    cases: int = 0
    resources: int = 0
    known: int = 0
    unexplained: int = 0
    groups: dict[str, Found] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, outcome: Outcome) -> None:
        """Counts a case and what came of it."""
        self.cases += 1
        self.resources += outcome.resources
        self.known += outcome.known
        self.unexplained += len(outcome.unexplained)
        for name, why in outcome.refused.items():
            self.refused[f"{name.split()[0]}: {re.sub(r'[0-9]+', 'N', why)}"] += 1
        for difference in outcome.unexplained:
            found = self.groups.setdefault(group(difference), Found(difference, self.cases))
            found.times += 1


def group(difference: Difference) -> str:
    """The kind of a difference: its path without names and places in lists."""
    kind, _, rest = difference.path.partition("/")
    if kind == "admission":
        return f"{rest.split()[0]}: {re.sub(r'[0-9]+', 'N', str(difference.theirs))}"
    if kind == "translation":
        return f"no translation: {rest}: {difference.ours}"
    field_ = _field(rest)
    return f"{kind}/*.{_NAME.sub('[]', field_)}" if field_ else f"{kind}/*: {difference.ours.split(',')[0]}"


def _field(rest: str) -> str:
    """The path below a resource's name, which may hold dots itself."""
    match = re.search(
        r"(?:(?<=local)|(?<=com)|(?<=org)|(?<=\|)|(?<=Cluster)|(?<=http_proxy)|(?<=\d))(?:\.|(?=\[))", rest
    )
    return rest[match.end() :] if match else ""
