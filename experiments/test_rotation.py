"""Certificates and the root of the mesh are exchanged, and nobody notices.

Every request from the gateway to frontend and from there to recommendations takes a connection of its own, so each one
asks what both ends hold at that moment. While certificates are renewed not one request fails. Nor does one when the
mesh gets another root the way it has to be done: it is trusted beside the old one until every sidecar knows both, and
signs only then.

Guards: a certificate's life and when it is renewed (SECRET_TTL and SECRET_GRACE_PERIOD_RATIO, of recommendations in
proxy.istio.io/config); the time for which both roots are trusted before the new one signs. Evidence: the agent of the
sidecar tells another certificate than at the beginning; for the root, one that was issued after istiod told another
root in istio-ca-root-cert. The controls: istiod is away until the certificate has run out, and the root is replaced at
once.
"""

from harness import (
    SLO,
    BlastRadius,
    CertificateExpiry,
    CertificateRenewal,
    Create,
    Edit,
    Experiment,
    Load,
    Patch,
    Ref,
    RootRotation,
    Target,
    Verdict,
    availability,
)

ALL = [
    SLO("every request is served", availability("frontend", namespace="shop"), at_least=1.0),
    SLO("every recommendation comes", availability("recommendations", namespace="shop"), at_least=1.0),
]


# Open connections outlive the certificates they were made with: with new ones only, each request tells.
ONE_REQUEST = {"http": {"maxRequestsPerConnection": 1}}
ANEW = [
    Patch(
        Ref("networking.istio.io/v1", "DestinationRule", "shop", "frontend"),
        (Edit(("spec", "trafficPolicy", "connectionPool"), ONE_REQUEST),),
    ),
    Create(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "recommendations", "namespace": "shop"},
            "spec": {"host": "recommendations", "trafficPolicy": {"connectionPool": ONE_REQUEST}},
        }
    ),
]
# For a rotation within seconds every sidecar of the mesh has to renew within seconds: here every 2.4 s.
SHORT_LIVES = Patch(
    Ref("v1", "ConfigMap", "istio-system", "istio"),
    (
        Edit(
            ("data", "mesh"),
            """
accessLogFile: /dev/stdout
accessLogEncoding: JSON
defaultConfig:
  proxyMetadata: {SECRET_TTL: 8s, SECRET_GRACE_PERIOD_RATIO: "0.7"}
""",
        ),
    ),
)


def experiment(fault):
    return Experiment(
        hypothesis=ALL,
        target=Target("recommendations", namespace="shop"),
        fault=fault,
        load=Load("browse", rate=100, paths=("/today",)),
        blast_radius=BlastRadius(max_pods=2, namespaces=("shop", "istio-system")),
    )


def test_the_renewal_of_certificates_is_not_noticed(run):
    run(experiment(CertificateRenewal(within=10)), weaken=ANEW)


def test_without_renewal_certificates_run_out(run):
    run(experiment(CertificateExpiry(within=15)), weaken=ANEW, expect=Verdict.VIOLATED)


def test_another_root_that_is_trusted_first_is_not_noticed(run):
    run(experiment(RootRotation(within=10, overlap=5)), weaken=[*ANEW, SHORT_LIVES])


def test_another_root_at_once_is(run):
    run(
        experiment(RootRotation(within=10)),
        weaken=[*ANEW, SHORT_LIVES],
        expect=Verdict.VIOLATED,
    )
