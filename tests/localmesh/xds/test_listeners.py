"""The listeners of sidecars: which ports lead in, and by which filter chains connections go out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.inbound import inbound_listeners
from harness.localmesh.xds.inbound_clusters import inbound_clusters
from harness.localmesh.xds.outbound import outbound_listeners
from harness.localmesh.xds.services import port_protocol
from harness.localmesh.xds.view import Views

OUTSIDE = """
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [one.test, two.test]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 10.9.0.1}]
"""
FAULT = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  priority: {priority}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain:
          filter:
            name: envoy.filters.network.http_connection_manager
            subFilter: {{name: envoy.filters.http.router}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.fault
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: {{http_status: {status}, percentage: {{numerator: 1}}}}
"""


@pytest.fixture
def view(build):
    """What a pod of `app: client` sees of a mesh with these Services and the objects of the YAML given."""

    def see(*texts: str, services: tuple[model.Service, ...] = (), **settings: Any):
        client = build.workload("client", "127.9.0.1", "127.9.1.1", **settings)
        mesh = build.with_rules(model.Mesh(services=services, workloads=(client,)), *texts)
        return Views(mesh).of(model.Proxy(client, {}, client.ip))

    return see


def _chains(view: Any, host: str, port: int) -> list[Any]:
    service = view.service(host)
    given = view.given_port(service, service.port(port))
    found: list[Any] = outbound_listeners(view)[f"127.9.0.1_{given}"]["filter_chains"]
    return found


def _names(chains: list[Any]) -> list[Any]:
    return [chain.get("filter_chain_match", {}).get("server_names") for chain in chains]


@pytest.mark.parametrize(
    ("name", "said", "number", "protocol"),
    [
        ("http-web", "", 80, "http"),
        ("grpc-web", "", 80, "grpc-web"),
        ("GRPC-Web-x", "", 80, "grpc-web"),
        ("grpc-api", "", 80, "grpc"),
        ("tcp", "HTTP2", 80, "http2"),
        ("web", "kubernetes.io/h2c", 80, "http2"),
        ("web", "kubernetes.io/ws", 80, "http"),
        ("web", "kubernetes.io/wss", 80, "https"),
        ("kubernetes.io/h2c", "", 80, ""),
        ("mongo-db", "", 27017, "mongo"),
        ("mysql", "", 3306, "tcp"),
        ("db", "", 3306, "tcp"),
        ("web", "", 8080, ""),
    ],
)
def test_a_port_says_its_protocol(name, said, number, protocol):
    """By appProtocol, else by its name up to the first dash; where servers speak first it is TCP."""
    assert port_protocol(name, said, number) == protocol


def test_a_service_entry_leads_to_the_port_of_a_pod_that_has_its_ports_name(view):
    """And the pod's own side has the protocol that the ServiceEntry says."""
    text = OUTSIDE.replace("443, name: tls, protocol: TLS", "7000, name: api, protocol: GRPC")
    text = text.replace("endpoints: [{address: 10.9.0.1}]", "workloadSelector: {labels: {app: client}}")
    made = inbound_listeners(view(text, ports=(("api", 7070),)))
    assert [*made] == ["127.9.0.1_7070"]
    assert "http2_protocol_options" in str(made)


def test_of_two_services_at_one_port_the_first_by_age_and_full_name_decides(build, view):
    """The dash of "a-b.default…" comes before the dot of "a.default…"."""
    ports = (model.ServicePort("tcp", 9000, 8080, "tcp"),)
    web = build.service("a", selector={"app": "client"})
    tcp = build.service("a-b", selector={"app": "client"}, ports=ports)
    assert "http_connection_manager" not in str(inbound_listeners(view(services=(web, tcp))))
    older = replace(web, created="2025-01-01T00:00:00Z")
    assert "http_connection_manager" in str(inbound_listeners(view(services=(older, tcp))))


@pytest.mark.parametrize(("protocol", "retried"), [("http", True), ("grpc", False), ("grpc-web", False)])
def test_the_callees_sidecar_retries_no_grpc(build, view, protocol, retried):
    """Neither plain nor for browsers."""
    ports = (model.ServicePort("x", 80, 8080, protocol),)
    service = build.service("client", ports=ports)
    assert ("retry_policy" in str(inbound_listeners(view(services=(service,))))) == retried


