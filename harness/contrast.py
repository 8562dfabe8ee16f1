"""Two runs, or two phases of one, held against each other from their journals: what differs, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from harness import comparison, journal
from harness.comparison import Difference
from harness.counts import Counts
from harness.errors import HarnessError
from harness.journal import Event, select


@dataclass(frozen=True)
class Contrast:
    """By how much one objective differs between two phases: its share of good events, and its promised quantile.

    The quantile is in seconds, None for an objective that is no latency.
    """

    slo: str
    share: Difference
    quantile: Difference | None

    def __str__(self) -> str:
        text = f"{self.slo}: {_points(self.share)}"
        if self.quantile is not None:
            low, high = 1000 * self.quantile.low, 1000 * self.quantile.high
            text += f"; quantile {1000 * self.quantile.value:+.1f} ms ({low:+.1f} to {high:+.1f})"
        return f"{text}{'' if self.certain else ': no difference that could be told from chance'}"

    @property
    def certain(self) -> bool:
        """Whether one of both differs for certain."""
        return self.share.certain or (self.quantile is not None and self.quantile.certain)


def contrast(
    first: tuple[Event, ...], second: tuple[Event, ...], *, phases: tuple[str, str] = ("observe", "observe")
) -> tuple[Contrast, ...]:
    """Every objective that both runs counted in those phases, the second minus the first, at the first's confidence.

    For two phases of one run give it twice, and the phases. Several objectives share the error: each is looked at with
    its part of it (Bonferroni). Raises HarnessError when they have none in common.
    """
    before, after = (_counted(events, phase) for events, phase in zip((first, second), phases, strict=True))
    names = [name for name in before if name in after and before[name].total and after[name].total]
    started = select(first, journal.RunStarted)
    if not started or not names:
        raise HarnessError(
            f"The two have no objective in common that was counted in {phases[0]} and {phases[1]}; give other phases."
        )
    shares = {objective.name: objective.at_least for objective in started[0].objectives}
    confidence = 1.0 - (1.0 - started[0].confidence) / len(names)
    found = []
    for name in names:
        times = [_times(events, phase, name) for events, phase in zip((first, second), phases, strict=True)]
        quantile = None
        if times[0] and times[1] and times[0].histogram.total and times[1].histogram.total:
            quantile = comparison.quantiles(times[0].histogram, times[1].histogram, shares[name], confidence)
        found.append(Contrast(name, comparison.shares(before[name], after[name], confidence), quantile))
    return tuple(found)


def _counted(events: tuple[Event, ...], phase: str) -> dict[str, Counts]:
    mine = [event for event in select(events, journal.Counted) if event.phase == phase]
    return {event.slo: counts for event in mine if (counts := event.counts) is not None}


def _times(events: tuple[Event, ...], phase: str, slo: str) -> journal.Timed | None:
    mine = [event for event in select(events, journal.Timed) if (event.phase, event.slo) == (phase, slo)]
    return mine[-1] if mine else None


def _points(share: Difference) -> str:
    return f"{100 * share.value:+.3f} points ({100 * share.low:+.3f} to {100 * share.high:+.3f})"
