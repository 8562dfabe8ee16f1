"""What is promised: service level indicators (good events among all) and the objectives they are held to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from harness.errors import HarnessError
from harness.sequential import needed

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

    def __str__(self) -> str:
        return f"{self.metric}{{{','.join(map(str, self.matchers))}}}"


@dataclass(frozen=True)
class Ratio:
    """Good events among all, from counters: `total`, and those series of it that fulfil all of `good`.

    Both are read by one query, so that no scrape can fall between them. `answers` says that an event is good
    when the caller got a good answer: then HELD must not be contradicted by what the load generator saw.
    """

    name: str
    total: Selector
    good: tuple[Matcher, ...]
    enough: int = 300
    answers: bool = False

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
    """Good events among all, by trying: plaintext connections to each pod of `workloads`, refused ones good.

    A pod that cannot be reached counts as neither good nor bad.
    """

    name: str
    workloads: Workloads
    port: int
    enough: int = 10


SLI = Ratio | Probe


@dataclass(frozen=True)
class SLO:
    """At least the fraction `at_least` (0 to 1) of the events of `sli` are good.

    With `at_least` 1.0 every event has to be good: one bad event violates it, and `enough` good ones hold it (by
    default 300 for counters, 10 for probes). With less, `enough` is the least number of events to hold it, if that
    is more than statistics ask for. Raises HarnessError for a fraction outside 0 to 1.
    """

    name: str
    sli: SLI
    at_least: float
    enough: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.at_least <= 1.0:
            raise HarnessError(
                f'SLO "{self.name}": at_least is {self.at_least}; give a fraction above 0 and up to 1.'
            )
        if self.enough is not None and self.enough < 1:
            raise HarnessError(f'SLO "{self.name}": enough is {self.enough}; give at least 1 event.')

    @property
    def error_budget(self) -> float:
        """The fraction of events that may be bad."""
        return 1.0 - self.at_least

    def relaxed(self, *, at_least: float) -> SLO:
        """The same promise with a lower objective, for a guardrail; HarnessError when it is not lower."""
        if at_least > self.at_least:
            raise HarnessError(
                f'SLO "{self.name}": {at_least} is stricter than {self.at_least}, not relaxed.'
            )
        return replace(self, at_least=at_least)

    def planned(self, confidence: float) -> int:
        """The number of events it takes for HELD if all of them are good, fixed before any of them is seen."""
        if self.at_least == 1.0:
            return self.enough or self.sli.enough
        return max(self.enough or 0, needed(self.at_least, alpha=(1.0 - confidence) / 2))


def availability(service: str, namespace: str = "default") -> Ratio:
    """Requests to `service`, as its callers' sidecars saw them, that were not answered with a 5xx.

    Answers to clients that went away (response code 0, flag DC) are left out. Retried attempts count once,
    by their last answer: that is what the callers' sidecars report (Istio, standard metrics).
    """
    labels = {
        "reporter": "source",
        "destination_service_name": service,
        "destination_service_namespace": namespace,
    }
    total = Selector.equal("istio_requests_total", labels)
    total = replace(total, matchers=(*total.matchers, Matcher("response_code", "!=", "0")))
    good = (Matcher("response_code", "!~", "5.."),)
    return Ratio(f"availability of {namespace}/{service}", total, good, answers=True)


def mtls_share(service: str, namespace: str = "default") -> Ratio:
    """Requests to `service` that came over mutual TLS.

    Asked at the destination: the source always reports "unknown" (Istio, standard metrics).
    """
    labels = {
        "reporter": "destination",
        "destination_service_name": service,
        "destination_service_namespace": namespace,
    }
    total = Selector.equal("istio_requests_total", labels)
    good = (Matcher("connection_security_policy", "=", "mutual_tls"),)
    return Ratio(f"mutual TLS of {namespace}/{service}", total, good)


def plaintext_refused(target: Workloads, port: int) -> Probe:
    """Plaintext connections to `port` of every pod of `target` that were refused, as STRICT demands."""
    return Probe(f"plaintext refused by {target}", target, port)