def test_faults_come_by_priority_before_they_come_by_namespace(view):
    """The lowest priority first; of the same the root namespace's."""
    filters = [
        FAULT.format(name="a", namespace="default", priority=0, status=501),
        FAULT.format(name="b", namespace="istio-system", priority=0, status=502),
        FAULT.format(name="c", namespace="default", priority=-1, status=503),
    ]
    made = inbound_listeners(view(*filters))["127.9.0.1_8080"]
    manager = made["filter_chains"][0]["filters"][-1]["typed_config"]
    faults = [item["typed_config"] for item in manager["http_filters"] if "abort" in item["typed_config"]]
    assert [fault["abort"]["http_status"] for fault in faults] == [503, 502, 501]


def test_of_two_routes_for_a_server_name_the_first_is_kept(view):
    """Envoy would refuse a listener with both; the names of a chain are sorted."""
    rule = """
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [one.test, two.test]
  tls:
  - match: [{sniHosts: [two.test, one.test]}, {sniHosts: [two.test]}]
    route: [{destination: {host: one.test}}]
"""
    assert _names(_chains(view(OUTSIDE, rule), "one.test", 443)) == [["one.test", "two.test"]]


def test_where_no_route_can_be_taken_nothing_listens(view):
    """Both routes are for addresses that the host does not have; Envoy would refuse a listener without chains."""
    rule = """
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [one.test, two.test]
  tls:
  - match: [{sniHosts: [one.test, two.test], destinationSubnets: [240.1.1.1]}]
    route: [{destination: {host: one.test}}]
"""
    assert [*outbound_listeners(view(OUTSIDE, rule))] == ["127.9.0.1_15001"]


@pytest.mark.parametrize(("hosts", "limit"), [("./*", 7), ("./other.default.svc.cluster.local", None)])
def test_a_pods_own_side_has_the_limits_of_a_rule_that_it_sees(build, view, hosts, limit):
    """A Sidecar that leaves out the pod's own Service leaves out its DestinationRule too, in istiod as well."""
    rule = """
kind: DestinationRule
metadata: {name: rule}
spec: {host: client, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
"""
    sidecar = "{kind: Sidecar, metadata: {name: own}, spec: {egress: [{hosts: ['" + hosts + "']}]}}"
    (cluster,) = inbound_clusters(view(rule, sidecar, services=(build.service("client"),)))
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    assert (limits["max_connections"] == 7) == (limit == 7), limits


def test_what_mongodbs_clients_say_is_decoded(build, view):
    """At both sides, before the connection is passed on."""
    ports = (model.ServicePort("mongo", 27017, 8080, "mongo"),)
    seen = view(services=(build.service("client", ports=ports),))
    (out,) = _chains(seen, "client.default.svc.cluster.local", 27017)
    inside = inbound_listeners(seen)["127.9.0.1_8080"]["filter_chains"][0]
    for chain, prefix in (
        (out, "outbound|27017||client.default.svc.cluster.local"),
        (inside, "inbound|8080||"),
    ):
        codec, proxy = chain["filters"]
        assert codec["name"] == "envoy.filters.network.mongo_proxy"
        assert codec["typed_config"]["stat_prefix"] == proxy["typed_config"]["stat_prefix"] == prefix


@pytest.mark.parametrize(
    ("routes", "known"),
    [
        ("http: [{match: [{sourceNamespace: shop}], ROUTE}]", False),
        ("http: [{match: [{sourceNamespace: shop}, {uri: {exact: /}}], ROUTE}]", False),
        ("http: [{match: [{sourceNamespace: shop}, {sourceNamespace: default}], ROUTE}]", True),
        ("tcp: [{match: [{sourceNamespace: shop}], ROUTE}]", True),
    ],
)
def test_routes_for_another_namespace_make_no_service_known(build, view, routes, known):
    """Of HTTP; those of TCP do, in istiod too."""
    hidden = build.service("hidden", export_to=frozenset({"shop"}))
    routes = routes.replace("ROUTE", "route: [{destination: {host: hidden}}]")
    rule = f"{{kind: VirtualService, metadata: {{name: routes}}, spec: {{hosts: [front], {routes}}}}}"
    seen = view(rule, services=(build.service("front"), hidden))
    assert (seen.service(hidden.host) is not None) == known


def test_a_service_known_as_a_destination_only_has_no_listener(build, view):
    """A VirtualService may lead to a Service of the caller's namespace that is exported to others only."""
    ports = (model.ServicePort("tcp", 9000, 9000, "tcp"),)
    hidden = build.service("hidden", ports=ports, export_to=frozenset({"shop"}))
    rule = """
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [front]
  http: [{route: [{destination: {host: hidden.default.svc.cluster.local, port: {number: 9000}}}]}]
"""
    seen = view(rule, services=(build.service("front"), hidden))
    assert seen.service(hidden.host) is not None
    assert [*outbound_listeners(seen)] == ["127.9.0.1_15001"]
