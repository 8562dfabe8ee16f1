"""A trace goes on from caller to callee.

That needs a collector in which spans can be counted. The local mesh has none and says so: it refuses to be
configured for tracing, naming the field. The harness does not count spans anywhere yet, so this is no verdict
on a cluster either.
"""

import pytest

from harness import (
    SLO,
    BadConfig,
    BlastRadius,
    Experiment,
    Load,
    Target,
    availability,
)

TRACED = BadConfig(
    {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": "traced", "namespace": "shop"},
        "spec": {"tracing": [{"randomSamplingPercentage": 100.0}]},
    }
)


def test_tracing_is_refused_rather_than_ignored(run, request):
    if request.config.option.kubeconfig or request.config.option.kube_context:
        pytest.skip("a cluster may take it, and spans are not counted: nothing can be said about traces")
    run(
        Experiment(
            hypothesis=[SLO("items are served", availability("frontend", namespace="shop"), at_least=0.98)],
            target=Target("catalog", namespace="shop"),
            fault=TRACED,
            load=Load("browse", rate=200, paths=("/items",)),
            blast_radius=BlastRadius(max_pods=3),
        )
    )
