"""Ingress gateways: hosts and paths, TLS with certificates of Secrets, clients' certificates, and redirects.

The statements are those of istio.io/latest/docs/tasks/traffic-management/ingress: ingress-control and secure-ingress.
"""

import base64
import ssl

import httpx
import pytest
from certs import Issuer
from live import service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
NAMESPACE = "ingress"
ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin.example.com]
  gateways: [httpbin]
  http:
  - match: [{uri: {prefix: /status}}, {uri: {prefix: /delay}}]
    route: [{destination: {host: httpbin, port: {number: 8000}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example.com]
  gateways: [httpbin]
  http: [{route: [{destination: {host: web, port: {number: 8000}}}]}]
"""


def gateway(*servers):
    """A Gateway at the ingress gateway."""
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: httpbin}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{", ".join(servers)}]}}
"""


def server(number, protocol, host, tls=""):
    """One server of a Gateway."""
    name = f"{protocol.lower()}-{number}-{host.partition('.')[0]}"
    more = tls and f", tls: {tls}"
    return f"{{port: {{number: {number}, name: {name}, protocol: {protocol}}}, hosts: [{host}]{more}}}"


def secret(name, **data):
    """A Secret; the names of its data are written with _ for a dot."""
    encoded = ", ".join(
        f'{key.replace("_", ".")}: "{base64.b64encode(value.encode()).decode()}"'
        for key, value in data.items()
    )
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ndata: {{{encoded}}}"


@pytest.fixture(scope="module")
def place(mesh, samples):
    """A namespace with httpbin and web, and their routes."""
    httpbin = (samples / "httpbin.yaml").read_text()
    with mesh.namespace(NAMESPACE, httpbin, service("web"), ROUTES):
        yield NAMESPACE


@pytest.fixture(scope="module")
def ip(mesh):
    """The address of the ingress gateway."""
    return mesh.kubectl(
        "-n", "istio-system", "get", "svc", "istio-ingressgateway", "-o", "jsonpath={.spec.clusterIP}"
    )


@pytest.fixture(scope="module")
def issuer():
    """Who issues the certificates of these tests."""
    return Issuer("example.com")


@pytest.fixture
def ask(ip, issuer, tmp_path):
    """The answer to GET at the ingress gateway for a host, over TLS with port 8443; None if there is none."""
    root = tmp_path / "root.pem"
    root.write_text(issuer.root)

    def get(host, path="/", port=8080, client=None):
        secure = port == 8443
        context = ssl.create_default_context(cafile=str(root))
        if client is not None:
            (tmp_path / "client.pem").write_text(client.chain + client.key)
            context.load_cert_chain(str(tmp_path / "client.pem"))
        with httpx.Client(verify=context, trust_env=False, timeout=5.0) as http:
            try:
                return http.get(
                    f"{'https' if secure else 'http'}://{ip}:{port}{path}",
                    headers={"host": host},
                    extensions={"sni_hostname": host},
                )
            except httpx.TransportError:
                return None

    return get


def status(answer):
    """Its status, 0 for no answer."""
    return answer.status_code if answer else 0


class TestIngressControl:
    """https://istio.io/latest/docs/tasks/traffic-management/ingress/ingress-control."""

    def test_what_is_exposed_is_reached_and_nothing_else(self, mesh, place, ask):
        """The paths of the route at its host: 200; another path 404; another host 404."""
        with mesh.applied(gateway(server(8080, "HTTP", "'*.example.com'")), place):
            host = "httpbin.example.com"
            eventually(lambda: status(ask(host, "/status/200")) == 200)
            assert status(ask(host, "/status/418")) == 418
            assert status(ask(host, "/headers")) == 404
            assert status(ask("other.example.com", "/status/200")) == 404
            assert ask("web.example.com", "/anything").json()["service"] == "web"
            assert ask(host, "/status/200").headers["server"] == "istio-envoy"

    def test_one_host_is_served_at_all_hosts_with_a_wildcard(self, mesh, place, ask):
        """The task's last step: hosts "*" in Gateway and VirtualService let requests through without the name."""
        anyhow = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: anyhow}
spec:
  hosts: ["*"]
  gateways: [httpbin]
  http: [{match: [{uri: {prefix: /headers}}], route: [{destination: {host: httpbin, port: {number: 8000}}}]}]
"""
        # Bookinfo's gateway is for all hosts, too: the routes of both are served.
        with mesh.applied(gateway(server(8080, "HTTP", "'*'")), place), mesh.applied(anyhow, place):
            eventually(lambda: status(ask("no.matter", "/headers")) == 200)
            assert status(ask("no.matter", "/status/200")) == 404
            assert status(ask("no.matter", "/productpage")) == 200


class TestSecureIngress:
    """https://istio.io/latest/docs/tasks/traffic-management/ingress/secure-ingress."""

    @pytest.fixture
    def secrets(self, mesh, issuer):
        """Certificates of both hosts beside the gateway, as the task puts them."""
        certificates = {name: issuer.issue(f"{name}.example.com") for name in ("httpbin", "web")}
        texts = [
            secret(f"{name}-tls", tls_crt=item.chain, tls_key=item.key) for name, item in certificates.items()
        ]
        httpbin = certificates["httpbin"]
        texts.append(secret("httpbin-mutual", tls_crt=httpbin.chain, tls_key=httpbin.key, ca_crt=issuer.root))
        with mesh.applied("\n---\n".join(texts), "istio-system"):
            yield

    @pytest.mark.usefixtures("secrets")
    def test_each_host_has_its_own_certificate(self, mesh, place, ask):
        """Two hosts at one port, told apart by the server name; a name that no server has gets no connection."""
        servers = [
            server(443, "HTTPS", f"{name}.example.com", f"{{mode: SIMPLE, credentialName: {name}-tls}}")
            for name in ("httpbin", "web")
        ]
        with mesh.applied(gateway(*servers), place):
            eventually(lambda: status(ask("httpbin.example.com", "/status/418", port=8443)) == 418)
            eventually(lambda: status(ask("web.example.com", port=8443)) == 200)
            assert ask("other.example.com", port=8443) is None

    @pytest.mark.usefixtures("secrets")
    def test_a_certificate_is_exchanged_by_its_secret(self, mesh, place, ask, issuer):
        """With another issuer's certificate in the Secret clients do not trust it any more, and then they do again."""
        simple = server(443, "HTTPS", "httpbin.example.com", "{mode: SIMPLE, credentialName: httpbin-tls}")

        def put(certificate):
            mesh.apply(
                secret("httpbin-tls", tls_crt=certificate.chain, tls_key=certificate.key), "istio-system"
            )

        with mesh.applied(gateway(simple), place):
            eventually(lambda: status(ask("httpbin.example.com", "/status/200", port=8443)) == 200)
            put(Issuer("elsewhere").issue("httpbin.example.com"))
            eventually(lambda: ask("httpbin.example.com", "/status/200", port=8443) is None)
            put(issuer.issue("httpbin.example.com"))
            eventually(lambda: status(ask("httpbin.example.com", "/status/200", port=8443)) == 200)

    @pytest.mark.usefixtures("secrets")
    def test_with_mutual_tls_clients_prove_who_they_are(self, mesh, place, ask, issuer):
        """Without a certificate, or with one of somebody else, there is no answer; with one of the issuer there is."""
        mutual = server(443, "HTTPS", "httpbin.example.com", "{mode: MUTUAL, credentialName: httpbin-mutual}")
        with mesh.applied(gateway(mutual), place):
            client = issuer.issue("client.example.com")
            eventually(
                lambda: status(ask("httpbin.example.com", "/status/418", port=8443, client=client)) == 418
            )
            assert ask("httpbin.example.com", "/status/418", port=8443) is None
            stranger = Issuer("elsewhere").issue("client.example.com")
            assert ask("httpbin.example.com", "/status/418", port=8443, client=stranger) is None

    @pytest.mark.usefixtures("secrets")
    def test_requests_without_tls_are_sent_where_there_is_tls(self, mesh, place, ask):
        """301 to https with httpsRedirect, for the host of that server."""
        servers = (
            server(80, "HTTP", "httpbin.example.com", "{httpsRedirect: true}"),
            server(443, "HTTPS", "httpbin.example.com", "{mode: SIMPLE, credentialName: httpbin-tls}"),
        )
        with mesh.applied(gateway(*servers), place):
            steadily(lambda: status(ask("httpbin.example.com", "/status/200")) == 301)
            answer = ask("httpbin.example.com", "/status/200")
            assert answer.headers["location"] == "https://httpbin.example.com/status/200"
            eventually(lambda: status(ask("httpbin.example.com", "/status/200", port=8443)) == 200)
