"""Every experiment of a session many times over: how often each verdict came.

A pytest plugin that takes the place of the loop over the tests.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from harness.report import Outcome, outcomes
from harness.verdict import Verdict

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 120  # where there is no terminal to fit


def play(session: pytest.Session) -> None:
    """Runs every test once, as pytest does, but keeps what they all share for those that come after.

    Raises:
        pytest.Session.Failed, pytest.Session.Interrupted: the session has to stop (`-x`, for example).
    """
    for item in session.items:
        # With the session as the next test, the mesh stays and everything else ends.
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=session)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)


class Repeats:
    """A session whose tests are run `times` times, one round after the other."""

    def __init__(self, config: pytest.Config, times: int) -> None:
        self._config = config
        self._times = times
        self._failed: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """The loop over the tests, several times."""
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest says what is wrong, or lists the tests
        for _ in range(self._times):
            play(session)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts the failures."""
        if report.failed:
            self._failed[report.nodeid] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows how often each verdict came."""
        session = self._config.pluginmanager.get_plugin("harness-session")
        if session is None:
            return
        from rich.console import Console  # noqa: PLC0415 - only when there is something to show

        writer, text = self._config.get_terminal_writer(), StringIO()
        width = writer.fullwidth if sys.stdout.isatty() else _WIDTH
        directory: Path = session.directory
        Console(file=text, width=width, force_terminal=writer.hasmarkup).print(repeated(outcomes(directory)))
        terminalreporter.write(text.getvalue())
        failed = sum(self._failed.values())
        amiss = ", ".join(f"{nodeid} ({number} times)" for nodeid, number in self._failed.items())
        terminalreporter.write_line(
            f"{self._times} rounds: {failed} runs not as expected{': ' if amiss else ''}{amiss}"
        )


def repeated(every: Sequence[Outcome]) -> Table:
    """How often each verdict came of each experiment, and how long it took, for a terminal."""
    from rich.markup import escape  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415

    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in every:
        found[outcome.started.name].append(outcome)
    shown = Table(title="Repeats", title_justify="left", expand=True)
    shown.add_column("experiment", overflow="fold")
    for heading in (
        "expected",
        "runs",
        *(verdict.name for verdict in Verdict),
        "unexpected",
        "s",
        "s at most",
    ):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, runs in found.items():
        verdicts = Counter(one.judgement.verdict for one in runs)
        seconds = [one.seconds for one in runs]
        amiss = sum(not one.as_expected for one in runs)
        shown.add_row(
            escape(name),
            runs[0].started.expected,
            str(len(runs)),
            *(str(verdicts[verdict]) for verdict in Verdict),
            f"[red]{amiss}[/]" if amiss else "0",
            f"{median(seconds):.1f}",
            f"{max(seconds):.1f}",
        )
    return shown
