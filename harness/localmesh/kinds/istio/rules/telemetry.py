"""What Istio's CRD and webhook hold against a Telemetry (`ValidateTelemetry`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio import cel
from harness.localmesh.kinds.istio.rules.common import selector_problems, under
from harness.localmesh.kinds.istio.telemetry import MetricsOverride, Telemetry
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest


def problems(spec: Telemetry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    yield from selector_problems("selector.matchLabels", spec.selector.match_labels)
    for index, logging in enumerate(spec.access_logging):
        if logging.filter is not None and (why := cel.fault(logging.filter.expression)) is not None:
            yield f"accessLogging[{index}].filter.expression", why
    for index, metrics in enumerate(spec.metrics):
        for number, override in enumerate(metrics.overrides):
            yield from under(f"metrics[{index}].overrides[{number}]", _override_problems(override))


def warnings(spec: Telemetry, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    for index, metrics in enumerate(spec.metrics):
        for number, override in enumerate(metrics.overrides):
            if "" in override.tag_overrides:
                yield (
                    f"metrics[{index}].overrides[{number}].tagOverrides",
                    "the name of a tag should not be empty",
                )


def _override_problems(override: MetricsOverride) -> Iterator[Problem]:
    match = override.match
    if match is not None and match.metric is not None and match.custom_metric is not None:
        yield "match", "only one of metric and customMetric can be given"
    for name, tag in override.tag_overrides.items():
        field = f"tagOverrides[{name}].value"
        if tag.operation == "REMOVE" and tag.value:
            yield field, "can be given with operation UPSERT only"
        elif tag.operation == "UPSERT" and not tag.value:
            yield field, "must be given with operation UPSERT"
        elif tag.value and (why := cel.fault(tag.value)) is not None:
            yield field, why
