"""A pod that is asked to end loses nothing, even where nobody tries again.

The retries of catalog's callers are taken away, so that every request that a pod drops on its way out reaches the entry
as an error. An evicted pod goes on for as long as its preStop hook takes, a second, in which its callers learn of its
end, and then answers what it has begun; its sidecar ends last. One that is killed without grace breaks off what it was
doing, and is asked on until its callers know.

Guards: the pods' terminationGracePeriodSeconds and preStop hook, which no mutant takes away one by one: with the hook
Kubernetes refuses a shorter time, and without it a request is lost by chance only. Evidence: the UID is gone.
"""

from harness import (
    SLO,
    BlastRadius,
    Edit,
    Evict,
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
        target=Target("catalog-v1", namespace="shop", selector={"app": "catalog", "version": "v1"}),
        fault=fault,
        load=Load("browse", rate=300, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1),
        guards=(),
    )


def test_a_pod_that_is_given_time_loses_nothing(run):
    run(experiment(Evict(1)), weaken=[WITHOUT_RETRIES])


def test_a_pod_that_is_given_none_does(run):
    kill = PodKill(count=1, grace_seconds=0)
    run(experiment(kill), weaken=[WITHOUT_RETRIES], expect=Verdict.VIOLATED)
