"""Traffic: locust in a process of its own, which does not outlive the harness.

Locust patches the standard library through gevent (locustio/locust#2250), so it is started, never imported.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harness.errors import HarnessError

_STOP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_LATENCY = 0.05  # what a request may take before a user falls behind its share of the rate


@dataclass(frozen=True)
class Load:
    """Traffic of `rate` requests per second, at most, from a locust file.

    `profile` is a name in `loadprofiles/` of the current directory or the path of a locust file; `paths` are
    asked for, most frequent first; `users` defaults to as many as are needed if an answer takes 50 ms. Slow
    answers lower the rate: users wait for theirs; below four fifths of it no latency and no throughput is HELD. `alone`
    says that nobody else sends requests through the entry, so that it has to count as many as were sent. Raises
    HarnessError for a rate or a number of users that cannot be.
    """

    profile: str
    rate: float
    users: int | None = None
    paths: tuple[str, ...] = ("/",)
    alone: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise HarnessError(
                f'Load "{self.profile}": rate is {self.rate}; give requests per second above 0.'
            )
        for path in self.paths:
            if not path.startswith("/"):
                raise HarnessError(
                    f'Load "{self.profile}": the path "{path}" has to begin with "/"; write "/{path}".'
                )
        if self.users is not None and self.users < 1:
            raise HarnessError(
                f'Load "{self.profile}": users is {self.users}; give at least 1, or none at all.'
            )

    @property
    def population(self) -> int:
        """The number of users that send the traffic."""
        return self.users or max(1, math.ceil(self.rate * _LATENCY))

    @property
    def file(self) -> Path:
        """The locust file. Raises HarnessError when there is none."""
        candidates = (Path("loadprofiles") / f"{self.profile}.py", Path(self.profile))
        for path in candidates:
            if path.is_file():
                return path.resolve()
        looked = " nor ".join(str(path) for path in candidates)
        raise HarnessError(f'There is no load profile "{self.profile}": neither {looked} is a file.')

    def __str__(self) -> str:
        return f"{self.profile} {self.rate:g}/s"


@dataclass(frozen=True)
class Sent:
    """What the load generator counted itself; p50, p99 and mean of the answers in seconds, `rate` in requests/s."""

    requests: int
    failures: int
    p50: float
    p99: float
    rate: float
    mean: float = 0.0


class Traffic:
    """Running traffic; a context manager that stops it.

    To be created in the main thread: Linux ties the death of the process to the thread that started it.
    """

    def __init__(self, load: Load, entry_url: str, *, seed: int, log: Path) -> None:
        """Starts locust against `entry_url`; its messages go to `log`, its statistics to a file beside it.

        Raises HarnessError when there is no such profile, or when locust cannot be started.
        """
        self._log = log
        self._stats = log.with_suffix(".stats.json")
        self._sent: Sent | None = None
        command = _command(load, entry_url)
        rate = load.rate / load.population
        settings = {
            "HARNESS_RATE_PER_USER": repr(rate),
            "HARNESS_SEED": str(seed),
            "HARNESS_PATHS": ",".join(load.paths),
        }
        if threading.current_thread() is not threading.main_thread():
            raise HarnessError("Traffic has to be started in the main thread: it would outlive the harness.")
        try:
            with log.open("wb") as messages, self._stats.open("wb") as stats:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stats,
                    stderr=messages,
                    env={**os.environ, **settings},
                    start_new_session=True,
                    preexec_fn=_dies_with(os.getpid()),  # noqa: PLW1509 - no other thread holds a lock it needs
                )
        except OSError as error:
            raise HarnessError(f"Cannot start locust: {error}.") from error

    @property
    def pid(self) -> int:
        """The id of locust's process and process group."""
        return self._process.pid

    def cpu(self) -> float | None:
        """The seconds of CPU that locust has used so far; None where that cannot be known, or when it has ended."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return None
        user, system = stat.rpartition(")")[2].split()[11:13]  # fields 14 and 15 (proc(5))
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def failure(self) -> str | None:
        """Why there is no traffic any more, with the last line of locust's log; None while it runs."""
        code = self._process.poll()
        if code is None or self._sent is not None:
            return None
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"the load generator ended with code {code}: {lines[-1] if lines else 'it said nothing'}"

    def stop(self) -> Sent:
        """Ends the traffic and says what was sent; again gives the same answer. Kills locust after 5 s."""
        if self._sent is None:
            self._end(signal.SIGTERM)
            self._sent = sent(self._stats.read_text(errors="replace"))
        return self._sent

    def __enter__(self) -> Traffic:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def sent(stats: str) -> Sent:
    """Reads locust's JSON statistics; nothing readable counts as nothing sent."""
    try:
        entries = json.loads(stats)
    except ValueError:
        entries = []
    requests = sum(entry["num_requests"] for entry in entries)
    failures = sum(entry["num_failures"] for entry in entries)
    times: Counter[float] = Counter()
    for entry in entries:
        times.update(
            {float(milliseconds): number for milliseconds, number in entry["response_times"].items()}
        )
    begin = min((entry["start_time"] for entry in entries), default=0.0)
    end = max((entry["last_request_timestamp"] or begin for entry in entries), default=0.0)
    rate = requests / (end - begin) if end > begin else 0.0
    mean = sum(time * number for time, number in times.items()) / 1000 / max(1, times.total())
    return Sent(requests, failures, _quantile(times, 0.5), _quantile(times, 0.99), rate, mean)


def _quantile(times: Counter[float], share: float) -> float:
    """The smallest time in seconds that at least `share` of the requests did not exceed; 0 without any."""
    rank, seen = math.ceil(share * times.total()), 0
    for milliseconds in sorted(times):
        seen += times[milliseconds]
        if seen >= rank:
            return milliseconds / 1000
    return 0.0


def _command(load: Load, entry_url: str) -> list[str]:
    users = str(load.population)
    options = {"-f": str(load.file), "--host": entry_url, "-u": users, "-r": users, "--loglevel": "WARNING"}
    flat = [part for option in options.items() for part in option]
    return [
        sys.executable,
        "-m",
        "locust",
        *flat,
        "--headless",
        "--only-summary",
        "--json",
        "--exit-code-on-error",
        "0",
    ]


def _dies_with(parent: int) -> Callable[[], None]:
    """What a new process does so that the kernel kills it when `parent` dies, even by SIGKILL."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None)  # loaded here: nothing may be imported between fork and exec

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return bind
