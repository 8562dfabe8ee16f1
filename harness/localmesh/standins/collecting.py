"""What an OpenTelemetry collector is configured to do, as far as the stand-in can: count spans for Prometheus.

The configuration is the real program's own, so the same manifest serves on a cluster. It takes spans by OTLP over gRPC,
counts them with the count connector, and shows the counts with the Prometheus exporter; every other component, and
every field that the stand-in would not heed, is refused. In the real program the count connector gives increments
without a time of their beginning, which the exporter does not add up: `deltatocumulative` does, and it wants them in
order, for which `batch` sees. The stand-in needs neither, and asks for both.
Source: open-telemetry/opentelemetry-collector-contrib `connector/countconnector/counter.go`,
`exporter/prometheusexporter/accumulator.go`, `pkg/ottl/contexts/ottlspan/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

_CONFIG = "--config=yaml:"
_KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_KIND = re.compile(rf"kind == SPAN_KIND_({'|'.join(_KINDS)})")
_PARENT = re.compile(r"parent_span_id (==|!=) SpanID\(0x0{16}\)")

Endpoint = Annotated[str, Meta(pattern=r"^0\.0\.0\.0:[1-9][0-9]{1,4}$")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]*$")]


class _Part(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A part of the configuration."""


class _Listening(_Part, frozen=True):
    endpoint: Endpoint


class _Protocols(_Part, frozen=True):
    grpc: _Listening


class _Otlp(_Part, frozen=True):
    protocols: _Protocols


class _Receivers(_Part, frozen=True):
    otlp: _Otlp


class _Processors(_Part, frozen=True):
    batch: dict[str, Any] | None
    deltatocumulative: dict[str, Any] | None


class _Attribute(_Part, frozen=True):
    key: Name
    default_value: str = ""


class _Spans(_Part, frozen=True):
    conditions: tuple[str, ...] = ()
    attributes: tuple[_Attribute, ...] = ()
    description: str = ""


class _Count(_Part, frozen=True):
    spans: dict[Name, _Spans]


class _Connectors(_Part, frozen=True):
    count: _Count


class _Exporters(_Part, frozen=True):
    prometheus: _Listening


class _Traces(_Part, frozen=True):
    receivers: tuple[Literal["otlp"]]
    processors: tuple[Literal["batch"]]
    exporters: tuple[Literal["count"]]


class _Metrics(_Part, frozen=True):
    receivers: tuple[Literal["count"]]
    processors: tuple[Literal["deltatocumulative"]]
    exporters: tuple[Literal["prometheus"]]


class _Pipelines(_Part, frozen=True):
    traces: _Traces
    metrics: _Metrics


class _Service(_Part, frozen=True):
    pipelines: _Pipelines


class _Config(_Part, frozen=True):
    receivers: _Receivers
    processors: _Processors
    connectors: _Connectors
    exporters: _Exporters
    service: _Service


@dataclass(frozen=True)
class Span:
    """What can be counted of a span: its kind (a number of OTLP), whether it has a parent, its texts by name."""

    kind: int
    has_parent: bool
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Counter:
    """A counter of spans: of those that one of `conditions` holds for (none: all), by the values of `attributes`.

    An attribute that a span does not have counts with its default; without one the span is not counted.
    """

    name: str
    description: str
    conditions: tuple[Callable[[Span], bool], ...]
    attributes: Mapping[str, str]

    def labels(self, span: Span) -> tuple[str, ...] | None:
        """The values by which the span is counted; None if it is not."""
        if self.conditions and not any(holds(span) for holds in self.conditions):
            return None
        values = tuple(span.attributes.get(key, default) for key, default in self.attributes.items())
        given = (key in span.attributes or default for key, default in self.attributes.items())
        return values if all(given) else None


@dataclass(frozen=True)
class Plan:
    """What the collector does: the ports where it takes spans and shows the counters, and these."""

    otlp: int
    prometheus: int
    counters: tuple[Counter, ...]


def flags(asked: Sequence[str]) -> Plan:
    """What the arguments ask for: `--config=yaml:` and the configuration itself.

    Raises:
        ValueError: they are something else, or the configuration has what the stand-in cannot do.
    """
    if len(asked) != 1 or not asked[0].startswith(_CONFIG):
        raise ValueError(f'it takes args: ["{_CONFIG}..."], the configuration itself, and nothing else')
    try:
        config = msgspec.convert(yaml.safe_load(asked[0].removeprefix(_CONFIG)), _Config)
    except yaml.YAMLError as error:
        raise ValueError(f"its configuration is no YAML: {error}") from None
    except msgspec.ValidationError as error:
        raise ValueError(
            f"its configuration has a part that the local mesh does not emulate: {error}"
        ) from None
    for name, given in (
        ("batch", config.processors.batch),
        ("deltatocumulative", config.processors.deltatocumulative),
    ):
        if given:
            raise ValueError(f"processors.{name} has fields that the stand-in would not heed; leave them out")
    counters = tuple(_counter(name, spans) for name, spans in config.connectors.count.spans.items())
    return Plan(_port(config.receivers.otlp.protocols.grpc), _port(config.exporters.prometheus), counters)


def _port(listening: _Listening) -> int:
    number = int(listening.endpoint.rpartition(":")[2])
    if number > 65535:
        raise ValueError(f"its configuration has the endpoint {listening.endpoint}, which is none")
    return number


def _counter(name: str, spans: _Spans) -> Counter:
    conditions = tuple(_condition(text) for text in spans.conditions)
    return Counter(
        name, spans.description, conditions, {item.key: item.default_value for item in spans.attributes}
    )


def _condition(text: str) -> Callable[[Span], bool]:
    parts = [_comparison(part) for part in text.split(" and ")]
    return lambda span: all(holds(span) for holds in parts)


def _comparison(text: str) -> Callable[[Span], bool]:
    if kind := _KIND.fullmatch(text):
        number = _KINDS[kind[1]]
        return lambda span: span.kind == number
    if parent := _PARENT.fullmatch(text):
        wanted = parent[1] == "!="
        return lambda span: span.has_parent is wanted
    raise ValueError(
        f"its configuration has the condition {text!r}; the stand-in knows kind == SPAN_KIND_CLIENT (and the other "
        'kinds) and parent_span_id == or != SpanID(0x0000000000000000), joined by " and "'
    )
