"""mTLS is enforced.

Every request to catalog comes over mutual TLS, and a plaintext connection to each of its pods is refused, also by the
pod that replaces a killed one. No other pod of the shop takes plaintext either; one without a sidecar would.

Guards: PeerAuthentication default, spec.mtls.mode; the sidecars of all Deployments.
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
SHOP = Target("shop", namespace="shop", selector={"app.kubernetes.io/part-of": "shop"})
DEPLOYMENTS = ("frontend-v1", "catalog-v1", "catalog-v2", "payments-v1", "payments-v2", "recommendations-v1")
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
        load=Load("browse", rate=300, paths=("/items",)),
        blast_radius=BlastRadius(max_pods=1, max_percent=34),
        recover_within=10.0,
        guards=["PeerAuthentication default spec.mtls.mode"],
    )


EVERYWHERE = Experiment(
    hypothesis=[SLO("nobody takes plaintext", plaintext_refused(SHOP, port=8080), at_least=1.0, enough=30)],
    target=SHOP,
    fault=Nothing(),
    load=Load("browse", rate=50),
    guards=[
        f"Deployment {name} spec.template.metadata.labels.sidecar.istio.io/inject" for name in DEPLOYMENTS
    ],
)


@pytest.mark.parametrize("fault", [PodKill(count=1, grace_seconds=0), Nothing()], ids=str)
def test_mtls_is_enforced(run, fault):
    run(experiment(fault))


def test_no_pod_of_the_shop_takes_plaintext(run):
    run(EVERYWHERE)


def test_permissive_lets_plaintext_in(run):
    run(experiment(Nothing()), weaken=[PERMISSIVE], expect=Verdict.VIOLATED)
