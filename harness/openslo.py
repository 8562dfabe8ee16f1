"""SLOs from OpenSLO v1 files (openslo.com/v1), as far as a run can honestly measure them; the rest is refused.

A run judges the phases of an experiment, not a month: `timeWindow` has to be a valid one, and the time in which the
error budget may be used up is the phase instead. What names people and alerts (`description`, `service`,
`alertPolicies`, metadata but the name) changes nothing in what is measured and is left alone, and so is the name of a
data source: the mesh's Prometheus is asked. Every other field is either understood or refused with its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError
from harness.indicators import promql, selector
from harness.slo import SLI, SLO, Latency, Matcher, Ratio

_QUANTILE = re.compile(r"histogram_quantile\s*\(\s*([0-9.]+)\s*,(.*)\)", re.DOTALL)
_BY_LE = re.compile(r"sum\s*(?:by\s*\(\s*le\s*\)\s*\((.*)\)|\((.*)\)\s*by\s*\(\s*le\s*\))", re.DOTALL)
_SECONDS = {"milliseconds": 0.001, "seconds": 1.0}
_DURATION = re.compile(r"[1-9][0-9]*[mhdwMQY]")


def read(path: Path) -> tuple[SLO, ...]:
    """The SLOs of a file, in its order; one with several objectives becomes several, named after each.

    A ratioMetric of counters in Prometheus becomes good and all events; a thresholdMetric only if it is the quantile
    of a histogram with an upper limit, which is a share of events within it. Objects SLI beside them are what an
    indicatorRef means. Raises HarnessError naming file, object and field for everything else.
    """
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as error:
        raise HarnessError(f"Cannot read the SLOs in {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is no YAML: {error}.") from error
    objects = [_Object(one, f"{path}, object {number}") for number, one in enumerate(documents, start=1)]
    for one in objects:
        if one.text("apiVersion") != "openslo/v1":
            raise one.refused("apiVersion", "only openslo/v1 is understood")
    indicators = {one.at("metadata").text("name"): one.at("spec") for one in objects if one.kind == "SLI"}
    found = tuple(slo for one in objects if one.kind == "SLO" for slo in _placed(one, indicators))
    if not found:
        raise HarnessError(f"{path} holds no object of the kind SLO; name a file that does.")
    return found


class _Object:
    """A mapping of a file that knows where it is, so that what is refused can be found."""

    def __init__(self, raw: Any, place: str) -> None:
        if not isinstance(raw, Mapping):
            raise HarnessError(f"{place} has to be a mapping; correct it.")
        self.raw = raw
        self.place = place

    @property
    def kind(self) -> str:
        return self.text("kind")

    def refused(self, field: str, why: str) -> HarnessError:
        return HarnessError(f"{self.place}: {field}: {why}.")

    def only(self, *known: str) -> None:
        for field in self.raw:
            if field not in known:
                raise self.refused(
                    str(field), "a run cannot measure this; take it out, or keep this SLO elsewhere"
                )

    def at(self, field: str) -> _Object:
        if field not in self.raw:
            raise self.refused(field, "it is missing")
        return _Object(self.raw[field], f"{self.place}: {field}")

    def each(self, field: str) -> Iterator[_Object]:
        listed = self.raw.get(field)
        if not isinstance(listed, list) or not listed:
            raise self.refused(field, "a list of at least one is needed")
        for number, one in enumerate(listed):
            yield _Object(one, f"{self.place}: {field}[{number}]")

    def text(self, field: str) -> str:
        value = self.raw.get(field)
        if not isinstance(value, str) or not value:
            raise self.refused(field, "a text is needed")
        return value

    def number(self, field: str) -> float:
        value = self.raw.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.refused(field, "a number is needed")
        return float(value)


def _placed(one: _Object, indicators: Mapping[str, _Object]) -> tuple[SLO, ...]:
    """The SLOs of an object; what they themselves refuse is found by its place, too."""
    try:
        return tuple(_slos(one, indicators))
    except HarnessError as error:
        text = str(error)
        raise HarnessError(text if text.startswith(one.place) else f"{one.place}: {text}") from error


def _slos(one: _Object, indicators: Mapping[str, _Object]) -> Iterator[SLO]:
    one.only("apiVersion", "kind", "metadata", "spec")
    name, spec = one.at("metadata").text("name"), one.at("spec")
    spec.only(
        "description", "service", "indicator", "indicatorRef", "timeWindow", "budgetingMethod", "objectives",
        "alertPolicies",
    )  # fmt: skip
    if spec.raw.get("budgetingMethod", "Occurrences") != "Occurrences":
        raise spec.refused(
            "budgetingMethod", "events are counted, not slices of time; only Occurrences is understood"
        )
    _check_window(spec)
    objectives = list(spec.each("objectives"))
    indicator = _indicator(spec, indicators)
    for number, objective in enumerate(objectives):
        title = str(
            objective.raw.get("displayName") or (f"{name} {number + 1}" if len(objectives) > 1 else name)
        )
        yield _objective(title, name, objective, indicator)


def _check_window(spec: _Object) -> None:
    if "timeWindow" not in spec.raw:
        return
    for window in spec.each("timeWindow"):
        window.only("duration", "isRolling", "calendar")
        if not _DURATION.fullmatch(window.text("duration")):
            raise window.refused("duration", "a duration such as 28d is needed")


def _indicator(spec: _Object, indicators: Mapping[str, _Object]) -> _Object:
    """The spec of the indicator, which stands in the SLO or beside it."""
    if ("indicator" in spec.raw) is ("indicatorRef" in spec.raw):
        raise spec.refused("indicator", "either it or indicatorRef is needed")
    if "indicator" in spec.raw:
        indicator = spec.at("indicator")
        indicator.only("metadata", "spec")
        return indicator.at("spec")
    name = spec.text("indicatorRef")
    if name not in indicators:
        raise spec.refused("indicatorRef", f'there is no SLI "{name}" in the file')
    return indicators[name]


def _objective(title: str, name: str, objective: _Object, indicator: _Object) -> SLO:
    indicator.only("description", "ratioMetric", "thresholdMetric")
    if "ratioMetric" in indicator.raw:
        objective.only("displayName", "target", "targetPercent")
        return SLO(title, _ratio(name, indicator.at("ratioMetric")), _target(objective))
    objective.only("displayName", "target", "targetPercent", "op", "value")
    if objective.text("op") != "lte":
        raise objective.refused("op", "only lte of a quantile is a share of events that a histogram counts")
    found = _quantile(name, indicator.at("thresholdMetric"))
    if _target(objective) != found.quantile:
        raise objective.refused(
            "target",
            f"the query asks for the quantile {found.quantile:g} and so promises that share of events; a share of the"
            " time in which a quantile is kept is not measured. Say the same number twice",
        )
    return SLO(title, found, at_most=objective.number("value") * found.unit)


def _target(objective: _Object) -> float:
    if ("target" in objective.raw) is ("targetPercent" in objective.raw):
        raise objective.refused("target", "either it or targetPercent is needed")
    if "target" in objective.raw:
        return objective.number("target")
    return round(objective.number("targetPercent") / 100, 12)


def _ratio(name: str, metric: _Object) -> SLI:
    metric.only("counter", "good", "bad", "total")
    if metric.raw.get("counter") is not True:
        raise metric.refused("counter", "only counters can be counted from raw samples; true is needed")
    if ("good" in metric.raw) is ("bad" in metric.raw):
        raise metric.refused("good", "either it or bad is needed")
    total = _query(metric.at("total"))
    if "good" in metric.raw:
        return promql(name, good=_query(metric.at("good")), total=total)
    bad = promql(name, good=_query(metric.at("bad")), total=total)
    if not isinstance(bad, Ratio) or len(bad.good) != 1:
        raise metric.refused(
            "bad", "it has to be total with one matcher more, or nobody knows which events are good"
        )
    return replace(bad, good=(_opposite(bad.good[0]),))


def _opposite(matcher: Matcher) -> Matcher:
    opposites: dict[str, Any] = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}
    return Matcher(matcher.label, opposites[matcher.operator], matcher.value)


def _quantile(name: str, metric: _Object) -> Latency:
    query = _query(metric).strip()
    found = _QUANTILE.fullmatch(query)
    grouped = _BY_LE.fullmatch(found[2].strip()) if found else None
    if found is None or grouped is None:
        raise metric.refused(
            "metricSource.spec.query",
            "only histogram_quantile(share, sum by (le) (rate(buckets[5m]))) is a share of events, no other gauge",
        )
    buckets = selector(grouped[1] or grouped[2])
    unit = next((unit for word, unit in _SECONDS.items() if word in buckets.metric), None)
    if unit is None or not buckets.metric.endswith("_bucket"):
        raise metric.refused(
            "metricSource.spec.query",
            f"the name {buckets.metric} does not say seconds_bucket or milliseconds_bucket",
        )
    return Latency(name, buckets, float(found[1]), unit)


def _query(metric: _Object) -> str:
    metric.only("metricSource")
    source = metric.at("metricSource")
    source.only("type", "spec", "metricSourceRef")
    if source.raw.get("type") != "Prometheus":
        raise source.refused("type", "only Prometheus is asked, and it has to be said")
    spec = source.at("spec")
    spec.only("query")
    return spec.text("query")
