"""Who gets in by AuthorizationPolicies, at one real Envoy with a guarded door for each case."""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from guarded import bootstrap, door, policies

from harness.localmesh import programs
from harness.localmesh.ca import Authority

pytestmark = pytest.mark.e2e

DEADLINE = 10.0
PORT = 8080
SPIFFE = "spiffe://cluster.local/ns/{}/sa/{}"


@dataclass(frozen=True)
class Case:
    """Policies, and who with which request gets in."""

    policies: str
    allowed: tuple[str, ...]
    refused: tuple[str, ...]


ALLOW_WEB = "rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]"
DENY_ADMIN = "{action: DENY, rules: [{from: [{source: {serviceAccounts: [ops/admin]}}]}]}"

# Requests are "who METHOD host/path header=value", who is web, admin or nobody (plaintext).
HTTP = {
    "no policy": Case("", ("nobody GET h/", "admin GET h/"), ()),
    "spec {}": Case("{}", (), ("web GET h/", "nobody GET h/")),
    "allow all": Case("rules: [{}]", ("nobody GET h/",), ()),
    "allow principal": Case(ALLOW_WEB, ("web GET h/",), ("admin GET h/", "nobody GET h/")),
    "deny account": Case(DENY_ADMIN, ("web GET h/", "nobody GET h/"), ("admin GET h/",)),
    "deny beats allow": Case(
        "rules: [{}]\n---\n" + DENY_ADMIN, ("web GET h/", "nobody GET h/"), ("admin GET h/",)
    ),
    "any allow is enough": Case(
        ALLOW_WEB + "\n---\nrules: [{to: [{operation: {methods: [PUT]}}]}]",
        ("web GET h/", "admin PUT h/"),
        ("admin GET h/",),
    ),
    "audit lets in": Case("{action: AUDIT, rules: [{}]}", ("nobody GET h/", "web GET h/"), ()),
    "namespaces": Case(
        "rules: [{from: [{source: {namespaces: ['o*']}}]}]",
        ("admin GET h/",),
        ("web GET h/", "nobody GET h/"),
    ),
    "not namespaces": Case(
        "rules: [{from: [{source: {notNamespaces: [ops]}}]}]",
        ("web GET h/", "nobody GET h/"),
        ("admin GET h/",),
    ),
    "own account": Case(
        "rules: [{from: [{source: {serviceAccounts: [web]}}]}]", ("web GET h/",), ("admin GET h/",)
    ),
    "trust domain": Case(
        "rules: [{from: [{source: {trustDomains: ['cluster*']}}]}]", ("web GET h/",), ("nobody GET h/",)
    ),
    "any principal": Case(
        "rules: [{from: [{source: {principals: ['*']}}]}]", ("web GET h/", "admin GET h/"), ("nobody GET h/",)
    ),
    "methods and paths": Case(
        "rules: [{to: [{operation: {methods: [GET, HEAD], paths: ['/a*', '*.js']}}]}]",
        ("web GET h/a/b", "web GET h/x.js", "web HEAD h/a", "web GET h/a?b=/c", "web GET h/x/../a"),
        ("web GET h/", "web PUT h/a", "web GET h/x?y=/a.js", "web GET h/A"),
    ),
    "not paths": Case(
        "rules: [{to: [{operation: {notPaths: [/admin]}}]}]",
        ("web GET h/", "web GET h/admin/x"),
        ("web GET h/admin", "web GET h/admin?x"),
    ),
    "one segment": Case(
        "rules: [{to: [{operation: {paths: ['/a/{*}/c']}}]}]",
        ("web GET h/a/b/c", "web GET h/a/b/c?d"),
        ("web GET h/a/c", "web GET h/a/b/b/c", "web GET h/a/b/c/d"),
    ),
    "any segments": Case(
        "rules: [{to: [{operation: {paths: ['/a/{*}/c/{**}']}}]}]",
        ("web GET h/a/b/c/d", "web GET h/a/b/c/d/e"),
        ("web GET h/a/b/b/d", "web GET h/b"),
    ),
    "hosts": Case(
        "rules: [{to: [{operation: {hosts: [Shop.test, '*.shop.test', 'edge*']}}]}]",
        ("web GET shop.TEST/", "web GET a.Shop.Test/", "web GET EDGE.x:80/"),
        ("web GET shop.test:80/", "web GET other/"),
    ),
    "alternatives and conditions": Case(
        "rules: [{to: [{operation: {methods: [GET]}}, {operation: {paths: [/p]}}],"
        " when: [{key: 'request.headers[x-who]', values: ['a*', b], notValues: [ab]}]}]",
        ("web GET h/ x-who=abc", "web PUT h/p x-who=b"),
        ("web GET h/", "web GET h/ x-who=ab", "web PUT h/ x-who=b", "web GET h/ x-who=c"),
    ),
    "header there": Case(
        "{action: DENY, rules: [{when: [{key: 'request.headers[x-bad]', values: ['*']}]}]}",
        ("web GET h/",),
        ("web GET h/ x-bad=1",),
    ),
    "remote ip": Case(
        "rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8], notRemoteIpBlocks: [10.1.0.0/16]}}]}]",
        ("web GET h/ x-forwarded-for=10.2.0.1",),
        ("web GET h/", "web GET h/ x-forwarded-for=10.1.0.1"),
    ),
    "source ip of the caller": Case(
        "rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}]}]",
        ("web GET h/", "web GET h/ x-forwarded-for=10.1.0.1"),
        ("web GET h/ from=127.0.0.2",),
    ),
    "source ip by condition": Case(
        "{action: DENY, rules: [{when: [{key: source.ip, values: [127.0.0.2/31, '::1']}]}]}",
        ("web GET h/", "web GET h/ from=127.0.0.4"),
        ("web GET h/ from=127.0.0.2", "web GET h/ from=127.0.0.3"),
    ),
    "port": Case("rules: [{to: [{operation: {ports: ['8080']}}]}]", ("web GET h/",), ()),
    "not port": Case("rules: [{to: [{operation: {notPorts: ['8080']}}]}]", (), ("web GET h/",)),
    "destination ip": Case(
        "rules: [{when: [{key: destination.ip, values: [127.0.0.0/8], notValues: [127.0.0.0/16]}]}]",
        ("web GET h/",),
        (),
    ),
    "sni": Case(
        "rules: [{when: [{key: connection.sni, values: ['*.test']}]}]",
        ("web GET h/ sni=a.test",),
        ("web GET h/ sni=a.other", "nobody GET h/"),
    ),
}
# On TCP a request is "who TCP"; DENY forgets what needs HTTP, ALLOW drops the rule.
TCP = {
    "no policy": Case("", ("nobody TCP",), ()),
    "spec {}": Case("{}", (), ("web TCP", "nobody TCP")),
    "allow principal": Case(ALLOW_WEB, ("web TCP",), ("admin TCP", "nobody TCP")),
    "deny account": Case(DENY_ADMIN, ("web TCP", "nobody TCP"), ("admin TCP",)),
    "deny beats allow": Case(ALLOW_WEB + "\n---\n{action: DENY, rules: [{}]}", (), ("web TCP",)),
    "audit lets in": Case("{action: AUDIT, rules: [{}]}", ("nobody TCP",), ()),
    "dry run lets in": Case("{action: DENY, dryRun: true, rules: [{}]}", ("nobody TCP",), ()),
    "port": Case("rules: [{to: [{operation: {ports: ['8080']}}]}]", ("nobody TCP",), ()),
    "not port": Case("rules: [{to: [{operation: {notPorts: ['8080']}}]}]", (), ("nobody TCP",)),
    "source ip": Case(
        "rules: [{from: [{source: {ipBlocks: [127.0.0.2]}}]}]", ("nobody TCP from=127.0.0.2",), ("nobody TCP",)
    ),
    "allow with HTTP": Case("rules: [{to: [{operation: {ports: ['8080'], methods: [GET]}}]}]", (), ("web TCP",)),
    "deny with HTTP": Case(
        "{action: DENY, rules: [{to: [{operation: {ports: ['8080'], methods: [PUT]}}]}]}", (), ("web TCP",)
    ),
    "deny with HTTP elsewhere": Case(
        "{action: DENY, rules: [{to: [{operation: {ports: ['9'], methods: [PUT]}}]}]}", ("web TCP",), ()
    ),
}  # fmt: skip
SPECIAL = {
    "audit": "{action: AUDIT, rules: [{to: [{operation: {paths: [/a]}}]}]}",
    "dry run": "{action: DENY, dryRun: true, rules: [{to: [{operation: {paths: [/a]}}]}]}\n---\n"
    "{dryRun: true, rules: [{to: [{operation: {paths: [/b]}}]}]}",
}


