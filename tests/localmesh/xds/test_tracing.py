"""Which requests are traced, and who gets the spans: what Telemetry resources and the mesh's settings say together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from papermesh import VILLAGE, PaperMesh

ROUND = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    defaultProviders: {{tracing: [{default}]}}
    extensionProviders:
    - {{name: near, opentelemetry: {{service: a.default.svc.cluster.local, port: 7070}}}}
    - {{name: far, opentelemetry: {{service: other/c.other.svc.cluster.local, port: 8080, maxTagLength: 64}}}}
    - {{name: gone, opentelemetry: {{service: gone.default.svc.cluster.local, port: 4317}}}}
"""
NEAR, FAR = "outbound|7070||a.default.svc.cluster.local", "outbound|8080||c.other.svc.cluster.local"
SIDECAR, GATEWAY = "default/a-v1", "istio-system/ingress"


def _mesh(*tracing: str, default: str = "", labels: str = "{}") -> PaperMesh:
    """The village with a Telemetry for its namespace `default`, or for some of its pods."""
    mesh = PaperMesh(VILLAGE + "---\n" + ROUND.format(default=default))
    spec = {"tracing": [yaml.safe_load(item) for item in tracing]}
    selector = yaml.safe_load(labels)
    mesh.write(
        {
            "apiVersion": "telemetry.istio.io/v1",
            "kind": "Telemetry",
            "metadata": {"name": "it", "namespace": "default" if selector else "istio-system"},
            "spec": {**spec, **({"selector": {"matchLabels": selector}} if selector else {})},
        }
    )
    return mesh


def _managers(mesh: PaperMesh, pod: str, direction: str) -> list[dict[str, Any]]:
    """The HTTP connection managers of a pod's proxy, of one direction."""
    return [
        item["typed_config"]
        for listener in mesh.snapshots()[pod].listeners.values()
        if listener["traffic_direction"] == direction
        for chain in listener["filter_chains"]
        for item in chain["filters"]
        if item["name"] == "envoy.filters.network.http_connection_manager"
    ]


def _traced(mesh: PaperMesh, pod: str = SIDECAR, direction: str = "OUTBOUND") -> dict[str, Any]:
    """How that side traces, the same at each of its listeners; empty when it does not."""
    found = [manager.get("tracing", {}) for manager in _managers(mesh, pod, direction)]
    assert all(item == found[0] for item in found)
    return found[0]


def _collector(tracing: dict[str, Any]) -> str:
    config = tracing["provider"]["typed_config"] if tracing else {}
    return config["grpc_service"]["envoy_grpc"]["cluster_name"] if config else ""


def test_nobody_traces_unless_asked():
    """A provider alone, or a Telemetry without one, sends no span anywhere."""
    mesh = _mesh("{randomSamplingPercentage: 100}")
    assert [_traced(mesh, SIDECAR, side) for side in ("INBOUND", "OUTBOUND")] == [{}, {}]


@pytest.mark.parametrize(
    ("tracing", "default", "collector"),
    [
        ("{}", "near", NEAR),
        ("{providers: [{name: FAR}]}", "near", FAR),
        ("{providers: [{name: unheard}]}", "near", ""),
        ("{providers: [{name: gone}]}", "near", ""),
        ("{disableSpanReporting: true}", "near", ""),
    ],
)
def test_spans_go_to_the_provider_that_is_named_last(tracing, default, collector):
    """Whatever the case of its name; one that is not there, or whose Service is not, gets none."""
    assert _collector(_traced(_mesh(tracing, default=default))) == collector


def test_each_side_goes_by_what_is_said_for_it():
    """A mode narrows an entry to the callee's or the caller's side, and a gateway is a caller."""
    mesh = _mesh(
        "{match: {mode: SERVER}, providers: [{name: near}], randomSamplingPercentage: 5}",
        "{match: {mode: CLIENT}, providers: [{name: far}]}",
    )
    inbound, outbound = (_traced(mesh, SIDECAR, side) for side in ("INBOUND", "OUTBOUND"))
    assert (_collector(inbound), _collector(outbound)) == (NEAR, FAR)
    assert inbound["random_sampling"] == {"value": 5.0}
    assert (outbound["random_sampling"], outbound["max_path_tag_length"]) == ({"value": 1.0}, 64)
    assert _collector(_traced(mesh, GATEWAY)) == FAR


def test_a_gateway_makes_a_span_for_each_end():
    """It has no program between its two sides; a sidecar has one that passes the headers on."""
    mesh = _mesh("{}", default="near")
    gateway, sidecar = _traced(mesh, GATEWAY), _traced(mesh)
    assert gateway["spawn_upstream_span"] is True
    assert "spawn_upstream_span" not in sidecar


def test_spans_say_whose_they_are_unless_told_not_to():
    """Istio's tags name the workload and the namespace of the proxy."""
    traced = _traced(_mesh("{}", default="near"))
    tags = {item["tag"]: item["literal"]["value"] for item in traced["custom_tags"] if "literal" in item}
    assert (tags["istio.canonical_service"], tags["istio.namespace"]) == ("a", "default")
    assert [item["tag"] for item in traced["custom_tags"]] == sorted(
        item["tag"] for item in traced["custom_tags"]
    )
    bare = _traced(_mesh("{enableIstioTags: false}", default="near"))
    assert bare["custom_tags"] == []


def test_a_telemetry_of_some_workloads_changes_theirs_only():
    """It goes before what is said for all."""
    mesh = _mesh("{disableSpanReporting: true}", default="near", labels="{app: a}")
    assert _traced(mesh) == {}
    assert _collector(_traced(mesh, "default/b-v1")) == NEAR


def test_whether_the_id_of_a_request_decides_can_be_said():
    """It does, as in Envoy, unless switched off."""
    for said, wanted in (("{}", True), ("{useRequestIdForTraceSampling: false}", False)):
        for manager in _managers(_mesh(said, default="near"), SIDECAR, "INBOUND"):
            config = manager["request_id_extension"]["typed_config"]
            assert config["use_request_id_for_trace_sampling"] is wanted
