"""Figures: what was measured, beside what is to be reached and how busy the machine was meanwhile."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.table import Table

At = Literal["max", "p99", "median"]


@dataclass
class Figures:
    """A table that grows and is told line by line.

    Machines are shared and noisy: each figure has the load average of the last minute beside it, which on an idle
    machine is below its number of cores only because of the measuring itself.
    """

    _console: Console = field(default_factory=lambda: Console(width=130))
    _table: Table = field(
        default_factory=lambda: Table("figure", "measured", "to reach", "load", "", title="Figures")
    )

    def add(self, name: str, values: Sequence[float], limit: float | None, unit: str, at: At = "max") -> None:
        """Adds a figure. Args: limit: what it must not exceed, in `unit`; None for one that is told only."""
        value = {"max": max, "p99": p99, "median": statistics.median}[at](values)
        wanted = "" if limit is None else f"<= {limit:g}"
        load = f"{os.getloadavg()[0]:.1f}"
        spread = (
            f"{at} of {len(values)}, median {statistics.median(values):.4g}, least {min(values):.4g}"
            if len(values) > 1
            else ""
        )
        self._table.add_row(f"{name} ({unit})", f"{value:.4g}", wanted, load, spread)
        self._console.print(f"{name}: {value:.4g} {unit} (to reach: {wanted}; load {load}) {spread}")

    def show(self) -> None:
        """Prints the whole table."""
        self._console.print(self._table)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]