@dataclass
class Doors:
    """The addresses of the doors by protocol and name, and the TLS contexts of those who knock."""

    ips: dict[tuple[str, str], str]
    contexts: dict[str, ssl.SSLContext | None]

    def knock(self, door: tuple[str, str], request: str) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer; on TCP the status is 200 when what was sent comes back, else 0."""
        who, method, *rest = request.split()
        words = dict(word.split("=", 1) for word in rest[1:] if "=" in word) if method != "TCP" else {}
        if method == "TCP":
            words = dict(word.split("=", 1) for word in rest)
        with self._connected(self.ips[door], who, words) as connection:
            if method == "TCP":
                return _echoed(connection), {}
            host, _, path = rest[0].partition("/")
            return _asked(connection, method, host, "/" + path, words)

    def _connected(self, ip: str, who: str, words: dict[str, str]) -> socket.socket:
        source = (words.pop("from", "127.0.0.1"), 0)
        sni = words.pop("sni", "door")
        plain = socket.create_connection((ip, PORT), DEADLINE, source)
        context = self.contexts[who]
        return context.wrap_socket(plain, server_hostname=sni) if context else plain


def _echoed(connection: socket.socket) -> int:
    try:
        connection.sendall(b"knock")
        return 200 if connection.recv(100) == b"knock" else 0
    except ConnectionError:
        return 0


def _asked(
    connection: socket.socket, method: str, host: str, path: str, headers: dict[str, str]
) -> tuple[int, dict[str, str]]:
    client = http.client.HTTPConnection(host)
    client.sock = connection
    client.putrequest(method, path, skip_host=True)
    for key, value in {"Host": host, **headers}.items():
        client.putheader(key, value)
    client.endheaders()
    answer = client.getresponse()
    answer.read()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}


def _free_subnet() -> str:
    while True:
        subnet = f"127.{random.randint(32, 250)}.{random.randint(1, 250)}"
        with socket.socket() as probe:
            try:
                probe.bind((f"{subnet}.1", PORT))
            except OSError:
                continue
        return subnet


def _context(authority: Authority, folder: Path, identity: str) -> ssl.SSLContext:
    chain, key = authority.issue(uri=identity)
    path = folder / "client.pem"
    path.write_text(chain + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.root_pem)
    context.load_cert_chain(path)
    return context


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """One Envoy with a door for each case."""
    folder = tmp_path_factory.mktemp("doors")
    authority, subnet = Authority(), _free_subnet()
    cases = {("http", name): case.policies for name, case in HTTP.items()}
    cases |= {("http", name): text for name, text in SPECIAL.items()}
    cases |= {("tcp", name): case.policies for name, case in TCP.items()}
    ips = {name: f"{subnet}.{number}" for number, name in enumerate(cases, 1)}
    secrets = authority.secrets(SPIFFE.format("shop", "door"))
    listeners = [
        door(ips[name], PORT, policies(text), secrets, tcp=name[0] == "tcp") for name, text in cases.items()
    ]
    web, admin = (SPIFFE.format(*who) for who in (("shop", "web"), ("ops", "admin")))
    contexts = {
        who: _context(authority, folder, identity) for who, identity in (("web", web), ("admin", admin))
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(bootstrap(listeners)))
    command = [
        programs.envoy(),
        "-c",
        str(path),
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "-l",
        "warning",
    ]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for ip in ips.values():
            _await(ip, process, folder / "envoy.log")
        yield Doors(ips, {**contexts, "nobody": None})
    finally:
        process.kill()
        process.wait()


def _await(ip: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection((ip, PORT), DEADLINE).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)


@pytest.mark.parametrize("name", HTTP)
def test_http_requests_get_in_or_are_refused_with_403(doors, name):
    """As the policies of the case say; a refusal is a 403."""
    case = HTTP[name]
    asked = {request: doors.knock(("http", name), request)[0] for request in (*case.allowed, *case.refused)}
    assert asked == {**dict.fromkeys(case.allowed, 200), **dict.fromkeys(case.refused, 403)}


@pytest.mark.parametrize("name", TCP)
def test_connections_get_in_or_are_closed(doors, name):
    """As the policies of the case say; a refused connection is closed without an answer."""
    case = TCP[name]
    asked = {request: doors.knock(("tcp", name), request)[0] for request in (*case.allowed, *case.refused)}
    assert asked == {**dict.fromkeys(case.allowed, 200), **dict.fromkeys(case.refused, 0)}


def test_an_audit_marks_what_it_matches(doors):
    """Envoy's hint for access logs is true for a request that matches and false for the others."""
    for path, hint in (("/a", "true"), ("/b", "false")):
        status, headers = doors.knock(("http", "audit"), f"nobody GET h{path}")
        assert (status, headers.get("x-audit")) == (200, hint)


def test_a_dry_run_tells_what_it_would_do(doors):
    """Everybody gets in, and what would have happened stands in Envoy's metadata under Istio's names."""
    for path, deny, allow in (
        ("/a", "denied", "denied"),
        ("/b", "allowed", "allowed"),
        ("/c", "allowed", "denied"),
    ):
        status, headers = doors.knock(("http", "dry run"), f"nobody GET h{path}")
        assert (status, headers.get("x-deny"), headers.get("x-allow")) == (200, deny, allow)
