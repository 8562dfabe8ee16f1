"""A mutation score for people: a table for the terminal, and a page of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from harness.mutation.mutant import Mutant
from harness.mutation.score import Fate, Result, Score

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {Fate.KILLED: "green", Fate.SURVIVED: "red", Fate.UNDECIDED: "yellow", Fate.EQUIVALENT: "dim"}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;
vertical-align:top}.killed{color:#0a6b2d}.undecided{color:#8a5a00}.survived{color:#b3141c;font-weight:700}
.equivalent,small{color:#666}code{font-size:90%}
"""


def table(score: Score) -> Table:
    """The mutants that were run, for a terminal."""
    from rich.markup import escape as plain  # noqa: PLC0415 - only when there is something to show
    from rich.table import Table  # noqa: PLC0415

    shown = Table(title="Mutants", title_justify="left", expand=True)
    for heading in ("object", "field", "weakened by", "fate", "experiments"):
        shown.add_column(heading, overflow="fold", no_wrap=heading == "fate")
    shown.add_column("s", justify="right", no_wrap=True)
    for one in score.results:
        shown.add_row(
            plain(str(one.mutant.ref)),
            plain(one.mutant.field),
            plain(one.mutant.operator),
            f"[{_COLOURS[one.fate]}]{one.fate.value}[/]",
            plain(_who(one)),
            f"{one.seconds:.1f}",
        )
    return shown


def remarks(score: Score) -> list[str]:
    """Each mutant that was not killed, with the reason, and what nobody guards."""
    lines = [
        f"{one.fate.value}: {one.mutant}: {_because(one)}"
        for fate in (Fate.SURVIVED, Fate.UNDECIDED, Fate.EQUIVALENT)
        for one in score.of(fate)
    ]
    if score.unguarded:
        objects = Counter(str(mutant.ref) for mutant in score.unguarded)
        listed = ", ".join(f"{name} ({number})" for name, number in objects.items())
        lines.append(
            f"{len(score.unguarded)} mutants were not run, since no experiment guards their fields: {listed}"
        )
    return lines


def page(score: Score, title: str) -> str:
    """The page: the score, each mutant, and what nobody guards."""
    rows = "".join(map(_row, score.results))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mutants {escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Mutants</h1><p>{escape(str(score))}. "
        f'Run {escape(title)}; <a href="index.html">the experiments without mutants</a>.</p>'
        "<table><thead><tr><th>object<th>field<th>weakened by<th>weaker because<th>fate<th>experiments<th>reason"
        f"<th>s</tr></thead><tbody>{rows}</tbody></table>{_unguarded(score.unguarded)}</body></html>\n"
    )


def _row(one: Result) -> str:
    mutant = one.mutant
    cells = (
        escape(str(mutant.ref)),
        f"<code>{escape(mutant.field)}</code>",
        escape(mutant.operator),
        escape(mutant.why),
        f'<span class="{one.fate.value}">{one.fate.value}</span>',
        escape(_who(one)),
        escape(one.reason),
        f"{one.seconds:.1f}",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _unguarded(mutants: Sequence[Mutant]) -> str:
    if not mutants:
        return ""
    items = "".join(f"<li>{escape(str(mutant))}</li>" for mutant in mutants)
    return f"<h2>Not run: no experiment guards these fields</h2><ul>{items}</ul>"


def _who(one: Result) -> str:
    if one.fate is Fate.KILLED:
        return one.by[-1]
    return ", ".join(one.by)


def _because(one: Result) -> str:
    if one.fate is Fate.SURVIVED:
        return f"{one.mutant.why}, and {', '.join(one.by)} did not notice"
    return one.reason
