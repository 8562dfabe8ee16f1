"""Calls leave the shop for registered hosts only.

frontend asks a partner, who is registered, and another host, which is not. The first call goes out; the
second ends in its own sidecar, in the cluster BlackHoleCluster, and never touches the network.

Guards: Sidecar default, spec.outboundTrafficPolicy.mode; ServiceEntry partner, spec.hosts and ports.
"""

import pytest

from harness import SLO, Delete, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, promql

CALLS = 'istio_requests_total{reporter="source",source_app="frontend"'


def experiment(path, slo, guards=()):
    return Experiment(
        hypothesis=[slo],
        target=Target("frontend", namespace="shop"),
        fault=Nothing(),
        load=Load("browse", rate=250, paths=(path,)),
        guards=guards,
    )


PARTNER = experiment(
    "/partner",
    SLO(
        "the partner is reached",
        promql(
            "calls that reach the partner",
            good=f'{CALLS},destination_service="partner.example",response_code="200"}}',
            total=f"{CALLS}}}",
        ),
        at_least=0.98,
    ),
)
ABROAD = experiment(
    "/abroad",
    SLO(
        "nobody else is asked",
        promql(
            "calls that end in the sidecar",
            good=f'{CALLS},destination_service_name="BlackHoleCluster"}}',
            total=f"{CALLS}}}",
        ),
        at_least=1.0,
    ),
    guards=["Sidecar default"],
)
OPEN = Patch(
    Ref("networking.istio.io/v1", "Sidecar", "shop", "default"),
    (Edit(("spec", "outboundTrafficPolicy", "mode"), "ALLOW_ANY"),),
)
UNREGISTERED = Delete(Ref("networking.istio.io/v1", "ServiceEntry", "shop", "partner"))


@pytest.mark.parametrize("experiment", [PARTNER, ABROAD], ids=["registered", "unknown"])
def test_only_registered_hosts_are_asked(run, experiment):
    run(experiment)


def test_an_open_door_lets_everything_out(run):
    run(ABROAD, weaken=[OPEN], expect=Verdict.VIOLATED)


def test_a_partner_that_is_not_registered_is_not_reached(run):
    run(PARTNER, weaken=[UNREGISTERED], expect=Verdict.VIOLATED)
