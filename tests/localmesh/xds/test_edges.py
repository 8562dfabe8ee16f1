"""Who gets in: mTLS modes at the callee and the ingress gateway, through real Envoys."""

from __future__ import annotations

import dataclasses

import pytest

from harness.localmesh.xds import model

pytestmark = pytest.mark.e2e

URL = "http://callee:8080/x"
MODE = """
kind: PeerAuthentication
metadata: {{name: callee}}
spec: {{selector: {{matchLabels: {{app: callee}}}}, mtls: {{mode: {mode}}}}}
"""
RULE = """
kind: DestinationRule
metadata: {{name: callee}}
spec: {{host: callee, trafficPolicy: {{tls: {{mode: {mode}}}}}}}
"""
GATEWAY = """
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["shop.test", "*.example.test"]}]
---
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ["shop.test"]
  gateways: [edge]
  http:
  - match: [{uri: {exact: /productpage}}, {uri: {prefix: /static}}]
    route: [{destination: {host: callee}}]
"""


@pytest.fixture(scope="module")
def town(lab, build):
    """A client, a callee and an ingress gateway whose Service has port 80 for its port 8080."""
    lab.client = lab.pod("client", program=False)
    lab.callee = lab.pod("callee")
    labels = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
    lab.edge = lab.pod("gateway", gateway=True, labels=labels, ports=())
    ports = (model.ServicePort("http2", 80, 8080, "http2"),)
    lab.start(
        build.service("callee", "10.0.0.2"),
        build.service("ingress", "10.0.0.3", ports=ports, selector={"istio": "ingressgateway"}),
    )
    return lab


def _plain(town) -> int:
    """The status that plaintext gets at the callee's sidecar; 0 when the connection is closed without an answer."""
    try:
        return town.http_get(town.callee.ip, 8080, "/x").status
    except ConnectionError:
        return 0


@pytest.mark.parametrize(
    ("mode", "plain", "policy"),
    [("STRICT", 0, "mutual_tls"), ("PERMISSIVE", 200, "mutual_tls"), ("DISABLE", 200, "none")],
)
def test_a_mode_decides_on_plaintext_and_on_what_the_caller_uses(town, mode, plain, policy):
    """STRICT closes plaintext; callers with a sidecar use mTLS unless it is disabled, and it is counted so."""
    town.apply(MODE.format(mode=mode))
    town.wait(lambda: _plain(town) == plain, f"plaintext does not get {plain}")
    town.wait(lambda: _policies(town) == {policy}, f"requests of the mesh are not counted as {policy}")


def _policies(town) -> set[str]:
    found = town.counted(town.callee, lambda: town.call(town.client, URL))
    return {labels["connection_security_policy"] for labels in found}


def test_a_caller_without_sidecar_is_unknown(town):
    """Plaintext from outside the mesh is counted without a source, and without principals."""
    town.apply()
    town.wait(lambda: _plain(town) == 200, "plaintext gets no answer")
    (labels,) = town.counted(town.callee, lambda: _plain(town))
    assert labels["connection_security_policy"] == "none"
    assert (labels["source_workload"], labels["source_principal"]) == ("unknown", "unknown")


def test_a_port_can_have_a_mode_of_its_own(town):
    """A mode in portLevelMtls for the workload's port beats the workload's mode."""
    level = "mtls: {mode: PERMISSIVE}, portLevelMtls: {'8080': {mode: STRICT}}}"
    town.apply(MODE.format(mode="PERMISSIVE").replace("mtls: {mode: PERMISSIVE}}", level))
    town.wait(lambda: _plain(town) == 0, "plaintext still gets an answer")


def test_plaintext_by_destination_rule_fails_at_strict(town):
    """A DestinationRule that disables TLS sends plaintext to a callee that takes mTLS only."""
    town.apply(MODE.format(mode="STRICT"), RULE.format(mode="DISABLE"))
    town.wait(lambda: town.call(town.client, URL).status == 503, "the request does not fail")


def test_istio_mutual_by_destination_rule_works_at_strict(town):
    """A DestinationRule that demands Istio's mTLS gets it."""
    town.apply(MODE.format(mode="STRICT"), RULE.format(mode="ISTIO_MUTUAL"))
    town.wait(lambda: town.call(town.client, URL).status == 200, "the request fails")


def test_a_callee_with_the_wrong_identity_is_refused(town):
    """The caller checks the callee's SPIFFE identity against the service accounts of the Service."""
    impostor = dataclasses.replace(town.callee, service_account="somebody-else")
    town.apply(workloads=(town.client, impostor, town.edge))
    town.wait(lambda: town.call(town.client, URL).status == 503, "the impostor gets the request")
    town.apply()
    town.wait(lambda: town.call(town.client, URL).status == 200, "the right callee gets no request")


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("shop.test", "/productpage", 200),
        ("shop.test:8080", "/static/x", 200),
        ("shop.test", "/productpage/x", 404),
        ("other.test", "/productpage", 404),
        ("a.example.test", "/productpage", 404),
    ],
)
def test_the_gateway_serves_what_is_bound_to_it(town, host, path, status):
    """Host and path must fit a VirtualService bound to the Gateway; the Service's port is mapped to the pod's."""
    town.apply(GATEWAY)
    assert town.http_get(town.edge.ip, 8080, path, Host=host).status == status


def test_the_gateway_is_the_source_and_believes_no_announcement(town):
    """Requests from outside carry the gateway's identity, whatever peer metadata they claim."""
    town.apply(GATEWAY)
    forged = {"Host": "shop.test", "x-envoy-peer-metadata": "boss;boss;1;root;boss;1;x"}
    (labels,) = town.counted(town.callee, lambda: town.http_get(town.edge.ip, 8080, "/productpage", **forged))
    assert (labels["source_workload"], labels["connection_security_policy"]) == ("gateway-v1", "mutual_tls")
    assert (labels["source_version"], labels["source_canonical_revision"]) == ("unknown", "latest")
    assert {labels["reporter"] for labels in map(dict, town.requests(town.edge))} == {"source"}
