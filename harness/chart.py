"""A run as a picture: the share of good events and the rate of events over time, phases shaded, as plain SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harness import journal
from harness.journal import Event, select

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 260, 56, 56, 28, 34
_SHADES = {
    "gate": "#eef2f7",
    "inject": "#fdf3d8",
    "observe": "#fde2dd",
    "revert": "#fdf3d8",
    "recover": "#e3f3e6",
}
_LINES = ("#1b5fa8", "#8a3ffc", "#00795c", "#a2560a")
_RATE_LINE = "#8d98a5"
_SHORTEST = 0.1  # seconds between two looks from which a rate can be told


@dataclass(frozen=True)
class Point:
    """Between two looks that end at `at`: the share of good events, and all events per second."""

    at: float
    share: float
    rate: float


def points(events: tuple[Event, ...], slo: str) -> tuple[Point, ...]:
    """What happened between the looks at an SLO; looks too short or without a new event join the next."""
    found: list[Point] = []
    start, good, total, since = 0.0, 0, 0, 0.0
    for event in select(events, journal.Counted):
        if event.slo != slo or event.good is None or event.total is None:
            continue
        if event.start != start:  # another phase, counted from its own beginning
            start, good, total, since = event.start, 0, 0, event.start
        new, seconds = event.total - total, event.end - since
        if new > 0 and seconds >= _SHORTEST:
            share = min(1.0, max(0.0, (event.good - good) / new))
            found.append(Point(event.end, share, new / seconds))
            good, total, since = event.good, event.total, event.end
    return tuple(found)


def draw(events: tuple[Event, ...]) -> str:
    """The picture of one run as an SVG element; a sentence in it when nothing was counted."""
    names = list(dict.fromkeys(event.slo for event in select(events, journal.Counted)))
    lines = {name: found for name in names if (found := points(events, name))}
    body = _body(events, lines) if lines else '<text x="20" y="40">No event was counted.</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' font-family="sans-serif" font-size="11" fill="#333">'
        f"<title>Share of good events and rate over time</title>{body}</svg>"
    )


def _body(events: tuple[Event, ...], lines: dict[str, tuple[Point, ...]]) -> str:
    every = [point for found in lines.values() for point in found]
    phases = _phases(events)
    begin = min([point.at for point in every] + [since for _, since, _ in phases])
    end = max([point.at for point in every] + [until for _, _, until in phases])
    floor = _floor(min(point.share for point in every))
    fastest = max(point.rate for point in every) or 1.0
    x = _Scale(begin, end, _LEFT, _WIDTH - _RIGHT)
    share, rate = (
        _Scale(floor, 1.0, _HEIGHT - _BOTTOM, _TOP),
        _Scale(0.0, fastest * 1.1, _HEIGHT - _BOTTOM, _TOP),
    )
    shades = "".join(_shade(name, x(since), x(until)) for name, since, until in phases)
    first = next(iter(lines.values()))
    traces = _trace([(x(point.at), rate(point.rate)) for point in first], _RATE_LINE, dashed=True)
    legend = f'<tspan fill="{_RATE_LINE}">&#9472; events/s (right)</tspan> '
    for colour, (name, found) in zip(_LINES * len(lines), lines.items(), strict=False):
        traces += _trace([(x(point.at), share(point.share)) for point in found], colour)
        legend += f'<tspan fill="{colour}">&#9472; {escape(name)}</tspan> '
    return (
        f'{shades}{_axes(share, rate, x, begin)}{traces}<text x="{_LEFT}" y="{_HEIGHT - 4}">{legend}</text>'
    )


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return round(self.first + (value - self.low) / span * (self.last - self.first), 1)


def _phases(events: tuple[Event, ...]) -> list[tuple[str, float, float]]:
    ends = {event.phase: event.at for event in select(events, journal.PhaseEnded)}
    started = select(events, journal.PhaseStarted)
    return [
        (event.phase, event.at, ends.get(event.phase, event.at))
        for event in started
        if event.phase in _SHADES
    ]


def _floor(lowest: float) -> float:
    """Where the axis begins: close enough to 1 to see what matters, not so close that noise looks like harm."""
    return next(floor for floor in (0.99, 0.9, 0.5, 0.0) if lowest >= floor)


def _shade(name: str, left: float, right: float) -> str:
    width = max(1.0, right - left)
    label = f'<text x="{left + 3}" y="{_TOP - 6}" fill="#667">{name}</text>' if width > 40 else ""
    return (
        f'<rect x="{left}" y="{_TOP}" width="{width:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}"'
        f' fill="{_SHADES[name]}"><title>{name}</title></rect>{label}'
    )


def _axes(share: _Scale, rate: _Scale, x: _Scale, begin: float) -> str:
    marks = []
    for part in range(5):
        fraction, speed = (scale.low + (scale.high - scale.low) * part / 4 for scale in (share, rate))
        y = share(fraction)
        marks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#d5d9de" stroke-width="0.5"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{100 * fraction:.4g} %</text>'
            f'<text x="{_WIDTH - _RIGHT + 6}" y="{y + 4}">{speed:.0f}</text>'
        )
        at = begin + (x.high - begin) * part / 4
        marks.append(f'<text x="{x(at)}" y="{_HEIGHT - 20}" text-anchor="middle">{at - begin:.1f} s</text>')
    return "".join(marks)


def _trace(places: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    path = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'
