"""Ejection never takes everybody out.

A service that fails as a whole is still asked, so that it is back when it is well.

All pods of catalog fail. One of three may be ejected, 50 % at most, so attempts go on at the others; without
that limit callers would have nobody to ask (response flag UH) for seconds after the failure is over. Panic is
a second way to the same: with fewer healthy pods than minHealthPercent, Envoy asks all of them, ejected or
not.

Guards: DestinationRule catalog, spec.trafficPolicy.outlierDetection.maxEjectionPercent (and
minHealthPercent). Evidence: every attempt at catalog carries the flag FI.
"""

from harness import (
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Patch,
    Ref,
    Target,
    Verdict,
    promql,
)

CATALOG = Target("catalog", namespace="shop")
CALLS = 'istio_requests_total{reporter="source",destination_service_name="catalog"'
SOMEBODY = SLO(
    "there is always somebody to ask",
    promql("calls that found a pod", good=f'{CALLS},response_flags!~".*UH.*"}}', total=f"{CALLS}}}"),
    at_least=1.0,
)


def ejecting(**settings):
    path = ("spec", "trafficPolicy", "outlierDetection")
    edits = tuple(Edit((*path, name), value) for name, value in settings.items())
    return Patch(Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"), edits)


FAILING = Experiment(
    hypothesis=[SOMEBODY],
    target=CATALOG,
    fault=Abort(503, percent=100),
    load=Load("browse", rate=200, users=100, paths=("/items",)),
    blast_radius=BlastRadius(max_pods=3),
    guards=(),
)


def test_ejection_leaves_somebody_to_ask(run):
    run(FAILING)


def test_panic_asks_everybody_when_all_are_out(run):
    run(FAILING, weaken=[ejecting(maxEjectionPercent=100, minHealthPercent=50)])


def test_without_a_limit_nobody_is_left(run):
    weaken = [ejecting(maxEjectionPercent=100)]
    run(FAILING, weaken=weaken, expect=Verdict.VIOLATED)
