"""What is promised: service level indicators (good events among all) and the objectives they are held to.

The builders of indicators that people use are in harness.indicators.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from harness.errors import HarnessError
from harness.sequential import needed

Bound = Literal["at_least", "at_most"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True)
class Matcher:
    """A condition on one label; regular expressions match the whole value, as in PromQL."""

    label: str
    operator: Literal["=", "!=", "=~", "!~"]
    value: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.label) or ":" in self.label:
            raise HarnessError(f'"{self.label}" is not a label name of Prometheus; rename it in the matcher.')
        if self.operator in ("=~", "!~"):
            try:
                re.compile(self.value)
            except re.error as error:
                raise HarnessError(
                    f'Label {self.label}: "{self.value}" is no regular expression ({error}).'
                ) from error

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with `labels` fulfils it; a label that is not there counts as empty."""
        value = labels.get(self.label, "")
        hit = (
            value == self.value
            if self.operator[-1] == "="
            else bool(re.fullmatch(self.value, value, re.DOTALL))
        )
        return hit != self.operator.startswith("!")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.operator}"{escaped}"'


def flagged(flags: Iterable[str], operator: Literal["=~", "!~"] = "=~") -> Matcher:
    """The requests that carry one of these response flags, alone or among others; with `!~` those that do not."""
    return Matcher("response_flags", operator, f"(.*,)?({'|'.join(flags)})(,.*)?")


@dataclass(frozen=True)
class Selector:
    """Series of one metric; `str()` is its PromQL."""

    metric: str
    matchers: tuple[Matcher, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.metric):
            raise HarnessError(
                f'"{self.metric}" is not a metric name of Prometheus; correct it in the selector.'
            )

    @classmethod
    def equal(cls, metric: str, labels: Mapping[str, str]) -> Selector:
        """The series of `metric` that carry exactly these values of these labels."""
        return cls(metric, tuple(Matcher(label, "=", value) for label, value in labels.items()))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels, its name among them (`__name__`), is one of them."""
        return labels.get("__name__") == self.metric and all(one.matches(labels) for one in self.matchers)

    def __str__(self) -> str:
        return f"{self.metric}{{{','.join(map(str, self.matchers))}}}"


@dataclass(frozen=True)
class Ratio:
    """Good events among all, from counters: `total`, and those series of it that fulfil all of `good`.

    Both are read by one query, so that no scrape can fall between them. `unserved` are series of further events, none
    of them good, that carry other labels. `answers` says that an event is good
    when the caller got a good answer: then HELD must not be contradicted by what the load generator saw.
    `bound` says which limit people put on it: the least share of good events, or the largest share of others.
    """

    name: str
    total: Selector
    good: tuple[Matcher, ...]
    enough: int = 300
    answers: bool = False
    bound: Bound = "at_least"
    unserved: tuple[Selector, ...] = ()

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Everything that has to be read to count it."""
        return (self.total, *self.unserved)

    def is_good(self, labels: Mapping[str, str]) -> bool:
        """Whether the events of a series with these labels, one of those that were read for it, are good."""
        return all(matcher.matches(labels) for matcher in self.good)


@dataclass(frozen=True)
class Pair:
    """Good events among all, from two counters of different metrics or of different proxies.

    Counters of one scrape target are counted between the same scrapes; what passed between the scrapes of different
    ones is unsure. With `per_good` the limit is the largest number of all events per good one, `at_most`.
    """

    name: str
    total: Selector
    good: Selector
    enough: int = 300
    per_good: bool = False

    @property
    def bound(self) -> Bound:
        """Which limit people put on it."""
        return "at_most" if self.per_good else "at_least"

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Everything that has to be read to count it."""
        return (self.total, self.good)


@dataclass(frozen=True)
class Latency:
    """Events that took at most `limit` seconds, from the histogram `buckets`; `quantile` of them have to.

    A quantile is at most the limit exactly if at least that share of the events is, so a latency is an objective like
    all others. A limit between two bounds of the histogram leaves the events of that bucket unsure. `unit` is
    how many seconds one unit of the bounds is; Istio counts milliseconds. SLO puts the limit in.
    """

    name: str
    buckets: Selector
    quantile: float
    unit: float = 0.001
    limit: float = math.nan
    enough: int = 300
    bound: Bound = field(default="at_most", init=False)

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Everything that has to be read to count it."""
        return (self.buckets,)


@dataclass(frozen=True)
class Throughput:
    """Good events among those that were `offered` (per second), for the time that was counted; `at_least` per second.

    More events than were offered count as offered ones. SLO puts the limit in, `limit` good events per second.
    """

    name: str
    total: Selector
    good: tuple[Matcher, ...]
    offered: float
    limit: float = math.nan
    enough: int = 300
    bound: Bound = field(default="at_least", init=False)

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Everything that has to be read to count it."""
        return (self.total,)

    def is_good(self, labels: Mapping[str, str]) -> bool:
        """Whether the events of a series of `total` with these labels are good."""
        return all(matcher.matches(labels) for matcher in self.good)


class Workloads(Protocol):
    """What a probe needs to know of a target: where its pods are and which labels they carry."""

    @property
    def namespace(self) -> str:
        """The namespace of the pods."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that every one of the pods carries."""
        ...


