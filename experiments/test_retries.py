"""Retries hide a failing callee.

30 % of what catalog answers becomes a 503, at catalog's own sidecar: there the caller's policies can see it. Up to
eight retries leave 0.3^9 = 0.002 % of the requests without an answer, so people at the entry notice nothing.
"""

import pytest

from harness import (
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Nothing,
    Patch,
    Ref,
    Target,
    Verdict,
    availability,
)

CATALOG = Target("catalog", namespace="shop")
UP = SLO("the shop is available at the entry", availability("frontend", namespace="shop"), at_least=0.999)

WITHOUT_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"),
    (Edit(("spec", "http", 0, "retries"), {"attempts": 0}),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[UP],
        target=CATALOG,
        fault=fault,
        load=Load("browse", rate=1000, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=3),
    )


@pytest.mark.parametrize("fault", [Abort(503, percent=30), Nothing()], ids=str)
def test_retries_hide_a_failing_callee(run, fault):
    run(experiment(fault))


def test_without_retries_the_same_failures_reach_the_entry(run):
    run(experiment(Abort(503, percent=30)), weaken=[WITHOUT_RETRIES], expect=Verdict.VIOLATED)
