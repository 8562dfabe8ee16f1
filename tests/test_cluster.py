"""The cluster behind the official client: what it sends, what it makes of answers, and what people get to read."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from scenes import refusal

from harness.changes import Ref
from harness.cluster import Cluster, Plaintext
from harness.errors import HarnessError
from harness.scene import Pod
from harness.wire import RefusedError

TOKEN = "a-secret-token"
CATALOG = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
CATALOG_PATH = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/catalog"
POD = Pod("payments-1", "shop", "u1", {"app": "payments"}, True, False, "127.1.0.1", (8080,), True)


def _virtual_service(**spec):
    metadata = {"name": "catalog", "namespace": "shop"}
    return {"apiVersion": CATALOG.api_version, "kind": CATALOG.kind, "metadata": metadata, "spec": spec}


def _status(code, reason, message=""):
    return {"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message, "code": code}


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


@pytest.fixture
def reply(kube_api):
    """Makes an answer for the fake API."""
    return kube_api.reply


def _sentence(message):
    assert TOKEN not in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


# connect


def test_the_identity_of_a_cluster_is_the_uid_of_kube_system(cluster, kube_api):
    """Every cluster has that namespace, and its UID lasts as long as the cluster."""
    assert (cluster.identity, cluster.host) == ("mesh-1", kube_api.url)


def test_a_missing_kubeconfig_is_named(tmp_path):
    """The message says which file was looked for and how to name another."""
    with pytest.raises(HarnessError, match=r"no kubeconfig .*/nowhere.*--kubeconfig") as caught:
        Cluster.connect(tmp_path / "nowhere")
    _sentence(str(caught.value))


def test_kubeconfig_of_the_environment_is_the_default(tmp_path, monkeypatch):
    """Without an argument the file is the one kubectl would use."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "of-environment"))
    with pytest.raises(HarnessError, match="of-environment"):
        Cluster.connect()


def test_an_unknown_context_is_named_with_those_that_exist(write_kubeconfig, kube_api):
    """The message lists the contexts to choose from."""
    with pytest.raises(HarnessError, match=r"no context 'prod'; choose one of: lab\.") as caught:
        Cluster.connect(write_kubeconfig(kube_api.url), "prod")
    _sentence(str(caught.value))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "contexts: 3",
        "a: \t\n- b",
        "contexts: [{name: lab, context: {cluster: gone, user: me}}]\ncurrent-context: lab\n"
        f"users: [{{name: me, user: {{token: {TOKEN}}}}}]",
        "contexts: [{name: lab, context: {cluster: lab, user: me}}]\ncurrent-context: lab\n"
        f"users: [{{name: me, user: {{token: {TOKEN}}}}}]\nclusters: [{{name: lab, cluster: {{}}}}]",
    ],
)
def test_a_broken_kubeconfig_is_refused_in_a_sentence_without_its_content(tmp_path, content):
    """Whatever is wrong in the file, no traceback and no token gets out."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(HarnessError, match="kubeconfig") as caught:
        Cluster.connect(path)
    _sentence(str(caught.value))


def test_a_server_that_does_not_listen_is_named_soon(write_kubeconfig):
    """A wrong address is reported within seconds, with the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(HarnessError, match=rf"{url} cannot be reached \(Connection refused\)") as caught:
            Cluster.connect(write_kubeconfig(url))
    assert time.monotonic() - start < 3
    _sentence(str(caught.value))


def test_the_reason_is_that_of_the_connection_whatever_the_caller_is_handling(write_kubeconfig):
    """An error that somebody above handles at the moment has nothing to do with it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        path = write_kubeconfig(f"http://127.0.0.1:{taken.getsockname()[1]}")
        try:
            next(iter(()))
        except StopIteration:
            with pytest.raises(HarnessError, match="Connection refused"):
                Cluster.connect(path)


def test_a_server_that_hangs_is_given_up_after_the_timeout(write_kubeconfig):
    """A connection that is accepted and never answered does not hold the harness."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(HarnessError, match=r"did not answer within 0\.2 s"):
            Cluster.connect(write_kubeconfig(url), timeout=0.2)


