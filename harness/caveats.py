"""What keeps an experiment from proving what it seems to: a value, and its place in a journal. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["refuse", "warn"]
"""`refuse`: a run would come to no verdict, or to one that says nothing; `warn`: to a true one, of something else."""


@dataclass(frozen=True)
class Caveat:
    """Why an experiment cannot prove what it seems to.

    Attributes:
        code: its short name, of a-z and "-"; the same for the same reason at other objects.
        severity: whether a run is refused for it.
        reason: one sentence with the cause.
        field: the object and the path in it, or the field of the experiment.
        fix: what to do, as an imperative; "" where the reason says it.
        overridden: a person let the run begin nevertheless; its verdict says so.
    """

    code: str
    severity: Severity
    reason: str
    field: str
    fix: str
    overridden: bool = False

    @property
    def stops(self) -> bool:
        """Whether no run may begin."""
        return self.severity == "refuse" and not self.overridden

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.field}: {self.reason.rstrip('.')}{fix} ({self.code})"


@dataclass(frozen=True)
class Cautioned:
    """Preflight has found a caveat; its fields are those of Caveat."""

    at: float
    code: str
    severity: Severity
    reason: str
    field: str
    fix: str
    overridden: bool = False

    @classmethod
    def of(cls, at: float, caveat: Caveat) -> Cautioned:
        """The event of a caveat found `at` (Unix seconds)."""
        return cls(at, **asdict(caveat))

    @property
    def caveat(self) -> Caveat:
        """What was found."""
        return Caveat(self.code, self.severity, self.reason, self.field, self.fix, self.overridden)
