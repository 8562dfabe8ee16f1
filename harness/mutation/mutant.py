"""What a mutant is: one field of one object weakened, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.changes import Edit, Manifest, Patch, Path, Ref, Restore, ref_of, render, undo


@dataclass(frozen=True)
class Weakening:
    """What an operator proposes: the field at `path` to become `value` (`ABSENT`: to go).

    Attributes:
        path: the field.
        value: what it is to hold.
        operator: what is done, in a few words; two proposals for the same field have different ones.
        why: why the policy is weaker afterwards.
    """

    path: Path
    value: Any
    operator: str
    why: str


@dataclass(frozen=True)
class Mutant:
    """An object with one field weakened.

    Attributes:
        operator: what was done, in a few words.
        change: the patch, of one edit.
        inverse: what takes it back.
        why: why the policy is weaker with it.
    """

    operator: str
    change: Patch
    inverse: Restore
    why: str

    @classmethod
    def of(cls, manifest: Manifest, weakening: Weakening) -> Mutant:
        """The mutant of the object in `manifest`. Raises HarnessError when the weakening changes nothing in it."""
        patch = Patch(ref_of(manifest), (Edit(weakening.path, weakening.value),))
        inverse = undo(patch, manifest)
        assert isinstance(inverse, Restore)  # noqa: S101 - the inverse of a patch is nothing else
        return cls(weakening.operator, patch, inverse, weakening.why)

    @property
    def ref(self) -> Ref:
        """The object."""
        return self.change.ref

    @property
    def field(self) -> str:
        """The path of its field as people write it."""
        return render(self.change.edits[0].path)

    def __str__(self) -> str:
        return f"{self.ref} {self.field}: {self.operator}"
