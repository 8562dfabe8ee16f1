"""Mutation: each policy of a mesh weakened in one field at a time, to see whether an experiment notices. Pure."""

from harness.mutation.guards import Guard, Guards, guards_of_controls, guards_of_target
from harness.mutation.mutant import Mutant
from harness.mutation.operators import KINDS, mutants
from harness.mutation.score import Fate, Result, Score

__all__ = [
    "KINDS",
    "Fate",
    "Guard",
    "Guards",
    "Mutant",
    "Result",
    "Score",
    "guards_of_controls",
    "guards_of_target",
    "mutants",
]
