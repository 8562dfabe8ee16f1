"""An OpenTelemetry collector that counts spans: `... standins.collector --config=yaml:CONFIGURATION`.

It takes spans by OTLP over gRPC and shows the counters of its configuration (see `collecting`) at /metrics, named as
the real collector's Prometheus exporter names them: dots become underscores, and `_total` is put behind.
"""

from __future__ import annotations

import sys
from collections import Counter as Numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from harness.localmesh.standins import grpc, program
from harness.localmesh.standins.collecting import Counter, Plan, Span, flags
from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.settings import Pod, SettingError, Settings

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TEXT = "text/plain; version=0.0.4"
_Exported = trace_service_pb2.ExportTraceServiceRequest
_OF_RESOURCE = _Exported.DESCRIPTOR.fields_by_name["resource_spans"].message_type
# It has been renamed since the version of the protocol that xds-protos has; on the wire its number counts.
_SCOPES = _OF_RESOURCE.fields_by_number[2].name


class Collector:
    """Counts what it is sent, as `plan` says."""

    def __init__(self, plan: Plan) -> None:
        self._counters = plan.counters
        self._counted: dict[str, Numbers[tuple[str, ...]]] = {one.name: Numbers() for one in plan.counters}
        self._wanted = frozenset(key for one in plan.counters for key in one.attributes)

    async def take(self, request: Request) -> Response:
        """The answer to a call: spans are counted."""
        if request.path != _EXPORT:
            return grpc.failure(grpc.UNIMPLEMENTED, f"the stand-in has no method {request.path}")
        for span in self._spans(grpc.message(request)):
            for counter in self._counters:
                if (labels := counter.labels(span)) is not None:
                    self._counted[counter.name][labels] += 1
        return grpc.answer("")

    async def show(self, request: Request) -> Response:
        """The counters, as Prometheus reads them."""
        if request.path != "/metrics":
            return Response.text("404 page not found\n", 404)
        lines = (line for one in self._counters for line in _lines(one, self._counted[one.name]))
        return Response(200, "".join(lines).encode(), {"content-type": _TEXT})

    def _spans(self, message: bytes) -> Iterator[Span]:
        """The spans of an export.

        Raises:
            ValueError: it is none.
        """
        try:
            exported = _Exported.FromString(message)
        except Exception as error:  # protobuf's DecodeError is another class in each of its implementations
            raise ValueError(f"the message cannot be read: {error}") from None
        for resource in exported.resource_spans:
            for scope in getattr(resource, _SCOPES):
                for span in scope.spans:
                    yield Span(span.kind, bool(span.parent_span_id), self._texts(span.attributes))

    def _texts(self, attributes: Iterable[Any]) -> dict[str, str]:
        return {item.key: item.value.string_value for item in attributes if item.key in self._wanted}


def _lines(counter: Counter, counted: Mapping[tuple[str, ...], int]) -> Iterator[str]:
    name = f"{counter.name.replace('.', '_')}_total"
    yield f"# HELP {name} {_escaped(counter.description)}\n# TYPE {name} counter\n"
    keys = [key.replace(".", "_") for key in counter.attributes]
    for values, number in counted.items():
        pairs = (f'{key}="{_escaped(value, quoted=True)}"' for key, value in zip(keys, values, strict=True))
        yield f"{name}{{{','.join(pairs)}}} {number}\n"


def _escaped(text: str, *, quoted: bool = False) -> str:
    made = text.replace("\\", "\\\\").replace("\n", "\\n")
    return made.replace('"', '\\"') if quoted else made


def _build(pod: Pod, environ: Mapping[str, str]) -> program.Work:
    Settings(environ)
    try:
        plan = flags(sys.argv[1:])
    except ValueError as error:
        raise SettingError(str(error)) from None
    if missing := set(pod.ports) - {plan.otlp, plan.prometheus}:
        raise SettingError(f"containerPort {min(missing)} is none of the configuration's endpoints")
    collector = Collector(plan)
    return program.Work({plan.otlp: grpc.served(collector.take), plan.prometheus: collector.show})


if __name__ == "__main__":
    sys.exit(program.run(_build))
