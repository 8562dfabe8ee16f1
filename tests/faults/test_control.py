"""Faults of the control plane and of the connections: changes, evidence, and the radius they need."""

import pytest
from scenes import COUNTED, pod, scene

from harness.changes import Create, Edit, Patch, Ref
from harness.errors import HarnessError
from harness.faults import (
    BadConfig,
    BlastRadius,
    ControlPlaneOutage,
    Disconnect,
    PodKill,
    Push,
    Scaled,
    Share,
    Target,
)

ISTIOD = Target("istiod", "istio-system")
FRONTEND = Target("frontend", "shop")
ROUTE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "typo", "namespace": "shop", "labels": {"team": "shop"}},
    "spec": {"hosts": ["payments"]},
}


def _with_istiod():
    return scene(others=(scene(pod(1, "istiod", namespace="istio-system"), target=ISTIOD),))


def _with_frontend(**different):
    return scene(others=(scene(pod(1, "frontend", **different), target=FRONTEND),))


def test_an_outage_of_the_control_plane_scales_istiod_to_nothing():
    """Golden; nobody has to have asked istiod anything."""
    [change] = ControlPlaneOutage().changes(_with_istiod())
    assert change == Patch(
        Ref("apps/v1", "Deployment", "istio-system", "istiod"), (Edit(("spec", "replicas"), 0),)
    )
    assert ControlPlaneOutage().evidence(_with_istiod()) == Scaled(ISTIOD, 1, 0, {})
    assert ControlPlaneOutage().needs.others == (ISTIOD,)


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        (BlastRadius(), "its namespace is protected; name the namespace in the blast radius"),
        (BlastRadius(namespaces=("shop",)), "its namespace is protected; name the namespace"),
        (BlastRadius(0, namespaces=("shop", "istio-system")), "touch 1 pods"),
    ],
)
def test_an_outage_of_the_control_plane_has_to_be_allowed(radius, message):
    """By name: its namespace is everybody's."""
    with pytest.raises(HarnessError, match=message):
        radius.check(ControlPlaneOutage(), _with_istiod())


def test_a_protected_namespace_that_is_named_is_open_to_the_fault_that_is_about_it_only():
    """Another fault stays out."""
    radius = BlastRadius(namespaces=("shop", "istio-system"))
    radius.check(ControlPlaneOutage(), _with_istiod())
    with pytest.raises(HarnessError, match="is protected; choose another target"):
        radius.check(PodKill(), _with_istiod().other(ISTIOD))


def test_what_a_fault_needs_has_to_have_been_resolved():
    """The message says what is missing."""
    with pytest.raises(HarnessError, match="istio-system/istiod was not resolved"):
        ControlPlaneOutage().changes(scene())


def test_a_bad_object_is_pushed_as_it_is_with_our_labels():
    """Golden; whose it is can be seen."""
    [change] = BadConfig(ROUTE).changes(scene())
    assert isinstance(change, Create)
    ours = {"app.kubernetes.io/managed-by": "harness", "harness.mesh/run": "20260102-abc"}
    assert change.manifest["metadata"]["labels"] == {"team": "shop"} | ours
    assert change.manifest["spec"] == ROUTE["spec"]
    assert ROUTE["metadata"]["labels"] == {"team": "shop"}
    patch = Patch(Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"), (Edit(("spec",), {}),))
    assert BadConfig(patch).changes(scene()) == (patch,)
    assert BadConfig(ROUTE).refusable
    assert str(BadConfig(ROUTE)) == "bad VirtualService typo"


@pytest.mark.parametrize("change", ["create", "patch"])
def test_a_bad_secret_is_refused_before_anything_is_done(change):
    """What is in it would be written to the ledger; the refusal quotes nothing of it."""
    metadata = {"name": "token", "namespace": "shop"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"a": "aHVzaA=="}}
    patch = Patch(Ref("v1", "Secret", "shop", "token"), (Edit(("data", "a"), "aHVzaA=="),))
    with pytest.raises(HarnessError, match="Secret shop/token cannot be changed") as refused:
        BlastRadius(max_pods=9).check(BadConfig(secret if change == "create" else patch), scene())
    assert "aHVzaA" not in str(refused.value)


