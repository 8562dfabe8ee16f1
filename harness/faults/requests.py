"""Faults of requests: the callee's inbound listener answers in the program's place, or lets it wait. Pure.

There they act behind the caller's router, so the caller's retries, timeouts and ejection see them; the `fault` of a
VirtualService acts before the router, where none of them does (Envoy: the fault filter
precedes the router). It is had on request, `at="caller"`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.changes import Change, Create, Edit, Patch
from harness.errors import HarnessError
from harness.faults.callers import host_of, on_route
from harness.faults.evidence import Share
from harness.faults.fault import Fault, Rhythm, counted, made, need_percent, need_sidecars
from harness.scene import Needs, Pod, Scene

_SHORTEST = 0.001  # seconds; Envoy delays by whole milliseconds
_STEPS = 10  # of a rise: each adds a tenth of what was asked
_SHORTEST_RAMP = 2.0  # seconds; a sidecar has to get its configuration between two steps
_JITTER_STEPS = 4  # filters, each of which halves the grid: 16 delays of the same likelihood


class _OnRequests(Fault):
    """What both share: they hit `percent` of the requests to the target."""

    percent: float
    at: Literal["callee", "caller"]
    ramp: float

    @property
    def rhythm(self) -> Rhythm | None:
        """The steps of the rise: the first is taken at once, the last when `ramp` is over."""
        return Rhythm(self.ramp / (_STEPS - 1), _STEPS - 1) if self.ramp else None

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """One EnvoyFilter beside the target, whose pods need sidecars; at the caller a VirtualService or a Patch."""
        return (self._made(scene, 1 / _STEPS if self.ramp else 1.0),)

    def further(self, scene: Scene, pods: Sequence[Pod], time: int) -> tuple[Change, ...]:
        """The same object at the next step."""
        change = self._made(scene, (time + 1) / _STEPS)
        if isinstance(change, Create):
            return (Patch(change.ref, (Edit(("spec",), change.manifest["spec"]),)),)
        return (change,)

    @abstractmethod
    def _made(self, scene: Scene, part: float) -> Create | Patch:
        """The change that puts this part of the fault in force."""

    @property
    def needs(self) -> Needs:
        """At the caller, the routes to the target."""
        return Needs(routes=self.at == "caller")

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """All: at the callee the filter is in every sidecar of the target, at the caller on the way to all of them."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """The percentage of the requests that it hits at most."""
        return self.percent


@dataclass(frozen=True)
class Abort(_OnRequests):
    """`percent` of the requests are answered with `status` at the callee's inbound listener.

    With `grpc_status` instead (1 to 16, https://grpc.io/docs/guides/status-codes), gRPC requests get that status with
    HTTP 200. Others pass: to them Envoy's filter would answer 200 (measured with 1.40), which is no fault.

    Attributes:
        status: the HTTP status.
        percent: of the requests that `headers` and `path` let pass.
        grpc_status: the gRPC status.
        headers: only requests that carry all of these headers with exactly these values.
        path: only requests whose path begins with it.
        at: "callee", or "caller" for the `fault` of a VirtualService: of our own where none leads to the target, else
            of the one that does, unless it carries retries or a timeout, which would never see the fault.
        ramp: seconds in which `percent` is come to, in ten equal steps; 0 for at once. What was asked is measured, and
            the hypothesis tested, at the full strength; guardrails are watched from the start.

    Raises:
        HarnessError: `status` is not within 200-599 (Envoy's FaultAbort.http_status), not exactly one of the two is
            given, or `percent` is not within 0-100.
    """

    status: int | None = None
    percent: float = 100.0
    grpc_status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    path: str = ""
    at: Literal["callee", "caller"] = "callee"
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if (self.status is None) == (self.grpc_status is None):
            raise HarnessError("Abort cannot tell what to answer; give either status or grpc_status.")
        if self.status is not None and not 200 <= self.status <= 599:
            raise HarnessError(f"Abort cannot answer with status {self.status}; choose one from 200 to 599.")
        if self.grpc_status is not None and not 1 <= self.grpc_status <= 16:
            raise HarnessError(
                f"Abort cannot answer with gRPC status {self.grpc_status}; choose one from 1 to 16."
            )
        need_percent("Abort", self.percent)
        _need_match("Abort", self.headers, self.path)
        _need_ramp("Abort", self.ramp)
        if self.at == "caller" and self.grpc_status is not None:
            raise HarnessError(
                "Abort with a gRPC status would answer 200 to others at the caller; choose the callee."
            )

    def __str__(self) -> str:
        rising = f" in {self.ramp:g}s" if self.ramp else ""
        return f"abort {self._word} {self.percent:g}%{rising}{_where(self.headers, self.path, self.at)}"

    def _made(self, scene: Scene, part: float) -> Create | Patch:
        percent = self.percent * part
        if self.at == "caller":
            abort = {"httpStatus": self.status, "percentage": {"value": percent}}
            match = _route_match(self.headers, self.path)
            return on_route(self, scene, {"abort": abort}, match, ("abort", self._word))
        need_sidecars(self, scene)
        counted(scene)
        answer = (
            {"http_status": self.status} if self.status is not None else {"grpc_status": self.grpc_status}
        )
        config = {"abort": {**answer, "percentage": _fraction(percent)}}
        match = _matching(self.headers, self.path, grpc=self.grpc_status is not None)
        filters = [_inbound_filter({**config, **match})]
        return _envoy_filter(scene, ("abort", self._word), filters)

    def evidence(self, scene: Scene) -> Share:
        """The count of the side where it acts: Envoy flags what its fault filter answered with FI."""
        every = _every(self, scene)
        if self.status is not None:
            code = {"response_code": str(self.status)}
        else:
            every["request_protocol"] = "grpc"
            code = {"grpc_response_status": str(self.grpc_status)}
        hit = {**every, "response_flags": "FI", **code}
        aimed = bool(self.headers or self.path)
        return Share(hit, every, self.percent, partial=aimed, after=self.ramp)

    @property
    def _word(self) -> str:
        return str(self.status) if self.status is not None else f"grpc {self.grpc_status}"


@dataclass(frozen=True)
class Delay(_OnRequests):
    """`percent` of the requests wait for `seconds` at the callee's inbound listener before the program gets them.

    Envoy's fault filter knows fixed delays only, and each filter draws for itself which requests it delays. So a
    delay that varies by up to `jitter` to either side is built from several filters: one holds every request for
    `seconds - jitter`, each further one adds its part to half of them. The sum takes each of 16 evenly spaced values
    equally often. That is exact only where every request is delayed; with a smaller `percent` some requests would
    get the additions alone, so that is refused.

    Attributes:
        seconds: how long.
        percent: of the requests that `headers` and `path` let pass.
        jitter: how much more or less at most, in seconds.
        headers: only requests that carry all of these headers with exactly these values.
        path: only requests whose path begins with it.
        at: "callee", or "caller" for the `fault` of a VirtualService: of our own where none leads to the target, else
            of the one that does, unless it carries retries or a timeout, which would never see the fault.
        ramp: seconds in which both `seconds` and `percent` are come to, in ten equal steps; 0 for at once. What was
            asked is measured, and the hypothesis tested, at the full strength; guardrails are watched from the start.

    Raises:
        HarnessError: `seconds` is below 1 ms, `percent` not within 0-100, or `jitter` cannot be had.
    """

    seconds: float
    percent: float = 100.0
    jitter: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    path: str = ""
    at: Literal["callee", "caller"] = "callee"
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.seconds <= 3600:
            raise HarnessError(f"Delay cannot last {self.seconds:g} s; choose from 0.001 to 3600 s.")
        need_percent("Delay", self.percent)
        _need_match("Delay", self.headers, self.path)
        _need_ramp("Delay", self.ramp)
        if self.ramp and self.jitter:
            raise HarnessError(
                "Delay cannot both rise and vary: several filters that each delay a share hit other requests than one; "
                "choose jitter=0 or ramp=0."
            )
        if self.at == "caller" and self.jitter:
            raise HarnessError(
                "Delay cannot vary at the caller: a route has one fixed delay; choose the callee."
            )
        if not 0 <= self.jitter <= self.seconds - _SHORTEST:
            raise HarnessError(
                f"Delay cannot vary by {self.jitter:g} s around {self.seconds:g} s; a delay has to stay above 0 s."
            )
        if self.jitter and self.percent < 100:
            raise HarnessError(
                f"Delay cannot vary at {self.percent:g} % of the requests: Envoy's fault filter has fixed delays only, "
                "and several of them, each with its share, would also hit requests that are to pass; "
                "choose percent=100 or jitter=0."
            )

    def __str__(self) -> str:
        varying = f"±{self.jitter:g}" if self.jitter else ""
        rising = f" in {self.ramp:g}s" if self.ramp else ""
        where = _where(self.headers, self.path, self.at)
        return f"delay {self.seconds:g}{varying}s {self.percent:g}%{rising}{where}"

    def _made(self, scene: Scene, part: float) -> Create | Patch:
        name = ("delay", f"{1000 * self.seconds:g}ms")
        if self.at == "caller":
            seconds = _duration(max(_SHORTEST, self.seconds * part))
            delay = {"fixedDelay": seconds, "percentage": {"value": self.percent * part}}
            return on_route(self, scene, {"delay": delay}, _route_match(self.headers, self.path), name)
        need_sidecars(self, scene)
        counted(scene)
        match = _matching(self.headers, self.path)
        filters = [
            _inbound_filter(
                {
                    "delay": {
                        "fixed_delay": _duration(seconds),
                        "percentage": _fraction(share),
                    },
                    **match,
                }
            )
            for seconds, share in self._parts(part)
        ]
        return _envoy_filter(scene, name, filters)

    def evidence(self, scene: Scene) -> Share:
        """The count of the side where it acts: Envoy flags what it delayed with DI, whatever became of it then."""
        every = _every(self, scene)
        aimed = bool(self.headers or self.path)
        return Share(every, every, self.percent, flags=("DI",), partial=aimed, after=self.ramp)

    def _parts(self, part: float) -> list[tuple[float, float]]:
        """The filters: for how long each holds a request, in seconds, and which percentage of them."""
        if not self.jitter:
            return [(max(_SHORTEST, self.seconds * part), self.percent * part)]
        grid = 2 * self.jitter / (2**_JITTER_STEPS - 1)
        return [
            (self.seconds - self.jitter, 100.0),
            *((grid * 2**step, 50.0) for step in range(_JITTER_STEPS)),
        ]


def _need_ramp(word: str, ramp: float) -> None:
    if ramp and not _SHORTEST_RAMP <= ramp <= 3600:
        raise HarnessError(
            f"{word} cannot rise within {ramp:g} s; choose {_SHORTEST_RAMP:g} to 3600 s, or 0."
        )


def _need_match(word: str, headers: Mapping[str, str], path: str) -> None:
    if any(not name or name.startswith(":") for name in headers):
        raise HarnessError(f"{word} cannot match {dict(headers)}; name headers, and match the path by path=.")
    if path and not path.startswith("/"):
        raise HarnessError(f"{word} cannot match the path {path}; it has to begin with /.")


def _where(headers: Mapping[str, str], path: str, at: str) -> str:
    there = "at the caller" if at == "caller" else ""
    parts = [path, *(f"{name}={value}" for name, value in sorted(headers.items())), there]
    return "".join(f" {part}" for part in parts if part)


def _matching(headers: Mapping[str, str], path: str, *, grpc: bool = False) -> dict[str, Any]:
    """The `headers` of Envoy's HTTPFault; all of them have to match (the path is the header :path)."""
    made = [
        {"name": name.lower(), "string_match": {"exact": value}} for name, value in sorted(headers.items())
    ]
    if grpc:
        made.append({"name": "content-type", "string_match": {"prefix": "application/grpc"}})
    if path:
        made.append({"name": ":path", "string_match": {"prefix": path}})
    return {"headers": made} if made else {}


def _route_match(headers: Mapping[str, str], path: str) -> dict[str, Any]:
    """The same as an HTTPMatchRequest of a VirtualService."""
    made = {name.lower(): {"exact": value} for name, value in sorted(headers.items())}
    return {**({"headers": made} if made else {}), **({"uri": {"prefix": path}} if path else {})}


def _every(fault: _OnRequests, scene: Scene) -> dict[str, str]:
    """All requests to the target, as the side counts them where the fault acts.

    What a fault answers at the caller never leaves it: its count knows the Service then, but no workload behind it.
    """
    if fault.at == "caller":
        return {"reporter": "source", "destination_service": host_of(fault, scene)}
    return counted(scene)


def _duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _fraction(percent: float) -> dict[str, Any]:
    return {"numerator": round(percent * 10_000), "denominator": "MILLION"}


def _envoy_filter(scene: Scene, name: Sequence[str], patches: Sequence[dict[str, Any]]) -> Create:
    spec = {"workloadSelector": {"labels": dict(scene.target.labels)}, "configPatches": list(patches)}
    return Create(made(scene, "networking.istio.io/v1alpha3", "EnvoyFilter", name, spec))


def _inbound_filter(config: dict[str, Any]) -> dict[str, Any]:
    """A patch of an EnvoyFilter that puts a fault filter before the router of a sidecar's inbound listeners."""
    manager = "envoy.filters.network.http_connection_manager"
    listener = {
        "filterChain": {"filter": {"name": manager, "subFilter": {"name": "envoy.filters.http.router"}}}
    }
    kind = {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}
    value = {"name": "envoy.filters.http.fault", "typed_config": kind | config}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": listener},
        "patch": {"operation": "INSERT_BEFORE", "value": value},
    }
