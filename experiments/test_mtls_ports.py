"""An exception for one port is one for that port alone.

recommendations is asked in plaintext by a monitor that has no sidecar, at port 9090. There it may, and the monitor
gets its answer, which also an AuthorizationPolicy has to allow; at port 8080 it is refused as everywhere in the shop.

Guards: PeerAuthentication recommendations, spec.mtls.mode and spec.portLevelMtls["9090"]; AuthorizationPolicy
recommendations, the rule for port 9090.
"""

from harness import (
    ABSENT,
    SLO,
    Edit,
    Experiment,
    Load,
    Nothing,
    Patch,
    Ref,
    Target,
    Verdict,
    plaintext_answered,
    plaintext_refused,
)

TARGET = Target("recommendations", namespace="shop")
CLOSED = SLO("plaintext at 8080 is refused", plaintext_refused(TARGET, port=8080), at_least=1.0, enough=5)
OPEN = SLO("plaintext at 9090 is answered", plaintext_answered(TARGET, port=9090), at_least=1.0, enough=5)


def policy(*edits):
    return Patch(Ref("security.istio.io/v1", "PeerAuthentication", "shop", "recommendations"), edits)


EVERYWHERE = policy(Edit(("spec", "mtls", "mode"), "PERMISSIVE"))
NOWHERE = policy(Edit(("spec", "portLevelMtls"), ABSENT))


def experiment(promise, *guards):
    return Experiment(
        hypothesis=[promise],
        target=TARGET,
        fault=Nothing(),
        load=Load("browse", rate=50, paths=("/today",)),
        guards=guards,
    )


OTHERS = experiment(CLOSED, "PeerAuthentication recommendations spec.mtls.mode")
MONITOR = experiment(
    OPEN,
    "PeerAuthentication recommendations spec.portLevelMtls",
    "AuthorizationPolicy recommendations spec.rules[1]",
)


def test_the_monitor_is_answered(run):
    run(MONITOR)


def test_without_the_exception_it_is_not(run):
    run(MONITOR, weaken=[NOWHERE], expect=Verdict.VIOLATED)


def test_other_ports_stay_closed(run):
    run(OTHERS)


def test_an_exception_for_all_ports_opens_them_all(run):
    run(OTHERS, weaken=[EVERYWHERE], expect=Verdict.VIOLATED)
