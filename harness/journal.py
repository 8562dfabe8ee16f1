"""The journal of a run: append-only JSON lines, the only input of the judge and of the report.

Every line is one event, a frozen value with the time it happened (`at`, Unix seconds by the clock of
Prometheus) and is flushed when `write` returns, so that a run that was killed leaves everything it saw.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit, urlunsplit

from harness.caveats import Cautioned
from harness.errors import HarnessError
from harness.evident import Continued, OutsideSeen, PodsSeen, ReplacedSeen, ScaledSeen, ShareSeen
from harness.measured import Counted, EntryCounted, LoadReported, LoadWatched, Probed, Timed

__all__ = [
    "Cautioned",
    "Continued",
    "Counted",
    "EntryCounted",
    "Event",
    "GuardrailBreached",
    "Injected",
    "Journal",
    "Judged",
    "LoadReported",
    "LoadWatched",
    "Objective",
    "OutsideSeen",
    "PhaseEnded",
    "PhaseStarted",
    "PodsSeen",
    "Probed",
    "Recovered",
    "ReplacedSeen",
    "Resolved",
    "Reverted",
    "RunStarted",
    "ScaledSeen",
    "ShareSeen",
    "Stopped",
    "Timed",
    "Weakened",
    "read",
    "select",
    "without_secrets",
]


@dataclass(frozen=True)
class Objective:
    """An SLO as the journal keeps it: at least the fraction `at_least` of the events of `name` are good.

    `planned` is the number of events, fixed before the run, below which HELD is not said. `answers` says that an
    event is good when the caller got a good answer, so that the load generator's own count must not contradict it.
    `paced` says that it is a promise about traffic of the rate asked for: less of it proves less.
    """

    name: str
    at_least: float
    planned: int
    answers: bool = False
    paced: bool = False

    @property
    def error_budget(self) -> float:
        """The fraction of events that may be bad."""
        return 1.0 - self.at_least


@dataclass(frozen=True)
class RunStarted:
    """The first event: what is going to be done, to what, and with which limits.

    `expected` is the verdict the test asks for; `weakened` lists the policy changes of a control run; the
    three addresses are kept without user and password; `recover_within` is in seconds, `confidence` a
    fraction.
    """

    at: float
    run: str
    name: str
    target: str
    fault: str
    weakened: tuple[str, ...]
    objectives: tuple[Objective, ...]
    guardrails: tuple[Objective, ...]
    confidence: float
    recover_within: float
    load: str
    seed: int
    versions: tuple[str, ...]
    api: str
    entry: str
    prometheus: str
    expected: str = "HELD"


@dataclass(frozen=True)
class PhaseStarted:
    """A phase (resolve, gate, inject, observe, revert, recover or judge) begins."""

    at: float
    phase: str


@dataclass(frozen=True)
class PhaseEnded:
    """A phase is over, whatever came of it."""

    at: float
    phase: str


@dataclass(frozen=True)
class Resolved:
    """The pods that the target stood for, and what will prove the fault: the kind of its evidence, or "none".

    For "share", `asked_percent` of the requests to the target have to carry the mark of the fault; when it is aimed
    at some of them only (`partial`), any of them, and not more.
    """

    at: float
    pods: tuple[str, ...]
    evidence: str
    asked_percent: float = 0.0
    partial: bool = False


@dataclass(frozen=True)
class Weakened:
    """The policy changes of a control run are in force."""

    at: float
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Injected:
    """The fault was put in force by these changes; `refused` are those that the cluster did not let happen, and why."""

    at: float
    changes: tuple[str, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class GuardrailBreached:
    """A guardrail was violated while the fault was in force, so the fault was reverted at once."""

    at: float
    slo: str
    good: int
    total: int


@dataclass(frozen=True)
class Reverted:
    """What undoing did: of the "fault", of the weakened "policy", or of the "leftovers" of earlier runs."""

    at: float
    what: str
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Recovered:
    """Seconds from the end of the fault to good traffic on ready pods, or None, and what was still `amiss`.

    `blameless` is True when what is amiss says nothing about the mesh: no traffic, or a fault that is still
    there.
    """

    at: float
    seconds: float | None
    amiss: str = ""
    blameless: bool = False


@dataclass(frozen=True)
class Stopped:
    """The run could not go on: why no verdict is possible."""

    at: float
    reason: str


@dataclass(frozen=True)
class Judged:
    """The verdict as it was given at the time of the run."""

    at: float
    verdict: str
    reasons: tuple[str, ...]


Event = (
    RunStarted
    | PhaseStarted
    | PhaseEnded
    | Resolved
    | Cautioned
    | Weakened
    | Injected
    | ShareSeen
    | ReplacedSeen
    | ScaledSeen
    | PodsSeen
    | OutsideSeen
    | Continued
    | Counted
    | Timed
    | Probed
    | LoadReported
    | LoadWatched
    | EntryCounted
    | GuardrailBreached
    | Reverted
    | Recovered
    | Stopped
    | Judged
)
"""Everything that can stand in a journal."""

_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
_E = TypeVar("_E")


class Journal(AbstractContextManager["Journal"]):
    """An open journal; raises HarnessError when its file cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._events: list[Event] = []
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise HarnessError(f"Cannot write the journal {path}: {error.strerror}.") from error

    @property
    def events(self) -> tuple[Event, ...]:
        """What was written so far."""
        return tuple(self._events)

    def write(self, event: Event) -> None:
        """Appends `event`; the line has left this process when this returns."""
        with self._lock:
            self._events.append(event)
            self._file.write(_line(event) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file; again is harmless."""
        self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> tuple[Event, ...]:
    """The events of a journal file; a last line that a crash tore is left out.

    Raises HarnessError naming file and line for anything else that is not an event.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise HarnessError(f"Cannot read the journal {path}: {error.strerror}.") from error
    lines = text.split("\n")
    events: list[Event] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            events.append(_event(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):  # no newline after it: the write was cut off
                break
            raise HarnessError(f"{path}, line {number} is not an event of a journal ({error}).") from error
    return tuple(events)


def select(events: tuple[Event, ...], kind: type[_E]) -> tuple[_E, ...]:
    """The events of one kind, in order."""
    return tuple(event for event in events if isinstance(event, kind))


def without_secrets(url: str) -> str:
    """`url` without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _line(event: Event) -> str:
    raw = asdict(event)
    for address in ("api", "entry", "prometheus"):
        if address in raw:
            raw[address] = without_secrets(raw[address])
    return json.dumps({"event": type(event).__name__, **raw}, ensure_ascii=False, allow_nan=False)


def _event(raw: dict[str, Any]) -> Event:
    kind = _KINDS[raw.pop("event")]
    known = {field.name for field in fields(kind)}
    if unknown := raw.keys() - known:
        raise KeyError(f"unknown fields {sorted(unknown)}")
    for key in ("objectives", "guardrails"):
        if key in raw:
            raw[key] = tuple(Objective(**objective) for objective in raw[key])
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    event: Event = kind(**values)
    return event
