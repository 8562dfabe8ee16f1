"""Without its control plane the mesh goes on as it was.

istiod is away: sidecars keep their routes, their endpoints and their certificates. What is pushed meanwhile,
here a route on which every call to catalog fails, does not arrive before istiod is back, and it is taken back
before.

Guards: certificates that outlast an outage (SECRET_TTL); the order in which changes are undone. Evidence:
istiod has no pod. The control pushes the same route with istiod at work.
"""

from dataclasses import dataclass

import pytest

from harness import (
    SLO,
    BlastRadius,
    ControlPlaneOutage,
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

BROKEN = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog"),
    (Edit(("spec", "http", 0, "fault"), {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}),),
)


@dataclass(frozen=True)
class PushDuringOutage(ControlPlaneOutage):
    """istiod is away, and a broken route is pushed then."""

    def __str__(self):
        return "push during an outage of the control plane"

    def changes(self, scene):
        """The outage first, so that it ends last."""
        return (*super().changes(scene), BROKEN)


def experiment(fault):
    return Experiment(
        hypothesis=[SLO("items are served", availability("frontend", namespace="shop"), at_least=0.98)],
        target=Target("catalog", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=200, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1, namespaces=("shop", "istio-system")),
        guards=(),
    )


@pytest.mark.parametrize("fault", [ControlPlaneOutage(), PushDuringOutage()], ids=str)
def test_sidecars_go_on_without_the_control_plane(run, fault):
    run(experiment(fault))


def test_with_it_the_same_push_arrives(run):
    run(experiment(Nothing()), weaken=[BROKEN], expect=Verdict.VIOLATED)
