"""The collector: which configurations it takes, and what it counts of the spans that a gRPC client sends."""

from __future__ import annotations

import re

import grpc
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from harness.localmesh.standins.collecting import Span, flags

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CHILD = "parent_span_id != SpanID(0x0000000000000000)"
SERVER, CLIENT = 2, 3


def _config(otlp: int = 4317, prometheus: int = 8889, **spans: object) -> dict[str, object]:
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"0.0.0.0:{otlp}"}}}},
        "processors": {"batch": {}, "deltatocumulative": None},
        "connectors": {"count": {"spans": spans}},
        "exporters": {"prometheus": {"endpoint": f"0.0.0.0:{prometheus}"}},
        "service": {
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["count"]},
                "metrics": {
                    "receivers": ["count"],
                    "processors": ["deltatocumulative"],
                    "exporters": ["prometheus"],
                },
            }
        },
    }


def _flag(config: object) -> str:
    return f"--config=yaml:\n{yaml.safe_dump(config)}"


def _counted(span: Span, **spans: object) -> object:
    (counter,) = flags([_flag(_config(it=spans))]).counters
    return counter.labels(span)


@pytest.mark.parametrize(
    ("condition", "kind", "has_parent", "holds"),
    [
        ("kind == SPAN_KIND_CLIENT", CLIENT, False, True),
        ("kind == SPAN_KIND_CLIENT", SERVER, False, False),
        (f"kind == SPAN_KIND_SERVER and {CHILD}", SERVER, True, True),
        (f"kind == SPAN_KIND_SERVER and {CHILD}", SERVER, False, False),
        (f"kind == SPAN_KIND_SERVER and {CHILD}", CLIENT, True, False),
        (CHILD.replace("!=", "=="), CLIENT, False, True),
        (CHILD.replace("!=", "=="), CLIENT, True, False),
    ],
)
def test_a_condition_chooses_spans(condition, kind, has_parent, holds):
    """By kind and by whether there is a parent."""
    assert (_counted(Span(kind, has_parent, {}), conditions=[condition]) == ()) is holds


def test_one_of_several_conditions_is_enough_and_none_is_for_all():
    """As the count connector has it."""
    both = ["kind == SPAN_KIND_CLIENT", "kind == SPAN_KIND_SERVER"]
    assert [_counted(Span(kind, False, {}), conditions=both) for kind in (1, 2, 3)] == [None, (), ()]
    assert _counted(Span(1, False, {})) == ()


def test_a_span_without_an_attribute_counts_with_its_default_only():
    """Without one it is not counted, as with the count connector."""
    span = Span(CLIENT, False, {"a": "x"})
    assert _counted(span, attributes=[{"key": "a"}, {"key": "b", "default_value": "none"}]) == ("x", "none")
    assert _counted(span, attributes=[{"key": "a"}, {"key": "b"}]) is None


def _without(*path: str) -> dict[str, object]:
    config = _config(it={})
    part: dict[str, object] = config
    for step in path[:-1]:
        part = part[step]  # type: ignore[assignment]  # the configuration is nested dicts
    del part[path[-1]]
    return config


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([], "it takes args"),
        (["--config=/conf/config.yaml"], "it takes args"),
        (["--config=yaml:{"], "is no YAML"),
        ([_flag({**_config(it={}), "extensions": {}})], "unknown field `extensions`"),
        ([_flag(_without("processors", "deltatocumulative"))], "deltatocumulative"),
        ([_flag(_without("service", "pipelines", "traces"))], "traces"),
        ([_flag(_config(it={"conditions": ['name == "x"']}))], re.escape("""the condition 'name == "x"'""")),
        ([_flag(_config(otlp=70000, it={}))], "0.0.0.0:70000, which is none"),
        (
            [_flag({**_config(it={}), "processors": {"batch": {"timeout": "9s"}, "deltatocumulative": {}}})],
            "batch",
        ),
    ],
)
def test_a_configuration_that_it_would_not_follow_is_refused(asked, why):
    """Whatever the real collector would do otherwise."""
    with pytest.raises(ValueError, match=why):
        flags(asked)


def _export(*spans: tuple[int, bytes, dict[str, str]]) -> bytes:
    """An export of spans as (kind, id of the parent, attributes)."""
    made = trace_service_pb2.ExportTraceServiceRequest()
    scope = made.resource_spans.add().instrumentation_library_spans.add()
    for kind, parent, attributes in spans:
        span = scope.spans.add(kind=kind, parent_span_id=parent)
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    return made.SerializeToString()


def test_what_is_exported_is_counted_for_prometheus(start, free):
    """By a real gRPC client; names and labels are those of the real collector's exporter."""
    host, otlp = free()
    prometheus = free()[1]
    counters = {
        "calls.traced": {
            "description": "Calls.",
            "conditions": ["kind == SPAN_KIND_CLIENT"],
            "attributes": [{"key": "istio.canonical_service"}],
        },
        "children": {"conditions": [CHILD]},
    }
    flag = _flag(_config(otlp, prometheus, **counters))
    program = start("collector", flag, LISTEN_HOST=host, PORTS=f"{otlp},{prometheus}", ready=False)
    mine = {"istio.canonical_service": 'a "b"', "other": "x"}
    with grpc.insecure_channel(f"{host}:{otlp}") as channel:
        grpc.channel_ready_future(channel).result(timeout=15)
        call = channel.unary_unary(EXPORT)
        call(_export((CLIENT, b"12345678", mine), (CLIENT, b"", mine), (SERVER, b"12345678", {})))
        call(_export((CLIENT, b"", mine)))
        for path, message, code in ((EXPORT, b"\xff", "INTERNAL"), ("/no.Such/Method", b"", "UNIMPLEMENTED")):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(message)
            assert refused.value.code().name == code
    page = type(program)(program.process, (host, prometheus), program.log)
    assert page.ask("/metrics").text.splitlines() == [
        "# HELP calls_traced_total Calls.",
        "# TYPE calls_traced_total counter",
        'calls_traced_total{istio_canonical_service="a \\"b\\""} 3',
        "# HELP children_total ",
        "# TYPE children_total counter",
        "children_total{} 2",
    ]
    assert page.ask("/").status == 404
    assert program.end() == 0
