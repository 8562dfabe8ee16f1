"""Traffic through a real gateway: TLS of several kinds at one port, redirects, TCP, and TLS that it passes through."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from harness.localmesh.ca import Authority
from harness.localmesh.xds import model

pytestmark = pytest.mark.e2e

DEADLINE = 10.0
GATEWAY = """
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.test, bare.test], tls: {httpsRedirect: true}}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.test, "*.shop.test"]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 443, name: https-staff, protocol: HTTPS}
    hosts: [staff.test]
    tls: {mode: MUTUAL, credentialName: staff, subjectAltNames: ["spiffe://test/staff"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [vault.test], tls: {mode: PASSTHROUGH}}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
---
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test, "*.shop.test"]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /teapot}, port: 443}], directResponse: {status: 418}}
  - {route: [{destination: {host: callee, port: {number: 8080}}}]}
---
kind: VirtualService
metadata: {name: staff}
spec: {hosts: [staff.test], gateways: [edge], http: [{route: [{destination: {host: callee, port: {number: 8080}}}]}]}
---
kind: VirtualService
metadata: {name: bytes}
spec:
  hosts: [vault.test]
  gateways: [edge]
  tcp: [{match: [{port: 9000}], route: [{destination: {host: callee, port: {number: 9000}}}]}]
  tls: [{match: [{sniHosts: [vault.test]}], route: [{destination: {host: vault, port: {number: 443}}}]}]
"""
NOBODY = """
kind: AuthorizationPolicy
metadata: {name: nobody}
spec: {selector: {matchLabels: {istio: ingressgateway}}, action: DENY, rules: [{to: [{operation: {paths: [/closed]}}]}]}
"""


@pytest.fixture(scope="module")
def outside() -> Authority:
    """The authority that people outside the mesh trust."""
    return Authority()


def _files(authority: Authority, directory: Path, name: str) -> tuple[str, str]:
    """The files of a certificate that proves `name`."""
    made = tuple(str(directory / f"{name}.{kind}") for kind in ("crt", "key"))
    for path, text in zip(made, authority.issue(uri=f"spiffe://test/{name}"), strict=True):
        Path(path).write_text(text)
    return made[0], made[1]


class _Vault:
    """A program that ends TLS itself, and answers every connection with a line."""

    def __init__(self, ip: str, port: int, files: tuple[str, str]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._listener = socket.create_server((ip, port))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(DEADLINE)
                try:
                    with self._context.wrap_socket(connection, server_side=True) as secured:
                        secured.sendall(b"the vault\n")
                except OSError:
                    continue  # whoever tries once more gets an answer

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def _credential(name: str, authority: Authority) -> model.Credential:
    certificate, key = authority.issue(uri=f"spiffe://test/{name}-server")
    return model.Credential(name, "default", certificate, key, authority.root_pem)


@pytest.fixture(scope="module")
def town(lab: Any, build: Any, outside: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway before an HTTP program, which is reached by TCP too, and a program that ends TLS itself."""
    lab.callee = lab.pod("callee")
    vault = lab.pod("vault", program=False, ports=(("tls", 8443),))
    lab.edge = lab.pod("gateway", gateway=True, labels={"istio": "ingressgateway"}, ports=())
    port = model.ServicePort
    lab.base = replace(lab.base, credentials=(_credential("shop", outside), _credential("staff", outside)))
    program = _Vault(vault.app_ip, 8443, _files(outside, tmp_path_factory.mktemp("vault"), "vault"))
    try:
        lab.start(
            build.service("callee", ports=(port("http", 8080, 8080, "http"), port("tcp", 9000, 8080, "tcp"))),
            build.service("vault", "10.0.0.2", ports=(port("tls", 443, 8443, "tls"),)),
            build.service(
                "ingress",
                "10.0.0.3",
                ports=(port("http2", 80, 8080, "http2"), port("https", 443, 8443, "https")),
                selector={"istio": "ingressgateway"},
            ),
        )
        lab.apply(GATEWAY)
        yield lab
    finally:
        program.stop()


def _secured(town: Any, name: str, outside: Authority, files: tuple[str, str] | None = None) -> ssl.SSLSocket:
    """A TLS connection to the gateway, for the server `name`.

    Raises:
        OSError: there is none.
    """
    context = ssl.create_default_context(cadata=outside.root_pem)
    context.check_hostname = False
    if files:
        context.load_cert_chain(*files)
    raw = socket.create_connection((town.edge.ip, 8443), DEADLINE)
    try:
        return context.wrap_socket(raw, server_hostname=name)
    except OSError:
        raw.close()
        raise


