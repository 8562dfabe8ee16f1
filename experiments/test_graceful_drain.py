"""A pod that is asked to end loses nothing, even where nobody tries again.

The retries of catalog's callers are taken away, so that every request that a pod drops on its way out reaches the entry
as an error. With time to end, a pod answers what it has begun and its sidecar takes leave of its callers first; one
that is killed without grace breaks off what it was doing, and is asked on until its callers know.

Guards: the pods' terminationGracePeriodSeconds, and the time the sidecar drains. Evidence: the UID is gone.
"""

from harness import (
    SLO,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Patch,
    PodKill,
    Ref,
    Target,
    Verdict,
    availability,
)

SERVED = SLO("items are served", availability("frontend", namespace="shop"), at_least=0.99)

WITHOUT_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"),
    (Edit(("spec", "http", 0, "retries"), {"attempts": 0}),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[SERVED],
        target=Target("catalog", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=200, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1),
    )


def test_a_pod_that_is_given_time_loses_nothing(run):
    run(experiment(PodKill(count=1, grace_seconds=30)), weaken=[WITHOUT_RETRIES])


def test_a_pod_that_is_given_none_does(run):
    kill = PodKill(count=1, grace_seconds=0)
    run(experiment(kill), weaken=[WITHOUT_RETRIES], expect=Verdict.VIOLATED)
