"""A mistake in the configuration is refused, or stays where it was made.

A retry without attempts and a weight below zero are mistakes that the mesh can see: they are refused before they are in
force. A route to a subset that nobody defined is one that it cannot see (the subset may come later): it is taken, and
calls to recommendations find no cluster. All other calls go on, and the front page comes without it.

Guards: validation; frontend's fallback. Evidence: the refusal, or the response flags NR and NC at the callers.
"""

import pytest

from harness import (
    SLO,
    BadConfig,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Patch,
    Ref,
    Target,
    Verdict,
    availability,
)

RECOMMENDATIONS = Ref("networking.istio.io/v1", "VirtualService", "shop", "recommendations")
PAGE = SLO("the front page comes", availability("frontend", namespace="shop"), at_least=0.98)
CATALOG = SLO("catalog answers", availability("catalog", namespace="shop"), at_least=0.98)
RECOMMENDED = SLO("recommendations come", availability("recommendations", namespace="shop"), at_least=0.98)

NO_ATTEMPTS = BadConfig(
    Patch(RECOMMENDATIONS, (Edit(("spec", "http", 0, "retries"), {"attempts": 0, "retryOn": "5xx"}),))
)
BELOW_ZERO = BadConfig(Patch(RECOMMENDATIONS, (Edit(("spec", "http", 0, "route", 0, "weight"), -1),)))
NO_SUCH_SUBSET = BadConfig(
    Patch(RECOMMENDATIONS, (Edit(("spec", "http", 0, "route", 0, "destination", "subset"), "v3"),))
)


def experiment(fault, *hypothesis):
    return Experiment(
        hypothesis=hypothesis,
        target=Target("recommendations", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=200, paths=("/",)),
        blast_radius=BlastRadius(max_pods=1),
        guards=(),
    )


@pytest.mark.parametrize("fault", [NO_ATTEMPTS, BELOW_ZERO], ids=["no attempts", "weight below zero"])
def test_what_can_be_seen_to_be_wrong_is_refused(run, fault):
    run(experiment(fault, RECOMMENDED))


def test_what_cannot_stays_where_it_is(run):
    run(experiment(NO_SUCH_SUBSET, PAGE, CATALOG))


def test_there_it_bites(run):
    run(experiment(NO_SUCH_SUBSET, RECOMMENDED), expect=Verdict.VIOLATED)
