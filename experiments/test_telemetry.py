"""Both ends count the same.

Every call that frontend's sidecar counts to catalog is counted by catalog's own as well, and no other. What
was sent at all is compared with the count of the entry in every run of the harness, without being asked. The
two ends are scraped at different moments, so a tenth is left for what passes in between; a side that does not
report is missing altogether.

Guards: Telemetry (there is none that switches a side off), the labels that Istio promises.
"""

from harness import SLO, Create, Experiment, Load, Nothing, Target, Verdict, promql, retry_amplification

CALLS = 'istio_requests_total{{reporter="{}",destination_service_name="catalog",source_app="frontend"}}'
ARRIVED = SLO(
    "what was sent is counted where it arrives",
    promql("calls counted at both ends", good=CALLS.format("destination"), total=CALLS.format("source")),
    at_least=0.9,
)
NO_OTHERS = SLO("nothing else is", retry_amplification("catalog", namespace="shop"), at_most=1.1)


def experiment(*hypothesis):
    return Experiment(
        hypothesis=hypothesis,
        target=Target("catalog", namespace="shop"),
        fault=Nothing(),
        load=Load("browse", rate=200, paths=("/items",)),
        guards=(),
    )


OVERRIDES = [{"match": {"metric": "ALL_METRICS", "mode": "SERVER"}, "disabled": True}]
SILENT = Create(
    {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": "silent", "namespace": "shop"},
        "spec": {"metrics": [{"providers": [{"name": "prometheus"}], "overrides": OVERRIDES}]},
    }
)


def test_both_ends_count_the_same(run):
    run(experiment(ARRIVED, NO_OTHERS))


def test_a_callee_that_does_not_count_is_noticed(run):
    run(experiment(ARRIVED), weaken=[SILENT], expect=Verdict.VIOLATED)
