"""Timeouts end what takes too long: one try of several, and a call as a whole.

One of ten tries at payments, or at catalog, hangs for 2.5 s. After 500 ms its caller gives the try up and makes another
one, so the call succeeds, most often within 1 s; the try alone would have used up the 2 s of the whole call. When every
try at catalog hangs, the call fails, but after 2 s.

recommendations hangs for 1.5 s, always. The front page waits 400 ms for it, then goes without.

Guards: VirtualServices catalog and payments, spec.http[].retries.perTryTimeout and retryOn (a try that was given up
counts as a 5xx), and timeout; VirtualService recommendations, spec.http[].timeout; frontend's fallback; that no route
before that of the checkout takes its calls. Evidence: the share of requests that carry the flag DI at the callee.
"""

import pytest

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

SERVED = SLO("pages are served", availability("frontend", namespace="shop"), at_least=0.96)
SOON = SLO(
    "nineteen of twenty pages come within 1 s",
    latency("frontend", namespace="shop", quantile=0.95),
    at_most=1.0,
)
GIVEN_UP = SLO(
    "nine of ten answers come within 2.5 s, whatever they are",
    latency("frontend", namespace="shop", quantile=0.9),
    at_most=2.5,
)
QUICK = SLO(
    "nine of ten front pages come within 1 s",
    latency("frontend", namespace="shop", quantile=0.9),
    at_most=1.0,
)
HANGING_TRIES, HANGING = Delay(2.5, percent=10), Delay(1.5, percent=100)

WITHOUT_PER_TRY_TIMEOUT = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 4, "retries", "perTryTimeout"), ABSENT),),
)
WITHOUT_TIMEOUT = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "recommendations"),
    (Edit(("spec", "http", 0, "timeout"), ABSENT),),
)


def experiment(app, fault, promises, *guards, rate, path):
    return Experiment(
        hypothesis=promises,
        target=Target(app, namespace="shop"),
        fault=fault,
        load=Load("browse", rate=rate, users=160, paths=(path,)),
        blast_radius=BlastRadius(max_pods=3),
        guards=guards,
    )


PAYMENTS, ITEMS = "VirtualService payments spec.http", "VirtualService catalog spec.http[0]"
CHECKOUT = experiment(
    *("payments", HANGING_TRIES, [SERVED, SOON]),
    *(f"{PAYMENTS}[4].retries.perTryTimeout", f"{PAYMENTS}[2].match", f"{PAYMENTS}[3].match"),
    rate=200,
    path="/checkout",
)
CATALOG = experiment(
    *("catalog", HANGING_TRIES, [SERVED, SOON], f"{ITEMS}.retries.perTryTimeout", f"{ITEMS}.timeout"),
    rate=200,
    path="/items",
)
HANGING_CATALOG = experiment("catalog", HANGING, [GIVEN_UP], f"{ITEMS}.timeout", rate=60, path="/items")
FRONT_PAGE = experiment(
    *("recommendations", HANGING, [QUICK], "VirtualService recommendations spec.http[0].timeout"),
    rate=100,
    path="/today",
)


@pytest.mark.parametrize("experiment", [CHECKOUT, CATALOG], ids=["checkout", "catalog"])
def test_a_try_that_hangs_is_made_again(run, experiment):
    run(experiment)


def test_without_a_timeout_for_each_try_one_uses_up_the_time_of_all(run):
    run(CHECKOUT, weaken=[WITHOUT_PER_TRY_TIMEOUT], expect=Verdict.VIOLATED)


def test_a_call_that_hangs_as_a_whole_is_given_up(run):
    run(HANGING_CATALOG)


def test_a_dependency_that_hangs_is_not_waited_for(run):
    run(FRONT_PAGE)


def test_without_a_timeout_the_page_waits(run):
    run(FRONT_PAGE, weaken=[WITHOUT_TIMEOUT], expect=Verdict.VIOLATED)
