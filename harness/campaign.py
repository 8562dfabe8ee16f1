"""`harness mutate`: the experiments are run as they are, then once more with every mutant of what they guard.

A pytest plugin that takes the place of the loop over the tests. A mutant is in force as the policy changes of a
control run are: recorded before it is made, marked, and undone whatever happens (see `harness.injection`).
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final, NoReturn, Protocol

import pytest
from _pytest.runner import runtestprotocol  # runs a test without reporting it, as pytest-rerunfailures does

from harness.changes import Change, Manifest
from harness.errors import HarnessError
from harness.experiment import Experiment, Mesh, Quiet
from harness.experiment import run as perform
from harness.experiment.settling import await_settled
from harness.journal import Journal
from harness.ledger import Ledger
from harness.mutation import (
    KINDS,
    Fate,
    Guards,
    Mutant,
    Result,
    Score,
    guards_of_controls,
    guards_of_target,
    mutants,
)
from harness.mutation.page import page, remarks, table
from harness.mutation.score import declared_equivalent
from harness.repeats import play
from harness.verdict import Judgement, Verdict

_REFUSED: Final = 2  # the exit code where something has to be mended first
_SETTLES: Final = 60.0  # seconds that a workload may take to be as it was
_PAUSE: Final = 0.2
_WIDTH: Final = 160  # of the table where there is no terminal to fit


class Session(Protocol):
    """What is used of the plugin that all experiments of a session share."""

    name: str
    seed: int
    directory: Path

    def say(self, text: str) -> None:
        """Shows a line to the person who waits."""
        ...


class Run(Protocol):
    """The fixture `run` (see `harness.plugin.Run`)."""

    def __call__(
        self, experiment: Experiment, *, weaken: Sequence[Change] = (), expect: Verdict = ...
    ) -> Judgement:
        """Runs an experiment."""
        ...


@dataclass(frozen=True)
class Seen:
    """What one experiment said of a mutant, and what its verdict rests on."""

    experiment: str
    verdict: Verdict
    why: str = ""


class _EnoughError(Exception):
    """Ends a test with a mutant as soon as its verdict is known."""


class Campaign:
    """One session of `harness mutate`; `score` is there as soon as there are mutants, and grows."""

    def __init__(self, config: pytest.Config) -> None:
        self.score: Score | None = None
        self._config = config
        self._experiments: dict[pytest.Item, list[Experiment]] = defaultdict(list)
        self._controls: dict[Path, list[Change]] = defaultdict(list)
        self._failed: dict[str, None] = {}
        self._mesh: Mesh | None = None
        self._mutant: Mutant | None = None
        self._judgements: list[Judgement] = []
        self._kills: Counter[pytest.Item] = Counter()
        self._runs = 0

    @pytest.fixture
    def run(self, request: pytest.FixtureRequest, run: Run, mesh: Mesh) -> Run:
        """Takes the place of `run`: runs an experiment as it is, or with the mutant whose turn it is."""
        self._mesh = mesh

        def run_once(
            experiment: Experiment, *, weaken: Sequence[Change] = (), expect: Verdict = Verdict.HELD
        ) -> Judgement:
            __tracebackhide__ = True
            if expect is not Verdict.HELD:
                self._controls[request.node.path] += weaken
                pytest.skip("a control; mutants are given to experiments that are to hold")
            if self._mutant is not None:
                return self._mutated(experiment, mesh, weaken, self._mutant, request.node.name)
            judgement = run(experiment, weaken=weaken)
            self._experiments[request.node].append(experiment)
            return judgement

        return run_once

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """The loop over the tests, and then over the mutants."""
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest says what is wrong, or lists the tests
        play(session)
        self._refuse_red()
        try:
            self._go_through(session)
        except HarnessError as error:
            pytest.exit(str(error), returncode=_REFUSED)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remembers which experiments fail as they are."""
        if report.failed:
            self._failed[report.nodeid] = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails a session with a mutant that was not killed; one that was interrupted has a code of its own."""
        if self.score is not None and not self.score.is_full and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows the table, each mutant that was not killed, and where the page is."""
        if self.score is None:
            return
        from rich.console import Console  # noqa: PLC0415 - only when there is something to show

        writer, text = self._config.get_terminal_writer(), StringIO()
        width = writer.fullwidth if sys.stdout.isatty() else _WIDTH
        Console(file=text, width=width, force_terminal=writer.hasmarkup).print(table(self.score))
        terminalreporter.write(text.getvalue())
        for line in remarks(self.score):
            terminalreporter.write_line(line)
        path = self._session.directory / "mutants.html"
        try:
            path.write_text(page(self.score, self._session.name), encoding="utf-8")
        except OSError as error:
            terminalreporter.write_line(f"Cannot write {path}: {error.strerror}.", red=True)
        else:
            terminalreporter.write_line(f"Mutants: {path}")

    def pytest_unconfigure(self) -> None:
        """The score is the last line."""
        if self.score is not None:
            print(self.score, flush=True)  # noqa: T201 - it is what was asked for

    @property
    def _session(self) -> Session:
        found: Session | None = self._config.pluginmanager.get_plugin("harness-session")
        assert found is not None  # noqa: S101 - it is there as soon as an experiment was run
        return found

    def _refuse_red(self) -> None:
        if self._failed:
            _refuse(
                f"{', '.join(self._failed)}: not HELD as it is, so a mutant could show nothing; mend it, or "
                "deselect it."
            )
        if not self._experiments:
            _refuse(
                "No experiment was run, so there is nothing that could notice a mutant; give paths of some."
            )

    def _go_through(self, session: pytest.Session) -> None:
        """Every mutant that is guarded, one after the other. Raises HarnessError when there is none."""
        objects = self._objects()
        every = mutants(objects)
        guards = {item: self._guards(item, objects) for item in self._experiments}
        self._need_known(every)
        declared = declared_equivalent(self._config.getini("equivalent_mutants"), every)
        found = [
            (mutant, [item for item in guards if _exactness(mutant, guards[item]) >= 0]) for mutant in every
        ]
        guarded = [(mutant, items) for mutant, items in found if items]
        if not guarded:
            raise HarnessError(
                "Nothing of what the experiments guard can be weakened; see Experiment.guards."
            )
        self._session.say(f"\n{len(guarded)} of {len(every)} mutants are guarded by an experiment")
        unguarded = tuple(mutant for mutant, items in found if not items)
        self.score = Score((), unguarded, left=len(guarded))
        for number, (mutant, items) in enumerate(guarded, start=1):
            self._session.say(f"[{number}/{len(guarded)}] {mutant}")
            ordered = self._ordered(mutant, items, guards)
            result = self._result(mutant, ordered, session, declared.get(str(mutant)))
            self._session.say(f"    {_told(result)}")
            self.score = Score((*self.score.results, result), unguarded, left=len(guarded) - number)

    def _objects(self) -> tuple[Manifest, ...]:
        """The objects that can be guarded: of the namespaces that the experiments are about."""
        assert self._mesh is not None  # noqa: S101 - an experiment was run
        cluster = self._mesh.cluster
        experiments = [one for every in self._experiments.values() for one in every]
        namespaces = {one.target.namespace: None for one in experiments}
        namespaces |= {guard.namespace: None for one in experiments for guard in one.guarded}
        namespaces |= {change.ref.namespace: None for every in self._controls.values() for change in every}
        kinds = [kind for kind in KINDS if cluster.knows(*kind)]
        found = (cluster.list(*kind, where) for where in namespaces if where for kind in kinds)
        return tuple(manifest for listed in found for manifest in listed)

    def _need_known(self, every: Sequence[Mutant]) -> None:
        """Raises HarnessError for a guard of something in which there is nothing to weaken: a slip of the pen."""
        for item, experiments in self._experiments.items():
            for guard in (guard for one in experiments for guard in one.guarded):
                if not any(guard.covers(mutant) for mutant in every):
                    raise HarnessError(
                        f"{item.nodeid} guards {guard}, in which nothing can be weakened; compare it with the object."
                    )

    def _guards(self, item: pytest.Item, objects: Sequence[Manifest]) -> Guards:
        experiments = self._experiments[item]
        if any(one.guards is not None for one in experiments):
            return tuple(guard for one in experiments for guard in one.guarded)
        if inferred := guards_of_controls(self._controls[item.path]):
            return inferred
        return tuple(guard for one in experiments for guard in guards_of_target(one.target, objects))

    def _ordered(
        self, mutant: Mutant, items: Sequence[pytest.Item], guards: Mapping[pytest.Item, Guards]
    ) -> list[pytest.Item]:
        """Those first that name the field most exactly; among equals who has noticed most notices this, too."""
        return sorted(items, key=lambda item: (-_exactness(mutant, guards[item]), -self._kills[item]))

    def _result(
        self, mutant: Mutant, items: Sequence[pytest.Item], session: pytest.Session, equivalent: str | None
    ) -> Result:
        """What becomes of a mutant: experiments are run with it until one notices."""
        if equivalent is not None:
            return Result(mutant, Fate.EQUIVALENT, reason=equivalent)
        since = time.monotonic()
        seen: list[Seen] = []
        for item in items:
            seen.append(self._verdict(mutant, item, session))
            if seen[-1].verdict is Verdict.VIOLATED:
                self._kills[item] += 1
                break
        return fated(mutant, seen, time.monotonic() - since)

    def _verdict(self, mutant: Mutant, item: pytest.Item, session: pytest.Session) -> Seen:
        """What an experiment says of a mutant; the mutant is gone afterwards."""
        self._mutant, self._judgements = mutant, []
        try:
            reports = runtestprotocol(item, log=False, nextitem=session)  # type: ignore[arg-type]  # see `play`
        finally:
            self._mutant = None
        self._settle(mutant)
        worst = max(self._judgements, key=lambda one: one.verdict, default=None)
        if worst is not None and worst.verdict is not Verdict.HELD:
            return Seen(item.name, worst.verdict, next(iter(worst.reasons), worst.evidence))
        broken = [_message(report) for report in reports if not report.passed]
        if worst is None or broken:
            return Seen(item.name, Verdict.INCONCLUSIVE, next(iter(broken), "no experiment was run"))
        return Seen(item.name, Verdict.HELD, "")

    def _mutated(
        self, experiment: Experiment, mesh: Mesh, weaken: Sequence[Change], mutant: Mutant, name: str
    ) -> Judgement:
        """Runs an experiment with a mutant in force; ends the test unless it is HELD."""
        self._runs += 1
        path = self._session.directory / "mutants" / f"{self._runs:04}.jsonl"
        with Journal(path) as journal:
            judgement = perform(
                experiment,
                mesh,
                name=f"{name} with {mutant}",
                run_id=f"{self._session.name}-m{self._runs}",
                seed=self._session.seed,
                journal=journal,
                ledger=Ledger(),
                watch=Quiet(),
                weaken=(*weaken, mutant.change),
                expect=Verdict.VIOLATED,
            )
        self._judgements.append(judgement)
        if judgement.verdict is not Verdict.HELD:
            raise _EnoughError(str(judgement.verdict.name))
        return judgement

    def _settle(self, mutant: Mutant) -> None:
        """Waits until a workload has its own pods again, which the next run starts from."""
        if mutant.ref.kind == "Deployment" and self._mesh is not None:
            cluster = self._mesh.cluster
            await_settled(cluster, mutant.ref, within=_SETTLES, wait=lambda: time.sleep(_PAUSE))


