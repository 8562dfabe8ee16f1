"""The pytest plugin: experiments are tests that use the fixture `run`.

Exit codes: 0 when every verdict was the expected one, 10 when the only tests that failed are INCONCLUSIVE, 1
for any other failure, 2 when there is no mesh to work with, preflight refused, or the session was interrupted. A
session whose tests use none of these fixtures imports nothing more than this file and the options.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from io import StringIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO

import pytest

from harness.errors import HarnessError
from harness.options import add_options

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.table import Table

    from harness.caveats import Caveat
    from harness.changes import Change
    from harness.experiment import Experiment, Mesh
    from harness.report import Outcome
    from harness.verdict import Judgement, Verdict

INCONCLUSIVE_EXIT = 10
"""The exit code of a session in which nothing failed but verdicts that could not be reached."""

_NO_MESH_EXIT = 2
_REFUSED_EXIT = 2  # as above: something has to be mended first
_NAME = "harness-session"
_PATIENCE_LOCAL = 20.0
_WIDTH = 160  # of the table where there is no terminal to fit
_PATIENCE_EXISTING = 90.0  # Prometheus usually scrapes a cluster every 15 s


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the harness; without any of them the experiments run on a local mesh."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Lets another loop over the tests take the place of pytest's own, when it is asked for."""
    if config.option.harness_mutate:
        from harness.campaign import Campaign  # noqa: PLC0415 - sessions without it pay nothing

        config.pluginmanager.register(Campaign(config), "harness-campaign")
    elif config.option.harness_repeat > 1:
        from harness.repeats import Repeats  # noqa: PLC0415 - as above

        config.pluginmanager.register(Repeats(config, config.option.harness_repeat), "harness-repeats")


class Run(Protocol):
    """The type of the fixture `run`."""

    def __call__(
        self, experiment: Experiment, *, weaken: Sequence[Change] = (), expect: Verdict = ...
    ) -> Judgement:
        """Runs an experiment; the test fails unless the verdict is `expect`, by default HELD."""
        ...