def _owner(secured: ssl.SSLSocket) -> str:
    """Whom the other side's certificate names."""
    found = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    (name,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return name


def _asked(secured: ssl.SSLSocket, host: str, path: str = "/x") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("edge")
    connection.sock = secured
    connection.request("GET", path, headers={"Host": host})
    return connection.getresponse()


def _tried(action: Callable[[], int]) -> Callable[[], int]:
    """The status that `action` gets, or 0 when there is no connection."""

    def attempt() -> int:
        try:
            return action()
        except (OSError, http.client.HTTPException):
            return 0

    return attempt


def _status(
    town: Any, name: str, outside: Authority, files: tuple[str, str] | None = None, **asked: str
) -> int:
    """The status of an answer by TLS; 0 when there is none."""

    def ask() -> int:
        with _secured(town, name, outside, files) as secured:
            return _asked(secured, asked.get("host", name), asked.get("path", "/x")).status

    return _tried(ask)()


@pytest.mark.parametrize(
    ("name", "asked", "status"),
    [
        ("shop.test", {}, 200),
        ("a.shop.test", {}, 200),
        ("shop.test", {"path": "/teapot"}, 418),
        ("shop.test", {"host": "shop.test:443"}, 200),
        ("shop.test", {"host": "staff.test"}, 404),
        ("other.test", {}, 0),
    ],
)
def test_tls_ends_for_the_hosts_of_the_server(town, outside, name, asked, status):
    """Requests are served for the hosts of the server whose certificate is shown; other server names get no TLS."""
    town.wait(lambda: _status(town, "shop.test", outside) == 200, "the gateway does not serve")
    assert _status(town, name, outside, **asked) == status


def test_each_server_shows_its_own_certificate(town, outside):
    """Chosen by the server name."""
    town.wait(lambda: _status(town, "shop.test", outside) == 200, "the gateway does not serve")
    for name, owner in (("shop.test", "shop-server"), ("staff.test", "staff-server")):
        with _secured(town, name, outside) as secured:
            assert _owner(secured) == f"spiffe://test/{owner}"


def test_mutual_tls_asks_for_the_right_certificate(town, outside, tmp_path):
    """None, one of another authority, and one for another name are refused; the callee is told about the right one."""
    staff, guest = (_files(outside, tmp_path, name) for name in ("staff", "guest"))
    stranger = _files(Authority(), tmp_path, "stranger")
    town.wait(lambda: _status(town, "staff.test", outside, staff) == 200, "the gateway does not serve")
    for files in (None, guest, stranger):
        assert _status(town, "staff.test", outside, files) == 0
    with _secured(town, "staff.test", outside, staff) as secured:
        seen = json.loads(_asked(secured, "staff.test").read())
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert "URI=spiffe://test/staff" in headers["x-forwarded-client-cert"]


@pytest.mark.parametrize(("host", "status"), [("shop.test", 301), ("bare.test", 301), ("other.test", 404)])
def test_plain_requests_are_sent_to_https(town, host, status):
    """For all hosts of the server, whether a VirtualService serves them or not."""
    answer = town.http_get(town.edge.ip, 8080, "/x?y=1", Host=host)
    assert answer.status == status
    assert answer.headers.get("location") == (f"https://{host}/x?y=1" if status == 301 else None)


def test_bytes_go_where_the_tcp_route_leads(town):
    """By mTLS of the mesh to the callee's sidecar; HTTP in them is the callee's business."""
    town.wait(
        _tried(lambda: town.http_get(town.edge.ip, 9000, "/x").status == 200), "the callee cannot be reached"
    )
    assert town.http_get(town.edge.ip, 9000, "/x").body["name"] == town.callee.name


def test_tls_is_passed_through_by_server_name(town, outside):
    """It ends at the program behind it, whose certificate the client sees."""

    def answer() -> str:
        try:
            with _secured(town, "vault.test", outside) as secured:
                return f"{_owner(secured)}: {secured.recv(100).decode()}"
        except OSError:
            return ""

    assert town.wait(answer, "the vault cannot be reached") == "spiffe://test/vault: the vault\n"


def test_authorization_policies_hold_at_the_gateway(town, outside):
    """A policy that selects the gateway refuses before any route is looked at."""
    town.apply(GATEWAY, NOBODY)
    town.wait(lambda: _status(town, "shop.test", outside, path="/closed") == 403, "nothing is refused")
    assert _status(town, "shop.test", outside) == 200
    town.apply(GATEWAY)


def test_a_new_certificate_is_shown_as_soon_as_the_secret_has_it(town, outside):
    """Without a new listener."""
    listeners = town.ask(town.proxies[town.edge.name], "/stats?filter=listener_manager.listener_modified")
    fresh = replace(_credential("fresh", outside), name="shop")
    town.apply(GATEWAY, credentials=(fresh, town.base.credentials[1]))

    def owner() -> str:
        with _secured(town, "shop.test", outside) as secured:
            return _owner(secured)

    town.wait(lambda: owner() == "spiffe://test/fresh-server", "the old certificate is shown")
    assert listeners == town.ask(
        town.proxies[town.edge.name], "/stats?filter=listener_manager.listener_modified"
    )
