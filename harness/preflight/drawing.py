"""Caveats as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.caveats import Caveat

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"refuse": "red", "warn": "yellow"}


def table(rows: Sequence[tuple[str, Caveat]]) -> Table:
    """Caveats with the name of the experiment that they were found for; several experiments share a row."""
    from rich.markup import escape  # noqa: PLC0415 - only when there is something to show
    from rich.table import Table  # noqa: PLC0415

    shown = Table(title="Preflight", title_justify="left", expand=True)
    for heading in ("experiments", "severity", "where", "why", "what to do"):
        shown.add_column(heading, overflow="fold", no_wrap=heading == "severity")
    of: dict[Caveat, list[str]] = {}
    for name, caveat in rows:
        of.setdefault(caveat, []).append(name)
    for caveat, names in sorted(of.items(), key=lambda item: item[0].severity):
        word = f"{caveat.severity} (overridden)" if caveat.overridden else caveat.severity
        every = ", ".join(dict.fromkeys(names))
        cells = (caveat.field, f"{caveat.reason} ({caveat.code})", caveat.fix)
        shown.add_row(
            escape(every), f"[bold {_COLOURS[caveat.severity]}]{word}[/]", *(escape(cell) for cell in cells)
        )
    return shown
