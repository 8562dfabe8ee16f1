"""What the sequential test costs and how often it is wrong, by simulation."""

from __future__ import annotations

from tests.bench.figures import Figures
from tests.support.simulated import simulate, wald

_ALPHA = 0.005  # of each of the two verdicts at the default confidence of 99 %
_OBJECTIVES = (0.95, 0.99, 0.999)
_DESIGN = (0.0, 0.1, 0.25, 0.5, 2.0, 3.0, 5.0)
_BAD_EVENTS = 400


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds the error rates at the border, and the average number of events against Wald's bound."""
    runs = 10_000 if quick else 100_000
    border = [
        simulate(at_least, 1 - at_least, alpha=_ALPHA, runs=runs, bad_events=_BAD_EVENTS, seed=1)
        for at_least in _OBJECTIVES
    ]
    slack = 3 * (_ALPHA * (1 - _ALPHA) / runs) ** 0.5
    limit = 100 * (_ALPHA + slack)
    figures.add("HELD by mistake at the border, stated 0.5 %", [100 * one.held for one in border], limit, "%")
    wrong = [100 * one.violated for one in border]
    figures.add("VIOLATED by mistake at the border, stated 0.5 %", wrong, limit, "%")
    for times in (*_DESIGN, 10.0):
        name = f"events until the verdict, {times:g} times the budget bad, in Wald's bounds"
        ratios = [_ratio(at_least, times, runs) for at_least in _OBJECTIVES]
        figures.add(name, ratios, 1.3 if times in _DESIGN else None, "1")


def _ratio(at_least: float, times: float, runs: int) -> float:
    share = times * (1 - at_least)
    mean = simulate(at_least, share, alpha=_ALPHA, runs=runs, bad_events=_BAD_EVENTS, seed=2).events
    return mean / wald(at_least, share, alpha=_ALPHA)
