"""What the annotations `standin.harness.local/*` of a pod ask of its service; the table is in `service`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from harness.localmesh.standins import settings
from harness.localmesh.standins.calls import Call, calls, parts
from harness.localmesh.standins.settings import Latency, Settings

T = TypeVar("T")

Protocol = Literal["http", "tcp"]

_KNOWN = (
    *("protocol", "latency", "seed", "status", "error-percent", "error-status", "error-grpc-status"),
    *(
        "calls",
        "order",
        "timeout",
        "propagate",
        "withhold",
        "fallback",
        "failure-status",
        "body-size",
        "exit",
    ),
)
_status = settings.integer(200, 599)
_grpc_status = settings.integer(1, 16)


@dataclass(frozen=True)
class Behaviour:
    """The settings of one service, parsed; times in seconds, `error_grpc_status` 0: what `error_status` means there."""

    latency: Latency = field(default_factory=Latency)
    seed: str = ""
    status: int = 200
    error_percent: float = 0.0
    error_status: int = 503
    error_grpc_status: int = 0
    calls: tuple[Call, ...] = ()
    parallel: bool = False
    timeout: float = 10.0
    propagate: tuple[str, ...] = ()
    withhold: tuple[str, ...] = ()
    may_fail: frozenset[str] = frozenset()
    failure_status: int = 503
    body_size: int = 0
    protocol: Mapping[int, Protocol] = field(default_factory=dict)
    exit: int | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], ports: tuple[int, ...] = ()) -> Behaviour:
        """The behaviour that the variables STANDIN_* ask for, in a pod with these ports.

        Raises:
            settings.SettingError: one is unknown or has a value that it cannot have.
        """
        given = Settings(environ, _KNOWN)
        made = given.get("calls", calls, cls.calls)

        def exit_code(text: str) -> int | None:
            return settings.integer(0, 255)(text)

        return cls(
            latency=given.get("latency", settings.latency, Latency()),
            seed=given.get("seed", str, cls.seed),
            status=given.get("status", _status, cls.status),
            error_percent=given.get("error-percent", settings.percentage, cls.error_percent),
            error_status=given.get("error-status", _status, cls.error_status),
            error_grpc_status=given.get("error-grpc-status", _grpc_status, cls.error_grpc_status),
            calls=made,
            parallel=given.get("order", _order, cls.parallel),
            timeout=given.get("timeout", _positive, cls.timeout),
            propagate=given.get("propagate", _names, cls.propagate),
            withhold=given.get("withhold", _names, cls.withhold),
            may_fail=given.get("fallback", lambda text: _may_fail(text, made), cls.may_fail),
            failure_status=given.get("failure-status", _status, cls.failure_status),
            body_size=given.get("body-size", settings.integer(0, 16 * 1024 * 1024), cls.body_size),
            protocol=given.get("protocol", lambda text: _protocol(text, ports), dict.fromkeys(ports, "http")),
            exit=given.get("exit", exit_code, cls.exit),
        )

    def calls_for(self, path: str) -> tuple[Call, ...]:
        """What to call for a request of `path`."""
        fitting = [call for call in self.calls if f"{path}/".startswith(f"{call.path.rstrip('/')}/")]
        longest = max((len(call.path) for call in fitting), default=0)
        return tuple(call for call in fitting if len(call.path) == longest)


def weighted(text: str, parse: Callable[[str], T]) -> tuple[tuple[T, float], ...]:
    """The pairs of value and percentage in "503:20,404:5"; without a percentage it is 100.

    Raises:
        ValueError: a value does not parse, or the percentages exceed 100 together.
    """
    pairs = []
    for part in text.split(","):
        value, colon, percent = part.partition(":")
        pairs.append((parse(value), settings.percentage(percent) if colon else 100.0))
    if sum(percent for _, percent in pairs) > 100:
        raise ValueError("the percentages exceed 100")
    return tuple(pairs)


def _may_fail(text: str, made: tuple[Call, ...]) -> frozenset[str]:
    called = {call.url for call in made}
    if text in ("true", "false"):
        return frozenset(called if text == "true" else ())
    urls = frozenset(parts(text))
    if unknown := urls - called:
        raise ValueError(f"{min(unknown)} is not among the calls")
    return urls


def _order(text: str) -> bool:
    if text not in ("sequence", "parallel"):
        raise ValueError('give "sequence" or "parallel"')
    return text == "parallel"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.lower() for part in parts(text))
    for name in names:
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise ValueError(f"{name!r} is not the name of a header")
    return names


def _protocol(text: str, ports: tuple[int, ...]) -> Mapping[int, Protocol]:
    known: Mapping[str, Protocol] = {"http": "http", "tcp": "tcp"}
    if text in known:
        return dict.fromkeys(ports, known[text])
    found: dict[int, Protocol] = dict.fromkeys(ports, "http")
    for part in parts(text):
        name, _, protocol = part.partition("=")
        if protocol not in known or not name.isdecimal():
            raise ValueError(
                'give "http" (which includes gRPC), "tcp", or one for each port as in "9000=tcp,8080=http"'
            )
        if int(name) not in ports:
            raise ValueError(f"{name} is not a containerPort of the container")
        found[int(name)] = known[protocol]
    return found


def _positive(text: str) -> float:
    seconds = settings.duration(text)
    if seconds <= 0:
        raise ValueError("give a duration longer than 0")
    return seconds
