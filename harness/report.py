"""What remains of a session for people: a table, one HTML page without any other file, and Allure results.

Everything is taken from the journals, so a report can be written again from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from harness import chart, journal
from harness.assessment import burn_rate
from harness.caveats import Caveat
from harness.counts import Counts
from harness.errors import HarnessError
from harness.journal import Event, select
from harness.verdict import Judgement, Verdict, judge

if TYPE_CHECKING:
    import pytest
    from rich.table import Table

_COLOURS = {Verdict.HELD: "green", Verdict.INCONCLUSIVE: "yellow", Verdict.VIOLATED: "red"}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;
vertical-align:top}section{margin-top:3rem;border-top:3px solid #ccc}h3{margin:1rem 0 .2rem;text-transform:capitalize}
.HELD{color:#0a6b2d}.INCONCLUSIVE{color:#8a5a00}.VIOLATED{color:#b3141c}.verdict{font-weight:700}svg{width:100%}
.unexpected{background:#fff0ee}ul{margin:.2rem 0}small{color:#666}
"""


@dataclass(frozen=True)
class Outcome:
    """One run as the report shows it, made from its journal alone; `seconds` is how long it took."""

    path: Path
    events: tuple[Event, ...]
    started: journal.RunStarted
    judgement: Judgement
    seconds: float

    @classmethod
    def of(cls, path: Path) -> Outcome:
        """The outcome that a journal file tells. Raises HarnessError when it holds no run."""
        events = journal.read(path)
        started = select(events, journal.RunStarted)
        if not started:
            raise HarnessError(f"{path} holds no run; delete it or give another journal.")
        return cls(path, events, started[0], judge(events), events[-1].at - events[0].at)

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the test asked for."""
        return self.judgement.verdict.name == self.started.expected

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """What preflight found."""
        return tuple(event.caveat for event in select(self.events, journal.Cautioned))

    @property
    def lines(self) -> list[str]:
        """The verdict with everything it rests on."""
        judgement = self.judgement
        head = f"  {judgement.verdict.name} (expected {self.started.expected})"
        reasons = [f"    {reason}" for reason in judgement.reasons]
        return [head, *reasons, f"    evidence: {judgement.evidence}"]

    @property
    def failure(self) -> str:
        """What a test says whose verdict is not the one it asked for."""
        first = next(iter(self.judgement.reasons), self.judgement.evidence)
        title = f"{self.judgement.verdict.name} instead of {self.started.expected}: {first}"
        return "\n".join((title, *self.lines, f"  journal: {self.path}"))

    @property
    def title(self) -> str:
        """The test's name as people say it; the fault among its parameters has a place of its own."""
        name = self.started.name.removeprefix("test_").replace(f"[{self.started.fault}]", "")
        test, bracket, parameters = name.partition("[")
        return test.replace("_", " ") + bracket + parameters

    @property
    def policy(self) -> str:
        """Either "intact", or "weakened" in a control run."""
        return "weakened" if self.started.weakened else "intact"

    @property
    def numbers(self) -> str:
        """The counts of each objective while the fault was observed, named if there are several, and recovery."""
        observed = [finding for finding in self.judgement.findings if finding.phase == "observe"]
        budgets = {objective.name: objective for objective in self.started.objectives}
        parts = [
            f"{f'{finding.slo} ' * (len(observed) > 1)}{_share(finding.counts)}"
            f"{_burning(budgets[finding.slo], finding.counts)}"
            for finding in observed
            if finding.counts is not None
        ]
        recovered = select(self.events, journal.Recovered)
        if recovered and recovered[-1].seconds:
            parts.append(f"recovered in {recovered[-1].seconds:.1f} s")
        return ", ".join(parts)


def outcomes(directory: Path) -> tuple[Outcome, ...]:
    """The outcomes of all journals in a directory, in the order in which they were started.

    A journal in which a run did not even begin, since it was killed, is left out.
    """
    return tuple(Outcome.of(path) for path in sorted(directory.glob("*.jsonl")) if journal.read(path))


