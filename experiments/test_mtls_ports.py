"""An exception for one port is one for that port alone.

recommendations is asked in plaintext by a monitor that has no sidecar, at port 9090. There it may; at port
8080 it is refused as everywhere in the shop. The exception is shown by the run that promises the opposite:
plaintext at 9090 is answered, so that "every plaintext connection is refused" is violated there.

Guards: PeerAuthentication recommendations, spec.mtls.mode and spec.portLevelMtls["9090"].
"""

from harness import SLO, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, plaintext_refused

TARGET = Target("recommendations", namespace="shop")

EVERYWHERE = Patch(
    Ref("security.istio.io/v1", "PeerAuthentication", "shop", "recommendations"),
    (Edit(("spec", "mtls", "mode"), "PERMISSIVE"),),
)


def experiment(port):
    refused = SLO(f"plaintext at {port} is refused", plaintext_refused(TARGET, port=port), at_least=1.0)
    return Experiment(
        hypothesis=[refused],
        target=TARGET,
        fault=Nothing(),
        load=Load("browse", rate=100, paths=("/today",)),
    )


def test_other_ports_stay_closed(run):
    run(experiment(8080))


def test_the_exception_is_open(run):
    run(experiment(9090), expect=Verdict.VIOLATED)


def test_an_exception_for_all_ports_opens_them_all(run):
    run(experiment(8080), weaken=[EVERYWHERE], expect=Verdict.VIOLATED)