def test_credentials_that_are_not_accepted_are_named_but_not_shown(write_kubeconfig, kube_api):
    """401 names the file and the context, never the token."""
    with pytest.raises(
        HarnessError, match=r"does not accept the credentials of .*kubeconfig; renew"
    ) as caught:
        Cluster.connect(write_kubeconfig(kube_api.url, "expired-token"))
    assert "expired-token" not in str(caught.value)


@pytest.fixture
def strange_certificate(tmp_path):
    """A server's certificate that no authority has signed, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "strange")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


def test_a_certificate_that_is_not_trusted_is_an_error_at_once(write_kubeconfig, strange_certificate):
    """Trying again would not help, and the token is not sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(strange_certificate)
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def accept():
            connection, _ = plain.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        server = threading.Thread(target=accept)
        server.start()
        with pytest.raises(HarnessError, match=r"certificate of the cluster .* is not trusted"):
            Cluster.connect(write_kubeconfig(f"https://127.0.0.1:{plain.getsockname()[1]}"))
        server.join(10)


def test_a_server_on_this_machine_is_never_asked_through_a_proxy(write_kubeconfig, kube_api, monkeypatch):
    """A proxy of the environment would not reach it; kubectl does the same."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")
    with Cluster.connect(write_kubeconfig(kube_api.url)) as cluster:
        assert cluster.identity == "mesh-1"


def test_what_is_no_kubernetes_api_is_called_that(write_kubeconfig, kube_api, reply):
    """A web server at the address is told from an API server that refuses."""
    kube_api.before = lambda request: reply(404, "<html>not here</html>")
    with pytest.raises(HarnessError, match=r"is no Kubernetes API \(HTTP 404\)"):
        Cluster.connect(write_kubeconfig(kube_api.url))


# objects


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
        _status(429, "TooManyRequests"),
        _status(503, "ServiceUnavailable"),
        _status(500, "InternalError"),
        _status(500, "ServerTimeout"),
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
    "refusal", [_status(422, "Invalid", "spec.http is wrong"), _status(500, "Unknown", "no")]
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
    kube_api.before = _Answers(reply, _status(403, "Forbidden", "cannot create"))
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


# pods


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


# plaintext

_CANNOT = "error trying to reach service: "


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (200, "hello", Plaintext.ANSWERED),
        (404, "no such page", Plaintext.ANSWERED),
        (503, "upstream connect error", Plaintext.ANSWERED),
        (403, "RBAC: access denied", Plaintext.ANSWERED),
        (503, _status(503, "ServiceUnavailable", _CANNOT + "EOF"), Plaintext.REFUSED),
        (
            503,
            _status(503, "", _CANNOT + "read tcp 10.0.0.1:1->10.0.0.2:80: read: connection reset by peer"),
            Plaintext.REFUSED,
        ),
        (503, _status(503, "", _CANNOT + "write tcp 10.0.0.1:1: write: broken pipe"), Plaintext.REFUSED),
        (
            503,
            _status(503, "", _CANNOT + "dial tcp 10.0.0.2:80: connect: connection refused"),
            Plaintext.UNREACHABLE,
        ),
        (503, _status(503, "", _CANNOT + "dial tcp 10.0.0.2:80: i/o timeout"), Plaintext.UNREACHABLE),
        (
            503,
            _status(503, "", _CANNOT + "dial tcp 10.0.0.2:80: connect: connection reset by peer"),
            Plaintext.UNREACHABLE,
        ),
        (404, _status(404, "NotFound", "pods payments-1 not found"), Plaintext.UNREACHABLE),
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
    kube_api.before = lambda request: reply(403, _status(403, "Forbidden", "no get on pods/proxy"))
    with pytest.raises(HarnessError, match="may not connect to Pod shop/payments-1"):
        cluster.plaintext(POD, 8080)