def fated(mutant: Mutant, seen: Sequence[Seen], seconds: float) -> Result:
    """What became of a mutant that some experiments were run with, which took so many seconds.

    VIOLATED is the only verdict that kills; INCONCLUSIVE proves nothing, neither that it was noticed nor that not.
    """
    by = tuple(one.experiment for one in seen)
    for verdict, fate in ((Verdict.VIOLATED, Fate.KILLED), (Verdict.INCONCLUSIVE, Fate.UNDECIDED)):
        for one in seen:
            if one.verdict is verdict:
                who = "" if fate is Fate.KILLED else f"{one.experiment}: "
                return Result(mutant, fate, by, f"{who}{one.why}", seconds)
    return Result(mutant, Fate.SURVIVED, by, "", seconds)


def _message(report: pytest.TestReport) -> str:
    """The first line of what a test failed with."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash else report.longreprtext).strip().partition("\n")[0]


def _refuse(sentence: str) -> NoReturn:
    pytest.exit(sentence, returncode=_REFUSED)


def _exactness(mutant: Mutant, found: Guards) -> int:
    """How exactly guards name the field of a mutant; -1 if they do not guard it."""
    return max((len(guard.field) for guard in found if guard.covers(mutant)), default=-1)


def _told(result: Result) -> str:
    by = ", ".join(result.by)
    match result.fate:
        case Fate.KILLED:
            return f"killed by {result.by[-1]} in {result.seconds:.1f} s: {result.reason}"
        case Fate.SURVIVED:
            return f"SURVIVED {by} in {result.seconds:.1f} s"
        case Fate.UNDECIDED:
            return f"UNDECIDED by {by} in {result.seconds:.1f} s: {result.reason}"
        case Fate.EQUIVALENT:
            return f"equivalent: {result.reason}"
