"""How the cluster is found and reached, and what people get to read where it is not."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from answers import TOKEN
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.cluster import Cluster
from harness.errors import HarnessError


def _sentence(message):
    assert TOKEN not in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


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
