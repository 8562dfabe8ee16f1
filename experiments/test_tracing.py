"""A trace goes on from caller to callee.

A sidecar makes a span for a request that comes in, and one for each call that its program makes. The second is a child
of the first only if the program passes on the headers that tell (`traceparent`); else the call begins a trace of its
own, and who looks at the customer's sees it end at frontend. So of frontend's calls that are traced, nearly all have a
parent. Which are traced is up to chance (10 % in the shop) and says nothing about it.

This is counted by an OpenTelemetry collector, here as on a cluster: that of shop.yaml, which is configured to count
the client spans of each service (`traced_calls`), and those of them that have a parent (`continued_calls`), by the tags
that Istio puts on them. The collector's ready-made counters do not say it: its service graph joins each call with its
callee, which succeeds within the broken trace as well. A cluster needs the extension provider `otel-tracing` in its
MeshConfig (as in Istio's demo profile), and a Prometheus that scrapes the collector. Programs that make spans of their
own stand between the two of their sidecar, and may lose a trace where this does not see it.

Guards: the program's part (annotation standin.harness.local/withhold in the control).
"""

from harness import SLO, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, promql

CALLS = '{}_calls_total{{istio_canonical_service="frontend",istio_namespace="shop"}}'
CONTINUED = SLO(
    "frontend's calls go on with the trace they are part of",
    promql("calls with a parent", good=CALLS.format("continued"), total=CALLS.format("traced")),
    at_least=0.95,
)
ITEMS = Experiment(
    hypothesis=[CONTINUED],
    target=Target("frontend", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=300, paths=("/items",)),
)
FORGETFUL = Patch(
    Ref("apps/v1", "Deployment", "shop", "frontend-v1"),
    (Edit(("spec", "template", "metadata", "annotations", "standin.harness.local/withhold"), "traceparent"),),
)


def test_a_trace_goes_on(run):
    run(ITEMS)


def test_it_ends_where_the_program_drops_it(run):
    run(ITEMS, weaken=[FORGETFUL], expect=Verdict.VIOLATED)
