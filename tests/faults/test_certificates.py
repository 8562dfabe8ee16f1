"""Faults of certificates: changes, evidence, and what they refuse."""

from dataclasses import replace

import pytest
from scenes import COUNTED, pod, scene

from harness.changes import Edit, Patch, Ref, Rotate
from harness.errors import HarnessError
from harness.faults import (
    BlastRadius,
    CertificateExpiry,
    CertificateRenewal,
    Expired,
    OnEach,
    Reissued,
    Renewed,
    Rhythm,
    RootRotation,
    Target,
)
from harness.scene import Needs

ISTIOD = Target("istiod", "istio-system")
DEPLOYMENT = Ref("apps/v1", "Deployment", "istio-system", "istiod")
RESTARTED = ("spec", "template", "metadata", "annotations", "harness.mesh/restarted")
FAULTS = [CertificateExpiry(), RootRotation(), RootRotation(overlap=5)]
EVERY = [CertificateRenewal(), *FAULTS]


def _certified(left=10.0, **different):
    """Three pods of payments whose certificates are good for so many seconds, and istiod."""
    istiod = scene(pod(1, "istiod", namespace="istio-system"), target=ISTIOD)
    made = scene(others=(istiod,), root="abc", **different)
    return replace(made, certificates={one.name: left for one in made.pods})


def test_certificates_run_out_without_istiod():
    """Golden: what an outage of the control plane changes; the target's agents tell the rest."""
    fault = CertificateExpiry(within=30)
    assert fault.changes(_certified()) == (Patch(DEPLOYMENT, (Edit(("spec", "replicas"), 0),)),)
    assert fault.evidence(_certified()) == OnEach(_certified().pods, Expired(), COUNTED, 30)


def test_a_root_is_rotated_between_two_restarts_of_istiod():
    """Golden: undone in reverse, so that in either direction the last restart sees the right Secret."""
    before, rotation, after = RootRotation(within=30, secret="cacerts").changes(_certified())
    assert before == Patch(DEPLOYMENT, (Edit(RESTARTED, "20260102-abc"),))
    assert rotation == Rotate(Ref("v1", "Secret", "istio-system", "cacerts"))
    assert after == Patch(DEPLOYMENT, (Edit(RESTARTED, "20260102-abc-rotated"),))
    assert RootRotation(within=30).evidence(_certified()) == OnEach(
        _certified().pods, Reissued("abc"), COUNTED, 60, momentary=True
    )
    assert (RootRotation().rhythm, RootRotation().lasts) == (None, 0)


def test_with_an_overlap_a_root_is_trusted_before_it_signs():
    """Golden: each step between two restarts of istiod, the second one once and when the overlap is over."""
    fault = RootRotation(within=30, overlap=8)
    secret = Ref("v1", "Secret", "istio-system", "istio-ca-secret")

    def restart(ending):
        return Patch(DEPLOYMENT, (Edit(RESTARTED, f"20260102-abc{ending}"),))

    assert fault.changes(_certified()) == (restart(""), Rotate(secret, "trust", 8), restart("-rotated"))
    assert fault.further(_certified(), (), 1) == (
        restart("-trusted"), Rotate(secret, "sign"), restart("-signing")
    )  # fmt: skip
    assert (fault.rhythm, fault.lasts) == (Rhythm(8, times=1), 8)
    assert fault.evidence(_certified()).within == 68
    assert str(fault) == "root rotation with overlap"


def test_an_overlap_has_to_fit_into_the_blast_radius():
    """Else the new root would never sign."""
    fault = RootRotation(within=10, overlap=8)
    radius = BlastRadius(4, namespaces=("shop", "istio-system"), seconds=8)
    with pytest.raises(HarnessError, match="takes 8 s to come to what was asked"):
        radius.check(fault, _certified())


def test_a_renewal_is_waited_for_and_nothing_is_changed():
    """It touches nothing but the target, and nobody else's namespace."""
    fault = CertificateRenewal(within=30)
    assert fault.changes(_certified()) == ()
    assert fault.evidence(_certified()) == OnEach(_certified().pods, Renewed(), COUNTED, 30, momentary=True)
    assert (fault.pods(_certified()), fault.enters) == (_certified().pods, ())
    assert fault.needs == Needs(certificates=True)
    BlastRadius(3).check(fault, _certified())


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_of_certificates_touch_istiod_and_the_target(fault):
    """Both count for the radius, and the protected namespace has to be named."""
    assert fault.needs == Needs((ISTIOD,), deployments=True, certificates=True)
    assert [one.name for one in fault.pods(_certified())] == [
        "istiod-1", "payments-0", "payments-1", "payments-2"
    ]  # fmt: skip
    assert fault.harm(_certified()) == 100
    BlastRadius(4, namespaces=("shop", "istio-system")).check(fault, _certified())
    with pytest.raises(HarnessError, match="its namespace is protected; name the namespace"):
        BlastRadius(4).check(fault, _certified())


@pytest.mark.parametrize("fault", EVERY, ids=str)
@pytest.mark.parametrize(
    ("left", "said"), [(61, "61 s, and it waits 60 s"), (130, "2 min"), (84_000, "23 h, and it waits 60 s")]
)
def test_certificates_that_outlive_the_fault_are_refused(fault, left, said):
    """Nothing would be seen of it; the message says how to make them shorter."""
    with pytest.raises(HarnessError, match=f"its certificates are good for {said}.*SECRET_TTL"):
        fault.changes(_certified(left))
    fault.changes(_certified(60))
    fault.changes(_certified(-5))


@pytest.mark.parametrize("fault", EVERY, ids=str)
def test_pods_without_a_certificate_are_refused(fault):
    """Whether for want of a sidecar, or of an istiod that has given it one."""
    bare = _certified()
    with pytest.raises(HarnessError, match="the sidecars of payments-1 have no certificate of istiod"):
        fault.changes(replace(bare, certificates={"payments-0": 1, "payments-2": 1}))
    with pytest.raises(HarnessError, match="no sidecar in payments-0"):
        fault.changes(replace(bare, pods=(pod(0, sidecar=False),)))


@pytest.mark.parametrize("within", [0, -1, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(within):
    """It would never be over, or is before it has begun."""
    with pytest.raises(HarnessError, match="choose more than 0 s"):
        RootRotation(within=within)
    with pytest.raises(HarnessError, match="choose more than 0 s"):
        CertificateRenewal(within=within)


@pytest.mark.parametrize("overlap", [-1, float("inf"), float("nan")])
def test_an_overlap_that_is_none_is_refused(overlap):
    """None at all is 0."""
    with pytest.raises(HarnessError, match="choose 0 s or more"):
        RootRotation(overlap=overlap)
