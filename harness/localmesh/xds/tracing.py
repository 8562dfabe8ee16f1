"""Tracing: which requests of a proxy are traced, and who gets the spans.

Telemetry resources decide, the most specific last; a sidecar's inbound side goes by what they say for SERVER, its
outbound side and a gateway by what they say for CLIENT. Without any, and without a default provider, nothing is traced.
Every span carries Istio's own tags. A sidecar makes one span for a request at each side: that of its outbound side is
the child of that of its inbound side only if the program passes on the headers of tracing (`traceparent`). A gateway,
which has no program, makes both itself.

Differences from istiod: without a provider it writes sampling rates and tags that nobody reads; here there is nothing
then. What samples where nobody says a percentage is 1 %, its default for the mesh.
Source: istio/istio `pilot/pkg/model/telemetry.go` (Tracing), `telemetry_logging.go` (LookupCluster),
`pilot/pkg/networking/core/tracing.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from harness.localmesh.kinds.istio.meshconfig import ExtensionProvider
from harness.localmesh.kinds.istio.telemetry import Tracing
from harness.localmesh.xds import names
from harness.localmesh.xds.model import (
    CLUSTER_ID,
    TRUST_DOMAIN,
    MeshConfig,
    Resource,
    Telemetry,
    Workload,
)
from harness.localmesh.xds.overrides import Side
from harness.localmesh.xds.proto import extension, typed
from harness.localmesh.xds.view import View

_DEFAULT_SAMPLING = 1.0
_RBAC = "envoy.filters.http.rbac"
_REQUEST_ID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_CONFIG = "envoy.config.trace.v3.OpenTelemetryConfig"


@dataclass(frozen=True)
class _Spec:
    """What is said for one side; `tracer` is the name of a provider."""

    tracer: str
    disabled: bool = False
    sampling: float | None = None
    tags: bool = True
    by_request_id: bool = True


def tracing(view: View, side: Side) -> Resource:
    """The settings of an HTTP connection manager at that side by which it traces; none when it does not."""
    spec = _said(view.telemetries, view.config, side)
    tracer = _named(view.config, spec.tracer)
    if tracer is None or spec.disabled:
        return {}
    namespace, _, host = tracer.opentelemetry.service.rpartition("/")
    collector = view.registered(host, namespace)
    if collector is None:
        return {}
    made: Resource = {
        "client_sampling": {"value": 100.0},
        "random_sampling": {"value": _DEFAULT_SAMPLING if spec.sampling is None else spec.sampling},
        "overall_sampling": {"value": 100.0},
        "custom_tags": _tags(view.workload) if spec.tags else [],
        "provider": _provider(view.workload, host, tracer.opentelemetry.port),
    }
    if tracer.opentelemetry.max_tag_length:
        made["max_path_tag_length"] = tracer.opentelemetry.max_tag_length
    if view.proxy.gateway:
        made["spawn_upstream_span"] = True
    by_request_id = typed(_REQUEST_ID, use_request_id_for_trace_sampling=spec.by_request_id)
    return {"tracing": made, "request_id_extension": {"typed_config": by_request_id}}


def _said(telemetries: Iterable[Telemetry], config: MeshConfig, side: Side) -> _Spec:
    spec = _Spec(config.default_tracer)
    for item in (item for telemetry in telemetries for item in telemetry.spec.tracing):
        if item.match is None or item.match.mode in ("CLIENT_AND_SERVER", side):
            spec = _changed(spec, item)
    return spec


def _changed(spec: _Spec, item: Tracing) -> _Spec:
    said: dict[str, Any] = {
        "tracer": item.providers[0].name if item.providers else None,
        "disabled": item.disable_span_reporting,
        "sampling": item.random_sampling_percentage,
        "tags": item.enable_istio_tags,
        "by_request_id": item.use_request_id_for_trace_sampling,
    }
    return replace(spec, **{name: value for name, value in said.items() if value is not None})


def _named(config: MeshConfig, name: str) -> ExtensionProvider | None:
    """The provider of that name, whatever its case."""
    return next((one for one in config.tracers if name and one.name.lower() == name.lower()), None)


def _provider(workload: Workload, host: str, port: int) -> Resource:
    collector = {"cluster_name": names.outbound_cluster(port, "", host), "authority": host}
    return extension(
        "envoy.tracers.opentelemetry",
        _CONFIG,
        service_name=f"{workload.canonical_service}.{workload.namespace}",
        grpc_service={"envoy_grpc": collector},
    )


def _tags(workload: Workload) -> list[Resource]:
    literals = {
        "istio.canonical_revision": workload.canonical_revision,
        "istio.canonical_service": workload.canonical_service,
        "istio.cluster_id": CLUSTER_ID,
        "istio.mesh_id": TRUST_DOMAIN,
        "istio.namespace": workload.namespace,
    }
    return [*_dry_run_tags(), *({"tag": tag, "literal": {"value": value}} for tag, value in literals.items())]


def _dry_run_tags() -> Iterable[Resource]:
    """What AuthorizationPolicies in a dry run would have done; without one these tags are not on the span."""
    for action in ("allow", "deny"):
        for tag, key in (("name", "effective_policy_id"), ("result", "engine_result")):
            yield {
                "tag": f"istio.authorization.dry_run.{action}_policy.{tag}",
                "metadata": {
                    "kind": {"request": {}},
                    "metadata_key": {
                        "key": _RBAC,
                        "path": [{"key": f"istio_dry_run_{action}_shadow_{key}"}],
                    },
                },
            }