def table(every: Sequence[Outcome]) -> Table:
    """The verdicts of a session for a terminal."""
    from rich.markup import escape as plain  # noqa: PLC0415 - only when there is something to show
    from rich.table import Table  # noqa: PLC0415

    shown = Table(title="Verdicts", title_justify="left", expand=True)
    for heading in ("experiment", "fault", "policy", "verdict", "expected", "numbers", "evidence"):
        shown.add_column(heading, overflow="fold", no_wrap=heading in ("policy", "verdict", "expected"))
    shown.add_column("s", justify="right", no_wrap=True)
    for one in every:
        verdict = one.judgement.verdict
        shown.add_row(
            plain(one.title),
            one.started.fault,
            one.policy,
            f"[bold {_COLOURS[verdict]}]{verdict.name}[/]",
            one.started.expected if one.as_expected else f"[red]{one.started.expected}[/]",
            plain(one.numbers),
            plain(one.judgement.evidence),
            f"{one.seconds:.1f}",
        )
    return shown


def write(directory: Path) -> Path:
    """Writes `index.html` from the journals in `directory`, and points `latest` beside it here.

    Raises HarnessError when it cannot be written.
    """
    page = directory / "index.html"
    try:
        page.write_text(_page(directory.name, outcomes(directory)), encoding="utf-8")
        latest, fresh = directory.parent / "latest", directory.parent / f".latest-{directory.name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(directory.name, target_is_directory=True)
        fresh.replace(latest)
    except OSError as error:
        raise HarnessError(f"Cannot write the report {page}: {error.strerror}.") from error
    return page


def start_allure(config: pytest.Config, directory: Path) -> None:
    """Has allure-pytest write its results to `directory`, unless it was given another one or is switched off."""
    plugin = config.pluginmanager.get_plugin("allure_pytest")
    if plugin is None or getattr(config.option, "allure_report_dir", None):
        return
    config.option.allure_report_dir = str(directory)
    plugin.pytest_configure(config)


def attach(outcome: Outcome) -> None:
    """Adds a run to the Allure result of the current test: a step per phase, verdict, journal and chart."""
    import allure  # noqa: PLC0415 - only where a report is written

    kinds = allure.attachment_type
    for name, facts in _phases(outcome):
        with allure.step(f"{name}: {facts[0]}" if facts else name):
            if len(facts) > 1:
                allure.attach("\n".join(facts), name, kinds.TEXT)
    allure.dynamic.parameter("fault", outcome.started.fault)
    allure.dynamic.parameter("policy", outcome.policy)
    text = "\n".join((outcome.judgement.verdict.name, *outcome.judgement.reasons, outcome.judgement.evidence))
    allure.attach(text, "verdict", kinds.TEXT)
    allure.attach(chart.draw(outcome.events), "chart", kinds.SVG)
    allure.attach(outcome.path.read_text(encoding="utf-8"), "journal", "application/x-ndjson", "jsonl")


def _share(counts: Counts) -> str:
    return f"{100 * counts.good / counts.total:.3f} % of {counts.total:,}" if counts.total else "no event"


def _page(title: str, every: Sequence[Outcome]) -> str:
    rows = "".join(_row(number, one) for number, one in enumerate(every))
    sections = "".join(_section(number, one) for number, one in enumerate(every))
    seeds = ", ".join(sorted({str(one.started.seed) for one in every}))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Verdicts {escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Verdicts</h1><p>Run {escape(title)}, seed {escape(seeds)}</p>"
        "<table><thead><tr><th>experiment<th>fault<th>policy<th>verdict<th>expected<th>numbers<th>evidence<th>s"
        f"</tr></thead><tbody>{rows}</tbody></table>{sections}</body></html>\n"
    )


def _row(number: int, one: Outcome) -> str:
    verdict = one.judgement.verdict.name
    cells = (
        f'<a href="#run-{number}">{escape(one.title)}</a>',
        escape(one.started.fault),
        one.policy,
        f'<span class="verdict {verdict}">{verdict}</span>',
        escape(one.started.expected),
        escape(one.numbers),
        escape(one.judgement.evidence),
        f"{one.seconds:.1f}",
    )
    mark = "" if one.as_expected else ' class="unexpected"'
    return f"<tr{mark}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _section(number: int, one: Outcome) -> str:
    started, verdict = one.started, one.judgement.verdict.name
    about = (
        f"{started.fault} on {started.target}, policy {one.policy}, load {started.load}, seed {started.seed}"
    )
    phases = "".join(f"<h3>{escape(name)}</h3>{_list(facts)}" for name, facts in _phases(one))
    sent = "; ".join(map(_load, select(one.events, journal.LoadReported)))
    versions = escape(", ".join((*started.versions, started.api, started.entry, started.prometheus)))
    return (
        f'<section id="run-{number}"><h2>{escape(one.title)}: <span class="{verdict}">{verdict}</span></h2>'
        f"<p>{escape(about)}<br>{escape(sent)}</p>{chart.draw(one.events)}{phases}"
        f"<p><small>{versions}; journal {escape(one.path.name)}</small></p></section>"
    )


