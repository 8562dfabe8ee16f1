"""Wherever a run breaks off and whatever others edit, heal gives back the state before."""

from contextlib import ExitStack, suppress
from copy import deepcopy
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stock import (
    CATALOG,
    CATALOG_PATH,
    CHANGES,
    EVERY,
    FILTER,
    Outage,
    apply_to,
    deployed,
    fill,
    manifest_of,
    state,
)

from harness.changes import ABSENT, Create, Edit, Patch, Ref
from harness.errors import HarnessError
from harness.faults import (
    Abort,
    BadConfig,
    BlastRadius,
    CertificateExpiry,
    Delay,
    RollingRestart,
    RootRotation,
    Scale,
    Target,
)
from harness.injection import Healing, apply_changes, heal, inject, resolve
from harness.ledger import Ledger

EVERYWHERE = BlastRadius(max_pods=9, namespaces=("shop", "istio-system"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(0, 13),
    effect=st.booleans(),
    changes=st.permutations(EVERY),
    count=st.integers(1, len(EVERY)),
    theirs=st.booleans(),
)
@example(number=1, effect=True, changes=EVERY, count=5, theirs=True)
@example(number=0, effect=True, changes=EVERY[::-1], count=1, theirs=False)
@example(number=1, effect=True, changes=EVERY[::-1], count=1, theirs=False)
@example(number=1, effect=False, changes=EVERY[::-1], count=1, theirs=False)
@example(number=2, effect=True, changes=EVERY[::-1], count=1, theirs=False)
def test_wherever_a_run_breaks_off_heal_gives_back_the_state_before(
    cluster, shop, ledger, *, number, effect, changes, count, theirs
):
    """Before, between or after any two writes, of the injection or of the revert; edits of others survive it."""
    fill(shop)
    before = state(shop)
    Outage(shop, number, effect=effect)
    try:
        with apply_to(cluster, ledger, *changes[:count]):
            pass
    except HarnessError:
        pass
    shop.before = shop.after = lambda request: None
    if theirs:
        catalog = deepcopy(shop.objects[CATALOG_PATH])
        catalog["spec"]["gateways"] = before[CATALOG_PATH]["spec"]["gateways"] = ["theirs"]
        shop.put(catalog)
    assert heal(cluster, ledger).failed == ()
    assert state(shop) == before
    assert heal(cluster, ledger) == Healing()


_NAMES = st.sampled_from(("a", "b", "c"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("xyz", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spec=st.dictionaries(_NAMES, _VALUES, max_size=3),
    labels=st.dictionaries(_NAMES, st.text("xyz", max_size=3), max_size=2),
    edits=st.lists(
        st.builds(
            Edit,
            st.tuples(st.just("spec"), _NAMES, _NAMES) | st.tuples(st.just("spec"), _NAMES),
            _VALUES | st.just(ABSENT),
        ),
        min_size=1,
        max_size=3,
    ),
    number=st.integers(0, 10),
    effect=st.booleans(),
    theirs=st.one_of(st.none(), _VALUES),
)
def test_another_machine_gives_back_the_state_before_from_the_objects_alone(
    cluster, shop, tmp_path, *, spec, labels, edits, number, effect, theirs
):
    """Any object, any patch, any moment of the crash, and an edit by somebody else: only the kubeconfig is known."""
    fill(shop)
    manifest = manifest_of(CATALOG, **spec)
    if labels:
        manifest["metadata"]["labels"] = labels
    shop.put(manifest)
    before = state(shop)
    Outage(shop, number, effect=effect)
    try:
        patch = Patch(CATALOG, tuple(edits))
        ours = Ledger(tmp_path / uuid4().hex)
        with apply_changes(cluster, (patch, *CHANGES[1:3], EVERY[-1]), run="run", ledger=ours, expires_in=-1):
            pass
    except HarnessError:
        pass
    shop.before = shop.after = lambda request: None
    if theirs is not None:
        catalog = deepcopy(shop.objects[CATALOG_PATH])
        catalog["spec"]["theirs"] = before[CATALOG_PATH]["spec"]["theirs"] = theirs
        shop.put(catalog)
    assert heal(cluster, Ledger(tmp_path / uuid4().hex)).failed == ()
    assert state(shop) == before
    assert heal(cluster, Ledger(tmp_path / uuid4().hex)) == Healing()


class _Visitor:
    """Somebody who edits the route and the Deployment just before the request with this number is served."""

    def __init__(self, api, number):
        self._api, self._left, self._serve = api, number, api.before
        api.before = self.before

    def before(self, request):
        self._left -= 1
        if self._left == -1:
            self.edit()
        return self._serve(request)

    def edit(self):
        self._left = -2
        for path, manifest in list(self._api.objects.items()):
            if path == CATALOG_PATH or manifest["kind"] == "Deployment":
                edited = deepcopy(manifest)
                edited["metadata"].setdefault("annotations", {})["visitor"] = "was here"
                self._api.put(edited)


def _with_workloads(api):
    """The state with payments, istiod, and the root that istiod tells."""
    deployed(api)
    deployed(api, 1, "istiod", "istio-system")
    metadata = {"name": "istio-ca-root-cert", "namespace": "shop"}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"root-cert.pem": "old"}})
    return state(api)


