"""Pods behind the official client: how they are read, evicted, and reached in plain text."""

import threading

import pytest
from answers import refusal

from harness.changes import Ref
from harness.cluster import Cluster, Plaintext
from harness.errors import HarnessError
from harness.scene import Pod

POD = Pod("payments-1", "shop", "u1", {"app": "payments"}, True, False, "127.1.0.1", (8080,), True)
PAYMENTS = Ref("v1", "Pod", "shop", "payments-1")


def _evictions(kube_api, *refusals):
    """Evictions meet these refusals one after the other, then they succeed."""
    left = [kube_api.reply(body["code"], body) for body in refusals]

    def answer(request):
        if not request.path.endswith("/eviction"):
            return None
        return left.pop(0) if left else kube_api.reply(201, {"kind": "Status", "status": "Success"})

    kube_api.before = answer


def test_an_eviction_that_a_budget_forbids_is_refused_at_once_in_its_own_words(cluster, kube_api):
    """Asking again would be pressing it."""
    why = "The disruption budget payments needs 2 healthy pods and has 2 currently"
    _evictions(kube_api, refusal(429, "TooManyRequests", "Cannot evict pod.", why))
    assert cluster.evict(PAYMENTS, uid="u1") == why
    [request] = kube_api.writes()
    assert request.path == "/api/v1/namespaces/shop/pods/payments-1/eviction"
    assert request.body["kind"] == "Eviction"
    assert request.body["deleteOptions"]["preconditions"] == {"uid": "u1"}


def test_an_eviction_is_asked_for_again_while_its_budget_is_being_processed(cluster, kube_api):
    """The budget may allow it in a moment."""
    processing = "The disruption budget payments is still being processed by the server."
    _evictions(kube_api, *[refusal(429, "TooManyRequests", "Cannot evict pod.", processing)] * 2)
    assert cluster.evict(PAYMENTS, uid="u1") == ""
    assert len(kube_api.writes()) == 3


def test_an_eviction_of_a_pod_that_is_not_there_is_an_error(cluster, kube_api):
    """It was not evicted by us."""
    _evictions(kube_api, refusal(404, "NotFound", 'pods "payments-1" not found'))
    with pytest.raises(HarnessError, match=r"evict Pod shop/payments-1: .*not found"):
        cluster.evict(PAYMENTS, uid="u1")


def _pod(name, ready="True", **metadata):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"u-{name}",
            "labels": {"app": "payments"},
            **metadata,
        },
        "spec": {
            "initContainers": [{"name": "istio-proxy", "ports": [{"containerPort": 15090}]}],
            "containers": [
                {"name": "app", "ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]}
            ],
        },
        "status": {"podIP": "127.1.0.1", "conditions": [{"type": "Ready", "status": ready}]},
    }


def test_pods_are_listed_by_label_and_sorted_by_name(cluster, kube_api):
    """Ports of the sidecar and of other protocols do not count as the pod's."""
    for name in ("payments-2", "payments-1"):
        kube_api.put(_pod(name))
    kube_api.put(_pod("other", labels={"app": "other"}))
    pods = cluster.pods("shop", {"app": "payments"})
    assert [pod.name for pod in pods] == ["payments-1", "payments-2"]
    assert pods[0] == Pod(
        name="payments-1",
        namespace="shop",
        uid="u-payments-1",
        labels={"app": "payments"},
        ready=True,
        terminating=False,
        ip="127.1.0.1",
        ports=(8080,),
        sidecar=True,
        program="app",
    )


def test_readiness_and_termination_of_a_pod_are_read(cluster, kube_api):
    """A pod that is asked to end may still be ready."""
    kube_api.put(_pod("a", ready="False"))
    kube_api.put(_pod("b", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert [(pod.ready, pod.terminating) for pod in cluster.pods("shop", {})] == [
        (False, False),
        (True, True),
    ]


_CANNOT = "error trying to reach service: "


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (200, "hello", Plaintext.ANSWERED),
        (404, "no such page", Plaintext.ANSWERED),
        (503, "upstream connect error", Plaintext.ANSWERED),
        (503, refusal(503, "ServiceUnavailable", _CANNOT + "EOF"), Plaintext.REFUSED),
        (
            503,
            refusal(503, "", _CANNOT + "read tcp 10.0.0.1:1->10.0.0.2:80: read: connection reset by peer"),
            Plaintext.REFUSED,
        ),
        (503, refusal(503, "", _CANNOT + "write tcp 10.0.0.1:1: write: broken pipe"), Plaintext.REFUSED),
        (
            503,
            refusal(503, "", _CANNOT + "dial tcp 10.0.0.2:80: connect: connection refused"),
            Plaintext.UNREACHABLE,
        ),
        (503, refusal(503, "", _CANNOT + "dial tcp 10.0.0.2:80: i/o timeout"), Plaintext.UNREACHABLE),
        (
            503,
            refusal(503, "", _CANNOT + "dial tcp 10.0.0.2:80: connect: connection reset by peer"),
            Plaintext.UNREACHABLE,
        ),
        (404, refusal(404, "NotFound", "pods payments-1 not found"), Plaintext.UNREACHABLE),
        (403, "RBAC: access denied", Plaintext.FORBIDDEN),
    ],
)
def test_the_outcome_of_a_plaintext_connection_is_told_from_the_answer(
    cluster, kube_api, code, body, expected
):
    """Only a connection that the pod accepted and closed counts as refused; it is tried once, whatever comes."""
    kube_api.before = lambda request: kube_api.reply(code, body)
    assert cluster.plaintext(POD, 8080) is expected
    assert [request.path for request in kube_api.requests] == [
        "/api/v1/namespaces/shop/pods/payments-1:8080/proxy/"
    ]


def test_a_plaintext_connection_without_an_answer_in_time_is_unreachable(write_kubeconfig, kube_api):
    """Silence is no refusal."""
    stopped = threading.Event()
    with Cluster.connect(write_kubeconfig(kube_api.url), timeout=0.2) as cluster:
        kube_api.before = lambda request: stopped.wait(10) and None
        assert cluster.plaintext(POD, 8080) is Plaintext.UNREACHABLE
        stopped.set()


def test_a_missing_permission_for_plaintext_connections_is_an_error(cluster, kube_api, reply):
    """Otherwise a missing role would look like enforced mTLS, or like a broken pod."""
    kube_api.before = lambda request: reply(403, refusal(403, "Forbidden", "no get on pods/proxy"))
    with pytest.raises(HarnessError, match="may not connect to Pod shop/payments-1"):
        cluster.plaintext(POD, 8080)