def _list(facts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>"


def _phases(one: Outcome) -> list[tuple[str, tuple[str, ...]]]:
    """Each phase that was reached, with what is known of it in sentences; judge always comes last."""
    ends = {event.phase: event.at for event in select(one.events, journal.PhaseEnded)}
    found: list[tuple[str, tuple[str, ...]]] = []
    for event in select(one.events, journal.PhaseStarted):
        seconds = ends.get(event.phase, event.at) - event.at
        found.append((event.phase, (*_facts(event.phase, one), f"took {seconds:.1f} s")))
    verdict = one.judgement
    evidence = (f"evidence: {verdict.evidence}",) if verdict.evidence else ()
    return [*found, ("judge", (verdict.verdict.name, *verdict.reasons, *evidence))]


def _facts(phase: str, one: Outcome) -> tuple[str, ...]:
    events = one.events
    last = {event.slo: event for event in select(events, journal.Counted) if event.phase == phase}
    budgets = {objective.name: objective for objective in one.started.objectives}
    times = {event.slo: event for event in select(events, journal.Timed) if event.phase == phase}
    counted = tuple(
        f"{name}: {_seen(event, budgets[name])}{_took(times.get(name), budgets[name])}"
        for name, event in last.items()
    )
    match phase:
        case "resolve":
            pods = tuple(", ".join(event.pods) for event in select(events, journal.Resolved))
            weakened = tuple(f"weakened: {change}" for change in one.started.weakened)
            caveats = tuple(f"preflight, {_word(caveat)}: {caveat}" for caveat in one.caveats)
            return (f"target {one.started.target}: {'; '.join(pods) or 'no pods'}", *weakened, *caveats)
        case "inject":
            changes = tuple(text for event in select(events, journal.Injected) for text in event.changes)
            return changes or ("nothing was changed",)
        case "observe":
            breaches = tuple(
                f"guardrail {event.slo} breached" for event in select(events, journal.GuardrailBreached)
            )
            return (*counted, *breaches)
        case "revert":
            healed = [event for event in select(events, journal.Reverted) if event.what == "fault"]
            return tuple(text for event in healed for text in (*event.done, *event.kept, *event.failed))
        case "recover":
            return (*counted, *map(_recovery, select(events, journal.Recovered)))
        case _:
            return counted


def _word(caveat: Caveat) -> str:
    return f"{caveat.severity} (overridden)" if caveat.overridden else caveat.severity


def _seen(event: journal.Counted, objective: journal.Objective) -> str:
    counts = event.counts
    if counts is None:
        return f"could not be counted ({event.missing})"
    return f"{_share(counts)}{_burning(objective, counts)}"


def _took(event: journal.Timed | None, objective: journal.Objective) -> str:
    """The quantile that was promised, as the buckets tell it."""
    found = event.histogram.quantile(objective.at_least) if event else None
    if found is None:
        return ""
    return f"; p{100 * objective.at_least:g} between {found.low:g} and {found.high:g} s, about {found.value:.3g} s"


def _burning(objective: journal.Objective, counts: Counts) -> str:
    """How fast the error budget was used up, 1 being as fast as allowed; nothing for a promise without a budget."""
    rate = burn_rate(objective, counts)
    if rate is None:
        return ""
    return f", {rate:.3g} x the error budget of {100 * objective.error_budget:.4g} %"


def _load(event: journal.LoadReported) -> str:
    return (
        f"The load generator sent {event.sent:,} requests at {event.rate:.0f}/s, {event.failed:,} of them failed;"
        f" p50 {1000 * event.p50:.0f} ms, p99 {1000 * event.p99:.0f} ms"
    )


def _recovery(event: journal.Recovered) -> str:
    return (
        f"not recovered: {event.amiss}" if event.seconds is None else f"recovered after {event.seconds:.1f} s"
    )
