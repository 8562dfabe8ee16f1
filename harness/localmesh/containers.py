"""One container between its starts and its ends: what the kubelet remembers of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.probes import KINDS, Kind
from harness.localmesh.process import Process

_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STABLE = 600.0
_LEAST_GRACE = 2.0


@dataclass(frozen=True)
class Ended:
    """How a run of a container ended; `code` is 128 and the number of the signal that ended it, if one did."""

    code: int
    started: datetime
    finished: datetime

    @property
    def reason(self) -> str:
        """In Kubernetes' word."""
        return "Error" if self.code else "Completed"


@dataclass
class Stop:
    """An end that has been asked for: SIGTERM after the preStop hook, SIGKILL when the grace is over (monotonic)."""

    term_at: float
    kill_at: float
    asked: bool = False

    @classmethod
    def within(cls, grace: float, pre_stop: float, now: float) -> Stop:
        """The end of a container that has `grace` seconds for it, `pre_stop` of them for its hook.

        As kubelet has it, a program gets two seconds even if its hook has used up all.
        """
        term_at = now + min(pre_stop, grace)
        kill_at = now + grace
        return cls(term_at, max(kill_at, term_at + _LEAST_GRACE) if grace and pre_stop else kill_at)


@dataclass
class Container:
    """A container of a running pod. `proxy` is the Envoy's; `restart_at` (monotonic) is set while it waits.

    An `ephemeral` one was put into the pod while it ran: it is started once, and nobody waits for it.
    """

    spec: Manifest
    proxy: bool
    ephemeral: bool = False
    process: Process | None = None
    started: datetime | None = None
    ended: Ended | None = None
    restarts: int = 0
    restart_at: float | None = None
    delay: float = 0.0
    listening: bool = False
    passed: dict[Kind, bool] = field(default_factory=dict)
    stop: Stop | None = None
    _crashes: int = 0

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.spec["name"])

    @property
    def runs(self) -> bool:
        """Whether its process is there and has not been found to have ended."""
        return self.process is not None

    @property
    def has_started(self) -> bool:
        """Whether it runs, listens on its ports, and its startup probe, if it has one, has succeeded."""
        return self.runs and self.listening and self._passes("startup")

    @property
    def ready(self) -> bool:
        """Whether it has started and its readiness probe, if it has one, succeeds.

        Kubernetes does not wait for a container's ports; here the time between the start of a program and its first
        answer is not what is tested, unless a probe says so.
        """
        return self.has_started and self._passes("readiness")

    @property
    def pre_stop(self) -> float:
        """Seconds its preStop hook sleeps."""
        sleep = (self.spec.get("lifecycle", {}).get("preStop") or {}).get("sleep") or {}
        return float(sleep.get("seconds", 0))

    def begin(self, process: Process) -> None:
        """Notes that it runs, and that nothing is known about this run."""
        self.process, self.started = process, datetime.now(UTC)
        self.restart_at, self.stop, self.listening = None, None, False
        self.passed = {kind: False for kind in KINDS if self.spec.get(f"{kind}Probe") is not None}

    def end(self, code: int) -> None:
        """Notes that its process has ended (negative: by that signal) and gives its handle back."""
        if self.process is not None:
            self.process.reap()
        now = datetime.now(UTC)
        started = self.started or now
        if (now - started).total_seconds() > _STABLE:
            self._crashes = 0
        self.ended = Ended(128 - code if code < 0 else code, started, now)
        self.process, self.stop, self.listening = None, None, False

    def wait(self, now: float) -> None:
        """Notes that it is to be started again: later each time, as long as it does not run for ten minutes."""
        self.delay = _DELAYS[min(self._crashes, len(_DELAYS) - 1)]
        self._crashes += 1
        self.restarts += 1
        self.restart_at = now + self.delay

    def _passes(self, kind: Kind) -> bool:
        return self.passed.get(kind, True)
