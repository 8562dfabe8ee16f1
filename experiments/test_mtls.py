"""mTLS is enforced.

Every request to catalog comes over mutual TLS, and a plaintext connection to each of its pods is refused, also by the
pod that replaces a killed one.
"""

import pytest

from harness import (
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
    mtls_share,
    plaintext_refused,
)

CATALOG = Target("catalog", namespace="shop")
MUTUAL = SLO("every request is mutual TLS", mtls_share("catalog", namespace="shop"), at_least=1.0)
NO_PLAINTEXT = SLO(
    "every plaintext connection is refused", plaintext_refused(CATALOG, port=8080), at_least=1.0
)

PERMISSIVE = Patch(
    Ref("security.istio.io/v1", "PeerAuthentication", "shop", "default"),
    (Edit(("spec", "mtls", "mode"), "PERMISSIVE"),),
)


def experiment(fault):
    return Experiment(
        hypothesis=[MUTUAL, NO_PLAINTEXT],
        target=CATALOG,
        fault=fault,
        load=Load("browse", rate=200, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1, max_percent=34),
        recover_within=10.0,
    )


@pytest.mark.parametrize("fault", [PodKill(count=1, grace_seconds=0), Nothing()], ids=str)
def test_mtls_is_enforced(run, fault):
    run(experiment(fault))


def test_permissive_lets_plaintext_in(run):
    run(experiment(Nothing()), weaken=[PERMISSIVE], expect=Verdict.VIOLATED)
