"""Faults at the caller: on a route of our own, on somebody's that can bear it, or refused with the reason."""

import pytest
from scenes import scene

from harness.changes import Create, Edit, Patch, Ref
from harness.errors import HarnessError
from harness.faults import Abort, Delay

HOST = "payments.shop.svc.cluster.local"
THERE = {"route": [{"destination": {"host": HOST}}]}
ABORT = Abort(503, 30, at="caller")
FAULT = {"abort": {"httpStatus": 503, "percentage": {"value": 30}}}


def _route(*http, hosts=("payments",), namespace="shop", **spec):
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {"hosts": list(hosts), "http": list(http), **spec},
    }


def _known(*routes, services=("payments",)):
    return scene(services=services, routes=routes)


def test_where_nobody_has_a_route_one_of_our_own_carries_the_fault():
    """Golden."""
    [change] = ABORT.changes(_known())
    assert isinstance(change, Create)
    assert change.ref.name == "harness-20260102-abc-abort-503-payments"
    assert change.manifest["spec"] == {"hosts": [HOST], "http": [{"fault": FAULT, **THERE}]}


def test_a_route_of_our_own_may_be_for_some_requests():
    """The others go as ever."""
    aimed = Delay(0.25, headers={"X-User": "alice"}, path="/pay", at="caller")
    [change] = aimed.changes(_known())
    match = {"headers": {"x-user": {"exact": "alice"}}, "uri": {"prefix": "/pay"}}
    delay = {"delay": {"fixedDelay": "0.25s", "percentage": {"value": 100}}}
    assert change.manifest["spec"]["http"] == [{"match": [match], "fault": delay, **THERE}, THERE]


@pytest.mark.parametrize("host", ["payments", "payments.shop", HOST, "*.shop.svc.cluster.local"])
def test_the_route_that_is_there_is_patched_everywhere(host):
    """Whatever it calls the Service."""
    ref = Ref("networking.istio.io/v1", "VirtualService", "shop", "theirs")
    edits = tuple(Edit(("spec", "http", index, "fault"), FAULT) for index in range(2))
    assert ABORT.changes(_known(_route(THERE, THERE, hosts=[host]))) == (Patch(ref, edits),)


@pytest.mark.parametrize(
    "other",
    [
        _route(THERE, hosts=["orders"]),
        _route(THERE, namespace="test"),
        _route(THERE, gateways=["shop-gateway"]),
        _route(THERE, hosts=["*.test.svc.cluster.local"]),
    ],
    ids=["another host", "another namespace", "a gateway's", "a wildcard elsewhere"],
)
def test_routes_to_elsewhere_do_not_matter(other):
    """A short name is one of the VirtualService's own namespace."""
    assert isinstance(ABORT.changes(_known(other))[0], Create)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (_route(THERE | {"retries": {"attempts": 3}}), r"http\[0\] carries retries, which would never see"),
        (_route(THERE, THERE | {"timeout": "2s"}), r"http\[1\] carries timeout, which would never see"),
        (_route(THERE | {"fault": {}}), "has a fault already"),
        (_route(), "has no HTTP route"),
    ],
)
def test_a_route_that_cannot_bear_it_is_refused_with_the_reason(route, message):
    """The policy under test would not be tested."""
    with pytest.raises(HarnessError, match=message):
        ABORT.changes(_known(route))


def test_what_cannot_be_told_is_refused():
    """Two routes, no Service, or some requests on somebody else's route."""
    with pytest.raises(HarnessError, match="cannot choose among the routes"):
        ABORT.changes(_known(_route(THERE), _route(THERE)))
    with pytest.raises(HarnessError, match="Services that select its pods are: none"):
        ABORT.changes(_known(services=()))
    with pytest.raises(HarnessError, match="which is not ours"):
        Abort(503, path="/pay", at="caller").changes(_known(_route(THERE)))


@pytest.mark.parametrize(
    "make", [lambda: Abort(grpc_status=14, at="caller"), lambda: Delay(1, jitter=0.1, at="caller")]
)
def test_what_a_route_cannot_do_is_refused(make):
    """With the other place."""
    with pytest.raises(HarnessError, match="choose the callee"):
        make()


def test_the_evidence_is_the_callers_own_count():
    """What is answered there never reaches the callee."""
    evidence = ABORT.evidence(_known())
    assert evidence.selector_all == {"reporter": "source", "destination_service": HOST}
    assert evidence.selector_hit == evidence.selector_all | {"response_flags": "FI", "response_code": "503"}
    assert ABORT.needs.routes
    assert not Abort(503).needs.routes
    assert str(ABORT) == "abort 503 30% at the caller"


def test_a_fault_that_rises_moves_on_where_it_is():
    """Our own route is changed in place, somebody else's once more."""
    rising = Abort(503, 30, at="caller", ramp=9)
    [own] = rising.changes(_known())
    [moved] = rising.further(_known(), (), 9)
    assert moved == Patch(own.ref, (Edit(("spec",), ABORT.changes(_known())[0].manifest["spec"]),))
    theirs = _known(_route(THERE))
    [half] = rising.further(theirs, (), 4)
    assert half.edits[0].value["abort"]["percentage"]["value"] == 15
    assert rising.further(theirs, (), 9) == ABORT.changes(theirs)