class _Session:
    """What the experiments of one pytest session share; a plugin of its own, there only if they are."""

    def __init__(self, config: pytest.Config) -> None:
        from datetime import datetime  # noqa: PLC0415 - sessions without experiments pay nothing

        from harness.rehearsal import Rehearsal  # noqa: PLC0415 - as above

        given: int | None = config.getoption("--harness-seed")
        reports = config.getoption("--harness-reports")
        self.config = config
        self.name = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        self.seed = secrets.randbelow(2**32) if given is None else given
        self.directory = ((Path(reports) if reports else config.rootpath / "reports") / self.name).absolute()
        self.runs = 0
        self.rehearsal = Rehearsal(config.option)
        self._caveats: list[tuple[str, Caveat]] = []
        self._refused: set[str] = set()
        self._inconclusive: set[str] = set()
        self._failed: set[str] = set()

    @classmethod
    def of(cls, config: pytest.Config) -> _Session:
        """The session of these experiments, begun on first use."""
        found: _Session | None = config.pluginmanager.get_plugin(_NAME)
        if found is None:
            found = cls(config)
            config.pluginmanager.register(found, _NAME)
        return found

    def say(self, text: str) -> None:
        """Shows a line to the person who waits, although pytest captures output."""
        with self.uncaptured() as stream:
            print(text, file=stream, flush=True)

    @contextmanager
    def uncaptured(self) -> Iterator[TextIO]:
        """The standard output as it was before pytest captured it."""
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            yield sys.stdout

    def add(self, outcome: Outcome, nodeid: str) -> None:
        """One more run is over."""
        if outcome.judgement.verdict.name == "INCONCLUSIVE" and not outcome.as_expected:
            self._inconclusive.add(nodeid)
        self.caution(outcome.caveats, nodeid)

    def caution(self, caveats: Sequence[Caveat], nodeid: str) -> None:
        """Keeps what preflight found of an experiment."""
        self._caveats += [(nodeid.rpartition("::")[2], caveat) for caveat in caveats]
        if any(caveat.stops for caveat in caveats):
            self._refused.add(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remembers which tests failed."""
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Gives a session in which nothing but INCONCLUSIVE failed an exit code of its own; ends a rehearsal."""
        self.rehearsal.end()
        refused = self._refused if self.rehearsal.asked else self._refused & self._failed
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED and self._failed <= self._inconclusive:
            session.exitstatus = _REFUSED_EXIT if refused else INCONCLUSIVE_EXIT
        elif session.exitstatus == pytest.ExitCode.OK and refused:
            session.exitstatus = _REFUSED_EXIT

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows what preflight found, the verdicts, and where the report is."""
        if self._caveats:
            from harness.preflight import table  # noqa: PLC0415 - as above

            self._show(table(self._caveats), terminalreporter)
        elif self.config.option.harness_check:
            terminalreporter.write_line("Preflight has found nothing.")
        if not any(self.directory.glob("*.jsonl")):
            return
        from harness import report  # noqa: PLC0415 - as above

        try:
            self._show(report.table(report.outcomes(self.directory)), terminalreporter)
            terminalreporter.write_line(f"Report: {report.write(self.directory)}")
        except (HarnessError, OSError) as error:
            terminalreporter.write_line(f"There is no report: {error}", red=True)

    def _show(self, table: Table, terminalreporter: pytest.TerminalReporter) -> None:
        from rich.console import Console  # noqa: PLC0415 - as above

        writer = self.config.get_terminal_writer()
        text = StringIO()
        width = writer.fullwidth if sys.stdout.isatty() else _WIDTH
        Console(file=text, width=width, force_terminal=writer.hasmarkup).print(table)
        terminalreporter.write(text.getvalue())


@pytest.fixture(scope="session")
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """The mesh of the session: the one the options name, otherwise a local one that ends with the session.

    What earlier runs left in it is undone first. Ends the session with exit code 2 when there is no such mesh.
    """
    session = _Session.of(request.config)
    with ExitStack() as stack:
        try:
            mesh = _connect(session, stack)
        except HarnessError as error:
            pytest.exit(str(error), returncode=_NO_MESH_EXIT)
        yield mesh


@pytest.fixture
def run(request: pytest.FixtureRequest, mesh: Mesh) -> Run:
    """Runs experiments: `run(experiment)`, or `run(experiment, weaken=[...], expect=Verdict.VIOLATED)`."""
    from harness.verdict import Verdict  # noqa: PLC0415 - as above

    session = _Session.of(request.config)
    numbers = count(1)

    def run_once(
        experiment: Experiment, *, weaken: Sequence[Change] = (), expect: Verdict = Verdict.HELD
    ) -> Judgement:
        __tracebackhide__ = True
        if request.config.option.no_controls and expect is not Verdict.HELD:
            pytest.skip("a control, left out by --no-controls")
        if session.rehearsal.asked:
            _rehearse(session, mesh, experiment, request.node.nodeid, weaken=weaken, expect=expect)
        number = next(numbers)
        name = request.node.name if number == 1 else f"{request.node.name} #{number}"
        try:
            outcome = _perform(session, mesh, experiment, name=name, weaken=weaken, expect=expect)
        except OSError as error:
            pytest.fail(
                f"{name}: the run could not be shown or written down ({error}), so it has no verdict; look at the "
                "disk of --harness-reports. What it changed is undone, or is left to `harness heal`.",
                pytrace=False,
            )
        session.add(outcome, request.node.nodeid)
        if not outcome.as_expected:
            pytest.fail(outcome.failure, pytrace=False)
        return outcome.judgement

    return run_once


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """An experiment that cannot be is told in its sentence, without the way through our own code."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, HarnessError):
        report.longrepr = str(call.excinfo.value)
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    """Turns Allure results on when there are experiments, so that each session leaves them with its report."""
    option = session.config.option
    if option.collectonly or option.harness_mutate or not any(map(_is_experiment, session.items)):
        return
    from harness.report import start_allure  # noqa: PLC0415 - as above

    start_allure(session.config, _Session.of(session.config).directory / "allure-results")


def _is_experiment(item: pytest.Item) -> bool:
    """Whether a test uses our fixture `mesh`, and not one of that name of its own project."""
    info = getattr(item, "_fixtureinfo", None)
    definitions = info.name2fixturedefs.get("mesh", ()) if info else ()
    return any(definition.func.__module__ == __name__ for definition in definitions)


def _connect(session: _Session, stack: ExitStack) -> Mesh:
    """The mesh that the options name, checked and healed. Raises HarnessError when there is none."""
    from harness.cluster import Cluster  # noqa: PLC0415 - as above
    from harness.experiment import Mesh  # noqa: PLC0415 - as above
    from harness.injection import heal  # noqa: PLC0415 - as above
    from harness.ledger import Ledger  # noqa: PLC0415 - as above
    from harness.prometheus import Prometheus  # noqa: PLC0415 - as above
    from harness.protection import confirm  # noqa: PLC0415 - as above

    options = session.config.option
    existing = _existing(options)
    kubeconfig, entry, prometheus = existing or _launch(session, stack)
    cluster = stack.enter_context(Cluster.connect(kubeconfig, options.kube_context if existing else None))
    _check_entry(entry)
    patience = options.harness_patience or (_PATIENCE_EXISTING if existing else _PATIENCE_LOCAL)
    mesh = Mesh(cluster, entry, Prometheus(prometheus), patience=patience)
    stack.callback(mesh.prometheus.close)
    session.say(f"Seed {session.seed} (repeat with --harness-seed={session.seed})")
    if session.rehearsal.asked:
        return mesh
    if existing:
        confirm(cluster.context, session.config.getini("protected_contexts"), options.allow_context)
    healing = heal(cluster, Ledger())
    for text in (*healing.done, *healing.kept, *healing.claimed):
        session.say(f"Left by an earlier run: {text}")
    for text in healing.unseen:
        session.say(text)
    if healing.failed:
        what = "; ".join(healing.failed)
        raise HarnessError(
            f"An earlier run left something that cannot be undone: {what}. Repair it, then run again."
        )
    return mesh


def _existing(options: Namespace) -> tuple[Path | None, str, str] | None:
    """Kubeconfig, entry and Prometheus of the existing mesh that the options name, or None for a local one."""
    named = {
        "--kubeconfig": options.kubeconfig,
        "--kube-context": options.kube_context,
        "--entry-url": options.entry_url,
        "--prometheus-url": options.prometheus_url,
    }
    given = [option for option, value in named.items() if value]
    if not given:
        return None
    if options.mesh == "local":
        raise HarnessError(
            f"--mesh=local brings up a mesh of its own; leave out {', '.join(given)}, or --mesh=local."
        )
    lacking = [option for option in ("--entry-url", "--prometheus-url") if not named[option]]
    if lacking:
        raise HarnessError(f"{given[0]} means an existing mesh, which also needs {' and '.join(lacking)}.")
    kubeconfig = Path(options.kubeconfig).expanduser() if options.kubeconfig else None
    return kubeconfig, options.entry_url, options.prometheus_url


def _launch(session: _Session, stack: ExitStack) -> tuple[Path, str, str]:
    """Brings a local mesh up. Raises HarnessError when that fails."""
    from harness.localmesh.errors import MeshError  # noqa: PLC0415 - as above
    from harness.localmesh.launch import launch  # noqa: PLC0415 - as above

    given = session.config.option.manifests or [session.config.rootpath / "experiments" / "shop.yaml"]
    manifests = [Path(path) for path in given]
    if missing := [str(path) for path in manifests if not path.exists()]:
        raise HarnessError(
            f"There is no {' and no '.join(missing)} to bring the local mesh up with; see --manifests."
        )
    try:
        addresses = stack.enter_context(launch(manifests, session.say))
    except MeshError as error:
        raise HarnessError(str(error)) from error
    return addresses.kubeconfig, addresses.entry_url, addresses.prometheus_url


def _check_entry(url: str) -> None:
    """Raises HarnessError unless something answers HTTP there, whatever it says."""
    import httpx  # noqa: PLC0415 - as above

    from harness.journal import without_secrets  # noqa: PLC0415 - as above

    try:
        httpx.get(url, timeout=5.0, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise HarnessError(
            f"The entry URL {without_secrets(url)} does not answer ({reason}); correct --entry-url."
        ) from error


def _rehearse(
    session: _Session,
    mesh: Mesh,
    experiment: Experiment,
    nodeid: str,
    *,
    weaken: Sequence[Change],
    expect: Verdict,
) -> NoReturn:
    """Shows what a run would do or not prove, and skips the rest of the test: it has no verdict to look at."""
    text, caveats = session.rehearsal.rehearse(
        experiment, mesh, run=session.name, seed=session.seed, weaken=weaken, expect=expect
    )
    if text:
        session.say(f"\n--- # {nodeid.rpartition('::')[2]}\n{text}")
    session.caution(caveats, nodeid)
    pytest.skip("rehearsal: nothing was written")


def _perform(
    session: _Session,
    mesh: Mesh,
    experiment: Experiment,
    *,
    name: str,
    weaken: Sequence[Change],
    expect: Verdict,
) -> Outcome:
    """Runs an experiment where a person can watch it, and keeps what it gave."""
    from harness import experiment as engine  # noqa: PLC0415 - as above
    from harness.journal import Journal  # noqa: PLC0415 - as above
    from harness.ledger import Ledger  # noqa: PLC0415 - as above
    from harness.preflight import overriding, preflight  # noqa: PLC0415 - as above
    from harness.progress import follow  # noqa: PLC0415 - as above
    from harness.report import Outcome, attach  # noqa: PLC0415 - as above

    session.runs += 1
    path = session.directory / f"{session.runs:03}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.jsonl"
    title = (
        f"\n{name}: {experiment.fault} on {experiment.target}, policy {'weakened' if weaken else 'intact'}"
    )
    with session.uncaptured() as stream, Journal(path) as journal:
        with follow(title, stream) as watch:
            engine.run(
                experiment,
                mesh,
                name=name,
                run_id=f"{session.name}-{session.runs}",
                seed=session.seed,
                journal=journal,
                ledger=Ledger(),
                watch=watch,
                weaken=weaken,
                expect=expect,
                preflight=overriding(preflight) if session.config.option.no_preflight else preflight,
            )
        outcome = Outcome.of(path)
        print("\n".join(outcome.lines), file=stream, flush=True)
    if session.config.pluginmanager.get_plugin("allure_listener"):
        attach(outcome)
    return outcome