def _with_agents(api):
    """Lets sidecars' agents tell that their certificates are good for some seconds."""
    serve = api.before

    def before(request):
        if ":15020/proxy/" in request.path:
            return api.reply(200, 'istio_agent_cert_expiry_seconds{resource_name="default"} 5\n')
        return serve(request)

    api.before = before


_FAULTS = (
    Abort(503, percent=30),
    Abort(500, percent=10, path="/items"),
    Delay(0.2, percent=40),
    Scale(0),
    Scale(1),
    RollingRestart(),
    BadConfig(Patch(CATALOG, (Edit(("spec", "http"), []), Edit(("metadata", "labels"), {"broken": "yes"})))),
    BadConfig(manifest_of(Ref(CATALOG.api_version, CATALOG.kind, "shop", "another"), hosts=["x"], http=[])),
    CertificateExpiry(),
    RootRotation(),
)


@pytest.mark.parametrize("fault", _FAULTS, ids=str)
def test_each_of_these_faults_comes_into_force_and_goes_when_nothing_happens(cluster, shop, ledger, fault):
    """So that what follows is about faults, and not about refusals."""
    before = _with_workloads(shop)
    _with_agents(shop)
    scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=fault)
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=EVERYWHERE) as injection:
        assert len(injection.changes) == len(fault.changes(scene)) > 0
        assert state(shop) != before
    assert state(shop) == before


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(_FAULTS), min_size=1, max_size=3, unique_by=str),
    number=st.integers(0, 12),
    effect=st.booleans(),
    visit=st.integers(0, 30),
    here=st.booleans(),
)
@example(faults=[RootRotation()], number=3, effect=True, visit=18, here=False)
@example(faults=[RootRotation()], number=2, effect=True, visit=99, here=True)
def test_whatever_the_faults_heal_gives_back_the_state_before_and_what_somebody_edited(
    cluster, shop, tmp_path, *, faults, number, effect, visit, here
):
    """Broken off at any write, edited at any request, healed on this machine or on another one."""
    fill(shop)
    before = _with_workloads(shop)
    Outage(shop, number, effect=effect)
    _with_agents(shop)
    visitor = _Visitor(shop, visit)
    ledger = Ledger(tmp_path / uuid4().hex)
    with suppress(HarnessError), ExitStack() as stack:
        for fault in faults:
            scene = resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=fault)
            stack.enter_context(
                inject(cluster, fault, scene, ledger=ledger, blast_radius=EVERYWHERE, expires_in=-1)
            )
    shop.before = shop.after = lambda request: None
    if visitor._left != -2:
        visitor.edit()
    assert heal(cluster, ledger if here else Ledger(tmp_path / uuid4().hex)).failed == ()
    for manifest in before.values():
        if manifest["kind"] in ("Deployment", "VirtualService"):
            manifest["metadata"].setdefault("annotations", {})["visitor"] = "was here"
    assert state(shop) == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 14), effect=st.booleans(), theirs=st.booleans())
def test_wherever_a_fault_that_goes_on_breaks_off_heal_gives_back_the_state_before(
    cluster, shop, ledger, *, number, effect, theirs
):
    """One field of somebody's object that is changed again and again, and an object of our own that is."""
    fill(shop)
    before = state(shop)
    Outage(shop, number, effect=effect)
    own = Create(manifest_of(FILTER, configPatches=[]))
    try:
        with apply_to(
            cluster, ledger, own, Patch(CATALOG, (Edit(("spec", "gateways"), ["0"]),))
        ) as injection:
            for step in ("1", "2"):
                moved = Patch(FILTER, (Edit(("spec",), {"configPatches": [step]}),))
                injection.go_on((moved, Patch(CATALOG, (Edit(("spec", "gateways"), [step]),))))
    except HarnessError:
        pass
    shop.before = shop.after = lambda request: None
    if theirs:
        catalog = deepcopy(shop.objects[CATALOG_PATH])
        catalog["spec"]["exportTo"] = before[CATALOG_PATH]["spec"]["exportTo"] = ["theirs"]
        shop.put(catalog)
    assert heal(cluster, ledger).failed == ()
    assert state(shop) == before
    assert heal(cluster, ledger) == Healing()
