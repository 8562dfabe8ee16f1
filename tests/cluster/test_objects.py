"""Objects behind the official client: what it sends, what it tries again, and what it makes of refusals."""

import pytest
from answers import TOKEN, refusal

from harness.changes import Ref
from harness.errors import HarnessError
from harness.wire import RefusedError

CATALOG = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
CATALOG_PATH = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/catalog"


def _virtual_service(**spec):
    metadata = {"name": "catalog", "namespace": "shop"}
    return {"apiVersion": CATALOG.api_version, "kind": CATALOG.kind, "metadata": metadata, "spec": spec}


class _Answers:
    """Answers the first requests to other paths than discovery with these bodies, later ones not at all."""

    def __init__(self, reply, *bodies):
        self._reply = reply
        self._bodies = list(bodies)

    def __call__(self, request):
        if not self._bodies or "/namespaces/" not in request.path:
            return None
        body = self._bodies.pop(0)
        return self._reply(body["code"] if isinstance(body, dict) else body, body)


def test_objects_are_created_read_listed_and_deleted(cluster, kube_api):
    """The whole way of an object, by its kind alone."""
    assert cluster.get(CATALOG) is None
    created = cluster.create(_virtual_service(hosts=["catalog"]))
    assert created["metadata"]["resourceVersion"]
    assert cluster.get(CATALOG) == created
    assert cluster.list(CATALOG.api_version, "VirtualService", "shop") == (created,)
    assert cluster.list(CATALOG.api_version, "VirtualService", "other") == ()
    assert cluster.delete(CATALOG) is True
    assert cluster.delete(CATALOG) is False
    assert all(request.headers["Authorization"] == f"Bearer {TOKEN}" for request in kube_api.requests)


def test_an_unknown_kind_is_named(cluster):
    """A cluster without Istio says so before anything is written."""
    with pytest.raises(HarnessError, match=r"knows no kind Gateway in networking\.istio\.io/v9"):
        cluster.get(Ref("networking.istio.io/v9", "Gateway", "shop", "x"))


def test_discovery_is_asked_once_for_each_api_version(cluster, kube_api):
    """Further objects of a version cost one request each."""
    cluster.get(CATALOG)
    cluster.get(CATALOG)
    assert [request.path for request in kube_api.requests].count("/apis/networking.istio.io/v1") == 1


def test_deleting_hands_on_the_grace_period_and_the_uid(cluster, kube_api):
    """Without grace means now, and only the pod that was meant."""
    kube_api.put(_virtual_service() | {"metadata": {"name": "catalog", "namespace": "shop", "uid": "mine"}})
    assert cluster.delete(CATALOG, 0, uid="another") is False
    assert CATALOG_PATH in kube_api.objects
    assert cluster.delete(CATALOG, 0, uid="mine") is True
    assert kube_api.requests[-1].body["gracePeriodSeconds"] == 0


def test_what_the_server_does_not_admit_is_an_error_of_its_own_kind(cluster, kube_api):
    """Whoever pushes something broken on purpose tells it from an API that is out of order."""
    kube_api.before = lambda request: (
        kube_api.reply(
            400, refusal(400, "BadRequest", 'admission webhook "validation.istio.io" denied the request')
        )
        if request.method == "POST"
        else None
    )
    with pytest.raises(RefusedError, match="denied the request"):
        cluster.create(_virtual_service())


def test_a_patch_that_meets_a_conflict_is_made_again_on_the_newest_object(cluster, kube_api):
    """A write by somebody else between our read and our write is not lost."""
    kube_api.put(_virtual_service(hosts=["catalog"]))

    def edit(current):
        if "theirs" not in current["spec"]:
            kube_api.put(current | {"spec": current["spec"] | {"theirs": 1}})
        return current | {"spec": current["spec"] | {"ours": 2}}

    assert cluster.patch(CATALOG, edit)["spec"] == {"hosts": ["catalog"], "theirs": 1, "ours": 2}


def test_a_patch_that_changes_nothing_writes_nothing(cluster, kube_api):
    """A revert that finds everything restored leaves no trace in the object's history."""
    kube_api.put(_virtual_service())
    cluster.patch(CATALOG, dict)
    assert kube_api.writes() == []


def test_a_patch_of_what_is_not_there_names_the_object(cluster):
    """The reference is in the message."""
    with pytest.raises(HarnessError, match="no VirtualService shop/catalog"):
        cluster.patch(CATALOG, lambda current: current)


@pytest.mark.parametrize(
    "refusal",
    [
        refusal(429, "TooManyRequests"),
        refusal(503, "ServiceUnavailable"),
        refusal(500, "InternalError"),
        refusal(500, "ServerTimeout"),
    ],
    ids=lambda refusal: f"{refusal['code']} {refusal['reason']}",
)
def test_a_transient_refusal_is_tried_again(cluster, kube_api, reply, refusal):
    """Kubernetes answers so when a request was not served and may be sent again."""
    kube_api.put(_virtual_service())
    kube_api.before = _Answers(reply, refusal, refusal)
    assert cluster.get(CATALOG) is not None
    assert len(kube_api.requests) == 4


@pytest.mark.parametrize(
    "refusal", [refusal(422, "Invalid", "spec.http is wrong"), refusal(500, "Unknown", "no")]
)
def test_a_refusal_that_will_stay_is_not_tried_again(cluster, kube_api, reply, refusal):
    """The server's own words are handed on."""
    kube_api.before = _Answers(reply, refusal)
    with pytest.raises(
        HarnessError, match=rf"refused to create VirtualService shop/catalog: {refusal['message']}"
    ):
        cluster.create(_virtual_service())
    assert len(kube_api.writes()) == 1


def test_a_permission_that_is_missing_is_named(cluster, kube_api, reply):
    """403 says what may not be done, and by whom."""
    kube_api.before = _Answers(reply, refusal(403, "Forbidden", "cannot create"))
    with pytest.raises(
        HarnessError, match=r"may not create VirtualService shop/catalog: cannot create .* role"
    ):
        cluster.create(_virtual_service())


def test_an_object_whose_creation_was_not_confirmed_is_recognised_by_its_owner(cluster, kube_api, reply):
    """The answer to the first try is lost; the second finds the object there, with our own mark."""
    manifest = _virtual_service()
    manifest["metadata"]["annotations"] = {"harness.mesh/owner": "run/1"}
    kube_api.after = _lose_first_write(reply)
    assert cluster.create(manifest)["metadata"]["name"] == "catalog"
    assert [request.method for request in kube_api.writes()] == ["POST", "POST"]


def test_an_object_of_somebody_else_is_never_taken_for_ours(cluster, kube_api):
    """AlreadyExists at the first try is an error, whatever the object holds."""
    kube_api.put(_virtual_service())
    with pytest.raises(HarnessError, match="already exists"):
        cluster.create(_virtual_service())


def test_a_deletion_that_was_not_confirmed_counts_as_done(cluster, kube_api, reply):
    """The answer to the first try is lost; the second finds nothing, which is what was asked for."""
    kube_api.put(_virtual_service())
    kube_api.after = _lose_first_write(reply)
    assert cluster.delete(CATALOG) is True


def _lose_first_write(reply):
    lost = []

    def lose(request):
        if request.method == "GET" or lost:
            return None
        lost.append(request)
        return reply(0)

    return lose
