"""Load that a service cannot take is shed at once.

payments takes a second for every request, two hundred times what it should. Fifty requests may wait for it at
a time; all others are refused by their caller's sidecar within milliseconds, instead of queueing up behind
them.

Guards: DestinationRule payments, spec.trafficPolicy.connectionPool.http.http2MaxRequests, which limits
HTTP/1.1 as well. Evidence: every request at payments carries the flag DI.
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
    "every other caller has its answer within 250 ms",
    latency("payments", namespace="shop", quantile=0.5),
    at_most=0.25,
)
USEFUL = SLO(
    "payments still serves what it can",
    promql("calls that were answered", good=f'{CALLS},response_code="200"}}', total=f"{CALLS}}}"),
    at_least=0.1,
)
SLOW = Delay(1.0)

WITHOUT_LIMIT = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "payments"),
    (Edit(("spec", "trafficPolicy", "connectionPool", "http"), ABSENT),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[AT_ONCE, USEFUL],
        target=PAYMENTS,
        fault=fault,
        load=Load("browse", rate=150, users=120, paths=("/checkout",)),
        blast_radius=BlastRadius(max_pods=3),
    )


def test_what_cannot_be_served_is_refused_at_once(run):
    run(experiment(SLOW))


def test_without_a_limit_everybody_waits(run):
    run(experiment(SLOW), weaken=[WITHOUT_LIMIT], expect=Verdict.VIOLATED)
