"""The two ways in which Istio's kinds pick workloads; both want every label given."""

from __future__ import annotations

from msgspec import field

from harness.localmesh.kinds.istio.values import Labels
from harness.localmesh.kinds.parse import Kind


class Selector(Kind):
    """The workloads that carry all `match_labels`; without any, all of the namespace."""

    match_labels: Labels = field(default_factory=dict)


class WorkloadSelector(Kind):
    """The workloads that carry all `labels`; without any, all of the namespace."""

    labels: Labels = field(default_factory=dict)
