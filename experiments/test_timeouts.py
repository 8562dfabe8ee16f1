"""Timeouts end what takes too long: one try of several, and a call as a whole.

One of ten tries at payments hangs for 3 s. After 500 ms its caller gives the try up and makes another one, so
the call succeeds within its 2 s; the try alone would have used them up.

recommendations hangs for 3 s, always. The front page waits 400 ms for it, then goes without.

Guards: VirtualService payments, spec.http[].retries.perTryTimeout and retryOn (a try that was given up counts
as a 5xx); VirtualService recommendations, spec.http[].timeout; frontend's fallback. Evidence: the share of
requests that carry the flag DI at the callee.
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
    availability,
    latency,
)

SERVED = SLO("checkout is served", availability("frontend", namespace="shop"), at_least=0.98)
QUICK = SLO(
    "nine of ten front pages come within 1 s",
    latency("frontend", namespace="shop", quantile=0.9),
    at_most=1.0,
)
HANGING_TRIES, HANGING = Delay(3.0, percent=10), Delay(3.0, percent=100)

WITHOUT_PER_TRY_TIMEOUT = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 4, "retries", "perTryTimeout"), ABSENT),),
)
WITHOUT_TIMEOUT = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "recommendations"),
    (Edit(("spec", "http", 0, "timeout"), ABSENT),),
)


def checkout(fault):
    return Experiment(
        hypothesis=[SERVED],
        target=Target("payments", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=150, users=40, paths=("/checkout",)),
        blast_radius=BlastRadius(max_pods=3),
    )


def front_page(fault):
    return Experiment(
        hypothesis=[QUICK],
        target=Target("recommendations", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=60, users=60, paths=("/today",)),
        blast_radius=BlastRadius(max_pods=1),
    )


def test_a_try_that_hangs_is_made_again(run):
    run(checkout(HANGING_TRIES))


def test_without_a_timeout_for_each_try_one_uses_up_the_time_of_all(run):
    run(checkout(HANGING_TRIES), weaken=[WITHOUT_PER_TRY_TIMEOUT], expect=Verdict.VIOLATED)


def test_a_dependency_that_hangs_is_not_waited_for(run):
    run(front_page(HANGING))


def test_without_a_timeout_the_page_waits(run):
    run(front_page(HANGING), weaken=[WITHOUT_TIMEOUT], expect=Verdict.VIOLATED)
