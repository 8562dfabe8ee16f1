"""A killed pod is not noticed.

One of catalog's three pods is killed without grace, so what it was doing is lost and its callers still send to it for a
moment. Retries repeat both kinds of failure at another pod; outlier detection stops asking the dead one.
"""

import pytest

from harness import (
    ABSENT,
    SLO,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Nothing,
    Patch,
    PodKill,
    Ref,
    Target,
    Verdict,
    availability,
)

CATALOG = Target("catalog", namespace="shop")
UP = SLO("the shop is available at the entry", availability("frontend", namespace="shop"), at_least=0.995)

WITHOUT_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"),
    (Edit(("spec", "http", 0, "retries"), {"attempts": 0}),),
)
WITHOUT_EJECTION = Patch(
    Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog"),
    (Edit(("spec", "trafficPolicy", "outlierDetection"), ABSENT),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[UP],
        target=CATALOG,
        fault=fault,
        load=Load("browse", rate=600, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1, max_percent=34),
        recover_within=10.0,
        guards=["VirtualService catalog spec.http[0].retries"],
    )


@pytest.mark.parametrize("fault", [PodKill(count=1, grace_seconds=0), Nothing()], ids=str)
def test_a_killed_pod_is_not_noticed(run, fault):
    run(experiment(fault))


def test_without_retries_and_ejection_a_killed_pod_is_noticed(run):
    weaken = [WITHOUT_RETRIES, WITHOUT_EJECTION]
    run(experiment(PodKill(count=1, grace_seconds=0)), weaken=weaken, expect=Verdict.VIOLATED)