@dataclass(frozen=True)
class Probe:
    """Good events among all, by trying: plaintext connections to each pod of `workloads`.

    Refused ones are good, or those that are answered if that is `wanted`; an answer that the caller may not ask is
    neither of them. A pod that cannot be reached counts as neither good nor bad.
    """

    name: str
    workloads: Workloads
    port: int
    enough: int = 10
    wanted: Literal["refused", "answered"] = "refused"
    bound: Bound = field(default="at_least", init=False)


Counter = Ratio | Pair | Latency | Throughput
"""What is counted from Prometheus."""

SLI = Counter | Probe


@dataclass(frozen=True)
class SLO:
    """At least the fraction `at_least` (0 to 1) of the events of `sli` are good.

    What `at_least` and `at_most` limit is the indicator's to say: the share of good events, or events per second, has
    to be at least so much; the share of errors, seconds, or attempts per request at most so much. Whatever it is, it is
    kept as `at_least`, the share of good events that it comes to.

    With `at_least` 1.0 every event has to be good: one bad event violates it, and `enough` good ones hold it (by
    default 300 for counters, 10 for probes). With less, `enough` is the least number of events to hold it, if that
    is more than statistics ask for. Raises HarnessError for limits that cannot be.
    """

    name: str
    sli: SLI
    at_least: float = math.nan
    enough: int | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        sli, share = _promised(self.name, self.sli, self.at_least, self.at_most)
        object.__setattr__(self, "sli", sli)
        object.__setattr__(self, "at_least", share)
        if not 0.0 < share <= 1.0:
            limit = share if self.at_most is None else self.at_most
            raise HarnessError(f'SLO "{self.name}": {sli.bound} is {limit}; {_RANGES[type(sli)]}.')
        if self.enough is not None and self.enough < 1:
            raise HarnessError(f'SLO "{self.name}": enough is {self.enough}; give at least 1 event.')

    @property
    def error_budget(self) -> float:
        """The fraction of events that may be bad."""
        return 1.0 - self.at_least

    def relaxed(self, *, at_least: float = math.nan, at_most: float | None = None) -> SLO:
        """The same promise with a lower objective, for a guardrail; HarnessError when it is not lower."""
        looser = SLO(self.name, _unlimited(self.sli), at_least, self.enough, at_most)
        if looser.at_least > self.at_least or _limit(looser.sli) < _limit(self.sli):
            limit = at_least if at_most is None else at_most
            raise HarnessError(f'SLO "{self.name}": {limit} is stricter than what it promises, not relaxed.')
        return looser

    def planned(self, confidence: float) -> int:
        """The number of events it takes for HELD if all of them are good, fixed before any of them is seen."""
        if self.at_least == 1.0:
            return self.enough or self.sli.enough
        return max(self.enough or 0, needed(self.at_least, alpha=(1.0 - confidence) / 2))

    @property
    def answers(self) -> bool:
        """Whether a good event is a good answer to its caller, so that the load generator must not contradict it."""
        return isinstance(self.sli, Ratio) and self.sli.answers

    @property
    def paced(self) -> bool:
        """Whether it is a promise about traffic of the rate asked for, so that less of it proves less."""
        return isinstance(self.sli, Latency | Throughput)


_RANGES: Mapping[type[SLI], str] = {
    Ratio: "give a fraction above 0 and up to 1 (at_most: from 0 and below 1)",
    Pair: "give a fraction above 0 and up to 1 (at_most: attempts per request, 1 or more)",
    Latency: "give a quantile above 0 and up to 1",
    Throughput: "give events per second above 0, and not more than are offered",
    Probe: "give a fraction above 0 and up to 1",
}


def _promised(name: str, sli: SLI, at_least: float, at_most: float | None) -> tuple[SLI, float]:
    """The indicator, its limit put in, and the share of good events that an objective comes to."""
    if (at_most is None) is (sli.bound == "at_most") or (at_most is None and math.isnan(at_least)):
        raise HarnessError(f'SLO "{name}": {sli.name} is limited by {sli.bound}; give that, and that only.')
    if at_most is None:
        if isinstance(sli, Throughput) and math.isnan(sli.limit):
            return replace(sli, limit=at_least), at_least / sli.offered
        return sli, at_least
    if isinstance(sli, Latency):
        if not 0.0 < at_most < math.inf:
            raise HarnessError(f'SLO "{name}": at_most is {at_most}; give seconds above 0.')
        return replace(sli, limit=at_most), sli.quantile
    share = (1.0 / at_most if at_most > 0 else 0.0) if isinstance(sli, Pair) else 1.0 - at_most
    if not math.isnan(at_least) and at_least != share:  # it is what at_most came to if this is a copy
        raise HarnessError(f'SLO "{name}": {sli.name} is limited by {sli.bound}; give that, and that only.')
    return sli, share


def _unlimited(sli: SLI) -> SLI:
    return replace(sli, limit=math.nan) if isinstance(sli, Latency | Throughput) else sli


def _limit(sli: SLI) -> float:
    return sli.limit if isinstance(sli, Latency) else 0.0