def test_a_bad_object_that_is_admitted_shows_as_requests_without_a_route():
    """Some of all that callers sent."""
    evidence = BadConfig(ROUTE).evidence(scene())
    assert (evidence.flags, evidence.partial, evidence.selector_all) == (
        ("NR", "NC"),
        True,
        {"reporter": "source"},
    )


def test_what_is_no_object_cannot_be_pushed():
    """The message names what is missing."""
    with pytest.raises(HarnessError, match="has no metadata"):
        BadConfig({"kind": "VirtualService"})


SWITCH = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 0, "route", 0, "destination", "subset"), "v2"),),
)


def test_a_push_is_the_change_and_shows_in_the_targets_own_count():
    """Golden: of all requests of the target, those that carry the labels that were named."""
    push = Push(SWITCH, shows={"destination_version": "v2"}, percent=50)
    assert push.changes(scene()) == (SWITCH,)
    assert push.evidence(scene()) == Share({**COUNTED, "destination_version": "v2"}, COUNTED, 50.0)
    assert (str(push), push.harm(scene())) == ("push VirtualService payments", 100.0)


@pytest.mark.parametrize(("shows", "percent"), [({}, 100), ({"destination_version": "v2"}, 0)])
def test_a_push_that_nobody_could_see_is_refused(shows, percent):
    """It would be evidence that cannot fail."""
    with pytest.raises(HarnessError, match="push VirtualService payments could not be seen"):
        Push(SWITCH, shows=shows, percent=percent)


def test_a_target_of_one_version_is_counted_without_the_others():
    """A fault at v2 alone hits all requests of v2, and few of the app."""
    v2 = Target("payments-v2", "shop", {"app": "payments", "version": "v2"})
    push = Push(SWITCH, shows={"response_code": "200"})
    assert push.evidence(scene(target=v2)).selector_all == {**COUNTED, "destination_version": "v2"}


def test_a_disconnection_denies_the_callers_by_their_identity():
    """Golden: in any trust domain, at every pod of the target."""
    [change] = Disconnect(FRONTEND).changes(_with_frontend())
    assert change.ref == Ref(
        "security.istio.io/v1",
        "AuthorizationPolicy",
        "shop",
        "harness-20260102-abc-disconnect-frontend-payments",
    )
    assert change.manifest["spec"] == {
        "selector": {"matchLabels": {"app": "payments"}},
        "action": "DENY",
        "rules": [{"from": [{"source": {"principals": ["*/ns/shop/sa/frontend"]}}]}],
    }


def test_the_evidence_of_a_disconnection_is_what_the_callee_answers_these_callers():
    """All of it is 403."""
    evidence = Disconnect(FRONTEND).evidence(_with_frontend())
    callers = {"source_workload_namespace": "shop", "source_app": "frontend"}
    assert evidence.selector_all == COUNTED | callers
    assert evidence.selector_hit == COUNTED | callers | {"response_code": "403"}
    assert (evidence.percent, evidence.partial) == (100, False)


@pytest.mark.parametrize(
    ("different", "message"),
    [({"account": "default"}, "service account default"), ({"sidecar": False}, "no sidecar in frontend-1")],
)
def test_callers_that_cannot_be_told_from_others_are_refused(different, message):
    """Cutting off everybody was not asked for."""
    with pytest.raises(HarnessError, match=message):
        Disconnect(FRONTEND).changes(_with_frontend(**different))


def test_a_protected_namespace_is_never_implied_by_the_target():
    """Even where the target is in it, it has to be named."""
    istiod = scene(pod(1, "istiod", namespace="istio-system"), target=ISTIOD)
    here = scene(*istiod.pods, target=ISTIOD, others=(istiod,))
    with pytest.raises(HarnessError, match="is protected; name the namespace in the blast radius"):
        BlastRadius().check(ControlPlaneOutage(), here)
    BlastRadius(namespaces=("istio-system",)).check(ControlPlaneOutage(), here)
