"""What became of mutants, and the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from harness.errors import HarnessError
from harness.mutation.mutant import Mutant


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    """An experiment that is HELD without it was VIOLATED with it."""
    SURVIVED = "survived"
    """Every experiment that guards its field was HELD with it."""
    UNDECIDED = "undecided"
    """No experiment was VIOLATED with it, and one was INCONCLUSIVE, which proves nothing."""
    EQUIVALENT = "equivalent"
    """Declared to weaken nothing, with a reason; it is not run and not scored."""


@dataclass(frozen=True)
class Result:
    """What became of one mutant.

    Attributes:
        mutant: it.
        fate: what became of it.
        by: the experiments that were run with it, in their order; the last one of a killed mutant is who killed it.
        reason: what the verdict that decided rests on, or why it is equivalent.
        seconds: how long that took.
    """

    mutant: Mutant
    fate: Fate
    by: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Score:
    """What became of the mutants that some experiment guards.

    Attributes:
        results: one for each that was run, or is equivalent.
        unguarded: the mutants of fields that no experiment guards; they are not run.
        left: how many of those that are guarded were not come to.
    """

    results: tuple[Result, ...]
    unguarded: tuple[Mutant, ...] = ()
    left: int = 0

    def of(self, fate: Fate) -> tuple[Result, ...]:
        """Those with this fate."""
        return tuple(result for result in self.results if result.fate is fate)

    @property
    def counted(self) -> int:
        """How many of them count: all but the equivalent ones."""
        return len(self.results) - len(self.of(Fate.EQUIVALENT))

    @property
    def percent(self) -> float:
        """The share of those that count which were killed; 0 where there is none, since nothing is shown then."""
        return 100.0 * len(self.of(Fate.KILLED)) / self.counted if self.counted else 0.0

    @property
    def is_full(self) -> bool:
        """Whether there was something to kill, and all of it was."""
        return not self.left and 0 < self.counted == len(self.of(Fate.KILLED))

    def __str__(self) -> str:
        others = [
            f"{len(found)} {fate.value}"
            for fate in (Fate.SURVIVED, Fate.UNDECIDED, Fate.EQUIVALENT)
            if (found := self.of(fate))
        ]
        # 100 % is said of no score that is not full
        percent = self.percent if self.is_full else min(self.percent, 99.9)
        text = f"Mutation score {percent:.3g} %: {len(self.of(Fate.KILLED))} of {self.counted} mutants killed"
        return ", ".join((text, *others, *([f"{self.left} not run"] if self.left else [])))


def declared_equivalent(lines: Sequence[str], every: Sequence[Mutant]) -> dict[str, str]:
    """The reason of each mutant that is declared equivalent, by its name.

    Args:
        lines: one declaration each: the mutant as it is printed, the word `because`, and the reason.
        every: all mutants.

    Raises:
        HarnessError: there is no such mutant (any more), or no reason.
    """
    names = {str(mutant) for mutant in every}
    reasons: dict[str, str] = {}
    for line in filter(None, map(str.strip, lines)):
        name, word, reason = line.partition(" because ")
        if not word or not reason.strip():
            raise HarnessError(
                f'equivalent_mutants has no reason for "{line}"; write "<mutant> because <reason>".'
            )
        if name.strip() not in names:
            raise HarnessError(
                f'equivalent_mutants names "{name}", and there is no such mutant; correct it or take it out.'
            )
        reasons[name.strip()] = reason.strip()
    return reasons
