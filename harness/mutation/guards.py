"""Which policies an experiment guards.

What it declares (`Experiment.guards`). If it declares nothing, what the controls of its file take away: a control is
there to show that its experiment notices exactly that. If there is no control either, the policies of its target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.changes import Change, Create, Manifest, Patch, Ref, ref_of, render
from harness.errors import HarnessError
from harness.mutation.hosts import full_host, hosts_of, namespace_of
from harness.mutation.mutant import Mutant
from harness.scene import Target


@dataclass(frozen=True)
class Guard:
    """An object, or the part of it at `field` ("" for all of it)."""

    kind: str
    namespace: str
    name: str
    field: str = ""

    @classmethod
    def read(cls, text: str, namespace: str) -> Guard:
        """A guard as people write it: `VirtualService shop/catalog spec.http[0].retries`.

        The field may be left out, and the namespace, which is then `namespace`.

        Raises:
            HarnessError: it is written in another way.
        """
        parts = text.split()
        if len(parts) not in (2, 3):
            raise HarnessError(
                f"The experiment guards {text!r}; write a kind, a name and, if only a part is meant, a field: "
                '"VirtualService shop/catalog spec.http[0].retries".'
            )
        kind, place, field = (*parts, "")[:3]
        where, slash, name = place.rpartition("/")
        return cls(kind, where if slash else namespace, name, field)

    @classmethod
    def of(cls, ref: Ref, field: str = "") -> Guard:
        """The guard of an object."""
        return cls(ref.kind, ref.namespace, ref.name, field)

    def covers(self, mutant: Mutant) -> bool:
        """Whether the field of a mutant is what is guarded, or lies in it."""
        ref, inside = mutant.ref, mutant.field.removeprefix(self.field)
        if (ref.kind, ref.namespace, ref.name) != (self.kind, self.namespace, self.name):
            return False
        return mutant.field.startswith(self.field) and (not self.field or inside[:1] in ("", ".", "["))

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name} {self.field}".rstrip()


Guards = tuple[Guard, ...]
"""What one experiment guards."""


def guards_of_controls(controls: Sequence[Change]) -> Guards:
    """What controls take away: the fields they edit, and the objects they delete."""
    found: list[Guard] = []
    for change in controls:
        if isinstance(change, Patch):
            found += (Guard.of(change.ref, render(edit.path)) for edit in change.edits)
        elif not isinstance(change, Create):
            found.append(Guard.of(change.ref))
    return tuple(dict.fromkeys(found))


def guards_of_target(target: Target, objects: Sequence[Manifest]) -> Guards:
    """The policies of a target's host among `objects`: its routes, its rule, and who may speak to it and how."""
    return tuple(Guard.of(ref_of(one)) for one in objects if _is_policy_of(target, one))


def _is_policy_of(target: Target, manifest: Manifest) -> bool:
    if manifest["kind"] in ("VirtualService", "DestinationRule"):
        return full_host(target.app, target.namespace) in hosts_of(manifest)
    if manifest["kind"] not in ("PeerAuthentication", "AuthorizationPolicy", "PodDisruptionBudget"):
        return False
    selector = ((manifest.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return namespace_of(manifest) == target.namespace and selector.items() <= target.labels.items()
