"""What Istio's CRD and webhook hold against a Telemetry (`ValidateTelemetry`), and what the local mesh cannot do of it.

Its metrics come from access loggers, not from Istio's `istio_stats` filter, so a label cannot be set from what only
that filter knows, and connections are counted when they end. Extension providers are for spans only; one that the
mesh's settings do not have gets none, as with istiod.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.localmesh.kinds.istio import cel
from harness.localmesh.kinds.istio.rules.common import selector_problems, under
from harness.localmesh.kinds.istio.telemetry import Metrics, MetricsOverride, ProviderRef, Telemetry
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

_STANDARD = frozenset(
    {
        "requests_total",
        "request_duration_milliseconds",
        "request_bytes",
        "response_bytes",
        "request_messages_total",
        "response_messages_total",
        "tcp_connections_opened_total",
        "tcp_connections_closed_total",
        "tcp_sent_bytes_total",
        "tcp_received_bytes_total",
    }
)


def problems(spec: Telemetry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    yield from selector_problems("selector.matchLabels", spec.selector.match_labels)
    for index, logging in enumerate(spec.access_logging):
        place = f"accessLogging[{index}]"
        yield from under(place, _provider_problems(logging.providers, "envoy"))
        if logging.filter is not None and (why := cel.fault(logging.filter.expression)) is not None:
            yield f"{place}.filter.expression", why
    for index, metrics in enumerate(spec.metrics):
        yield from under(f"metrics[{index}]", _metrics_problems(metrics))


def warnings(spec: Telemetry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    for index, metrics in enumerate(spec.metrics):
        for number, override in enumerate(metrics.overrides):
            if "" in override.tag_overrides:
                yield (
                    f"metrics[{index}].overrides[{number}].tagOverrides",
                    "the name of a tag should not be empty",
                )
    if len(spec.tracing) > 1:
        yield "tracing", "Istio does not support several entries yet"
    for index, tracing in enumerate(spec.tracing):
        if len(tracing.providers) > 1:
            yield (
                f"tracing[{index}].providers",
                "Istio does not support several providers yet; the first counts",
            )


def _metrics_problems(metrics: Metrics) -> Iterator[Problem]:
    yield from _provider_problems(metrics.providers, "prometheus")
    if metrics.reporting_interval is not None:
        yield (
            "reportingInterval",
            "the local mesh counts a connection's bytes when it ends; leave the field out",
        )
    for number, override in enumerate(metrics.overrides):
        yield from under(f"overrides[{number}]", _override_problems(override))


def _provider_problems(providers: Sequence[ProviderRef], only: str) -> Iterator[Problem]:
    for index, provider in enumerate(providers):
        if provider.name != only:
            why = f"the local mesh has no provider {provider.name!r}; the only one here is {only!r}"
            yield f"providers[{index}].name", why


def _override_problems(override: MetricsOverride) -> Iterator[Problem]:
    match = override.match
    if match is not None and match.metric is not None and match.custom_metric is not None:
        yield "match", "only one of metric and customMetric can be given"
    elif match is not None and match.custom_metric is not None and match.custom_metric not in _STANDARD:
        yield (
            "match.customMetric",
            f"there is no metric istio_{match.custom_metric}; the local mesh has Istio's own",
        )
    for name, tag in override.tag_overrides.items():
        field = f"tagOverrides[{name}].value"
        if tag.operation == "REMOVE" and tag.value:
            yield field, "can be given with operation UPSERT only"
        elif tag.operation == "UPSERT" and not tag.value:
            yield field, "must be given with operation UPSERT"
        elif tag.value:
            value = cel.printed(tag.value)
            if (why := cel.fault(value) or _unreadable(value)) is not None:
                yield field, why


def _unreadable(expression: str) -> str | None:
    """Why the access loggers of a plain Envoy cannot evaluate what Istio's filter could."""
    words = cel.words(expression)
    if "+" in words:
        return f"{expression!r} adds; in the local mesh Envoy's access loggers cannot join texts, use one attribute"
    for peer in ("upstream_peer", "downstream_peer"):
        if peer in words:
            return f"{peer} is there with Istio's metadata exchange only; use Istio's own labels of the other workload"
    return None
