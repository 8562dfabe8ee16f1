"""What a session does in the place of runs: plans shown, rights collected, caveats found. Nothing is changed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import yaml

from harness.caveats import Caveat
from harness.changes import Change
from harness.dryrun import plan
from harness.experiment import Experiment, Mesh
from harness.preflight import await_scrapes, check
from harness.rbac import Need, roles
from harness.verdict import Verdict

_SCRAPES_WITHIN = 10.0  # seconds: a mesh that has just come up is scraped for the third time by then


class Rehearsal:
    """The experiments of one session, one after the other."""

    def __init__(self, options: Namespace) -> None:
        """`options` are those of the plugin: a check, a dry run, or a file for the Roles."""
        self._checks: bool = options.harness_check
        self._shows: bool = options.harness_dry_run
        self._file: str | None = options.harness_rbac
        self._needs: set[Need] = set()
        self._number = 0

    @property
    def asked(self) -> bool:
        """Whether the session is one."""
        return self._checks or self._shows or bool(self._file)

    def rehearse(
        self,
        experiment: Experiment,
        mesh: Mesh,
        *,
        run: str,
        seed: int,
        weaken: Sequence[Change],
        expect: Verdict,
    ) -> tuple[str, tuple[Caveat, ...]]:
        """What one experiment would do, as YAML ("" if that is not to be shown), and its caveats if they are asked for.

        Raises:
            HarnessError: a run would be refused; in a check that is a caveat.
        """
        self._number += 1
        if self._checks:
            if self._number == 1:
                await_scrapes(mesh.prometheus, _SCRAPES_WITHIN)
            return "", check(experiment, mesh, expects_held=expect is Verdict.HELD)
        planned = plan(experiment, mesh.cluster, run=f"{run}-{self._number}", seed=seed, weaken=weaken)
        self._needs |= planned.needs
        return planned.text if self._shows else "", ()

    def end(self) -> None:
        """Writes the Roles, if a file was named for them; says nothing of the experiments before they all were."""
        if self._file:
            Path(self._file).write_text(yaml.safe_dump_all(roles(self._needs), sort_keys=False))
