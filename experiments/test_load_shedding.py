"""Load that a service cannot take is shed at once.

payments takes 400 ms for every request, a hundred times what it should, so fifty requests at a time are 125 a second.
It is asked 240 times a second. Fifty requests may wait for it, 25 of each frontend's; all others are refused by their
caller's sidecar within milliseconds, instead of queueing up behind them.

Guards: DestinationRule payments, spec.trafficPolicy.connectionPool.http.http2MaxRequests, which limits HTTP/1.1 as
well. Evidence: every request at payments carries the flag DI.
"""

from harness import (
    ABSENT,
    SLO,
    BlastRadius,
    Delay,
    Edit,
    Experiment,
    Load,
    Patch,
    Ref,
    Target,
    Verdict,
    latency,
    promql,
)

PAYMENTS = Target("payments", namespace="shop")
CALLS = 'istio_requests_total{reporter="source",destination_service_name="payments"'
AT_ONCE = SLO(
    "three of ten callers have their answer within 250 ms",
    latency("payments", namespace="shop", quantile=0.3),
    at_most=0.25,
)
USEFUL = SLO(
    "payments still serves what it can",
    promql("calls that were answered", good=f'{CALLS},response_code="200"}}', total=f"{CALLS}}}"),
    at_least=0.1,
)
SLOW = Delay(0.4)

WITHOUT_LIMIT = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"),
    (Edit(("spec", "trafficPolicy", "connectionPool", "http"), ABSENT),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[AT_ONCE, USEFUL],
        target=PAYMENTS,
        fault=fault,
        load=Load("browse", rate=240, users=150, paths=("/checkout",)),
        blast_radius=BlastRadius(max_pods=3),
        guards=["DestinationRule payments spec.trafficPolicy.connectionPool.http"],
    )


def test_what_cannot_be_served_is_refused_at_once(run):
    run(experiment(SLOW))


def test_without_a_limit_everybody_waits(run):
    run(experiment(SLOW), weaken=[WITHOUT_LIMIT], expect=Verdict.VIOLATED)
