"""The listeners of gateways: which ports there are, who comes in by which filter chain, and where it leads."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from edge import HTTP, bound, gateway, listeners, server, to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.localmesh import programs
from harness.localmesh.xds import model

PASS = "mode: PASSTHROUGH"
SIMPLE = "mode: SIMPLE, credentialName: shop"
DENIAL = """
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: default}
spec: {action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}
"""


def _chains(made: Any, name: str) -> Any:
    """The filter chains of a listener: server names, and whether TLS ends there."""
    return [
        (chain.get("filter_chain_match", {}).get("server_names"), "transport_socket" in chain)
        for chain in made[name]["filter_chains"]
    ]


def _manager(made: Any, name: str, chain: int = 0) -> Any:
    return made[name]["filter_chains"][chain]["filters"][-1]["typed_config"]


def _clusters(made: Any, name: str) -> list[str]:
    """Where the filter chains of a listener lead."""
    return [chain["filters"][-1]["typed_config"].get("cluster") for chain in made[name]["filter_chains"]]


def _l4(kind: str, match: str, host: str = "a") -> str:
    return (
        f"{kind}: [{{match: [{match}], route: [{{destination: {{host: {host}, port: {{number: 9000}}}}}}]}}]"
    )


def _cluster(name: str, number: int = 9000) -> str:
    return f"outbound|{number}||{name}.default.svc.cluster.local"


def test_a_port_of_the_gateways_service_stands_for_its_target_port(build):
    """Of several Services with that port the oldest counts; a port that none has is the pod's own."""
    selector = {"app": "client"}
    services = tuple(
        build.service(
            name, ports=(model.ServicePort("http", 80, target, "http"),), created=day, selector=selector
        )
        for name, target, day in (
            ("young", 8081, "2026-01-02T00:00:00Z"),
            ("old", 8080, "2026-01-01T00:00:00Z"),
        )
    )
    made = listeners(build, gateway(server(80, "HTTP", "'*'"), server(81, "HTTP", "'*'")), services=services)
    places = {name: item["address"]["socket_address"] for name, item in made.items()}
    assert places == {
        "0.0.0.0_81": {"address": "127.9.0.1", "port_value": 81},
        "0.0.0.0_8080": {"address": "127.9.0.1", "port_value": 8080},
    }


def test_requests_come_through_istiods_connection_manager(build):
    """Clients' addresses and certificates are the gateway's to tell, and claims about them are not believed."""
    manager = _manager(listeners(build, gateway(HTTP)), "0.0.0.0_8080")
    assert manager["stat_prefix"] == "outbound_0.0.0.0_8080;"
    assert manager["rds"]["route_config_name"] == "http.8080"
    assert manager["use_remote_address"]
    assert manager["forward_client_cert_details"] == "SANITIZE_SET"
    assert manager["set_current_client_cert_details"]["cert"]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (server(8080, "HTTP", "a.test"), server(8080, "TCP", "b.test"), ["http"]),
        (server(8080, "HTTP", "a.test"), server(8080, "TLS", "b.test", PASS), ["http"]),
        (server(8080, "TCP", "a.test"), server(8080, "HTTP", "b.test"), ["tcp"]),
        (server(8080, "TCP", "a.test"), server(8080, "TCP", "b.test"), ["tcp"]),
        (server(8080, "TLS", "b.test", PASS), server(8080, "HTTP", "a.test"), ["tls", "http"]),
        (server(8080, "HTTPS", "a.test", SIMPLE), server(8080, "HTTPS", "b.test", SIMPLE), ["http", "http"]),
        (server(8080, "HTTPS", "a.test", SIMPLE), server(8080, "HTTPS", "a.test", SIMPLE), ["http"]),
        (server(8080, "HTTPS", "a.test", SIMPLE), server(8080, "HTTPS", "a.test, c.test", SIMPLE), ["http"]),
    ],
)
def test_a_server_that_does_not_fit_in_with_those_before_is_left_out(build, first, second, kept):
    """At one port: HTTP servers, or one for TCP, or TLS servers with different hosts; the older Gateway wins."""
    made = listeners(
        build,
        gateway(first),
        gateway(second, name="side"),
        bound("tcp", "a.test, b.test", _l4("tcp", "{port: 8080}"), "edge, side"),
        bound("tls", "b.test", _l4("tls", "{sniHosts: [b.test]}"), "edge, side"),
    )
    filters = [chain["filters"][-1] for chain in made["0.0.0.0_8080"]["filter_chains"]]
    found = [
        "http"
        if item["name"].endswith("http_connection_manager")
        else ("tls" if "filter_chain_match" in chain else "tcp")
        for item, chain in zip(filters, made["0.0.0.0_8080"]["filter_chains"], strict=True)
    ]
    assert found == kept


def test_a_server_that_leads_nowhere_keeps_its_port_all_the_same(build):
    """The HTTP server of a younger Gateway does not come in its place."""
    assert listeners(build, gateway(server(8080, "TCP", "a.test")), gateway(HTTP, name="side")) == {}


def test_a_server_of_a_gateway_that_selects_others_is_none(build):
    """Its labels must be those of the gateway's pod."""
    assert listeners(build, gateway(HTTP).replace("app: client", "app: other")) == {}


@pytest.mark.parametrize(
    ("tls", "asks", "secrets", "authority"),
    [
        ("mode: SIMPLE, credentialName: shop", False, ["kubernetes://shop"], None),
        ("mode: SIMPLE, credentialNames: [rsa, ec]", False, ["kubernetes://rsa", "kubernetes://ec"], None),
        ("mode: MUTUAL, credentialName: shop", True, ["kubernetes://shop"], "kubernetes://shop-cacert"),
        (
            "mode: MUTUAL, credentialNames: [rsa, ec]",
            True,
            ["kubernetes://rsa", "kubernetes://ec"],
            "kubernetes://rsa-cacert",
        ),
        (
            "mode: OPTIONAL_MUTUAL, credentialName: shop, caCertCredentialName: ours",
            False,
            ["kubernetes://shop"],
            "kubernetes://ours",
        ),
        ("mode: ISTIO_MUTUAL", True, ["default"], "ROOTCA"),
    ],
)
def test_a_tls_mode_decides_on_certificates(build, tls, asks, secrets, authority):
    """Whose certificate is shown, whether the client must show one, and who must have signed that."""
    made = listeners(build, gateway(server(8443, "HTTPS", "shop.test", tls)))
    context = made["0.0.0.0_8443"]["filter_chains"][0]["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    assert context["require_client_certificate"] is asks
    assert [item["name"] for item in common["tls_certificate_sds_secret_configs"]] == secrets
    validation = common.get(
        "combined_validation_context", {"validation_context_sds_secret_config": {"name": None}}
    )
    assert validation["validation_context_sds_secret_config"]["name"] == authority
    assert common["alpn_protocols"] == ["h2", "http/1.1"]


def test_tls_of_the_mesh_for_tcp_offers_istios_peer_exchange(build):
    """At a port that is TLS and not HTTPS."""
    made = listeners(
        build,
        gateway(server(8443, "TLS", "shop.test", "mode: ISTIO_MUTUAL")),
        bound("tcp", "shop.test", _l4("tcp", "{port: 8443}")),
    )
    common = made["0.0.0.0_8443"]["filter_chains"][0]["transport_socket"]["typed_config"][
        "common_tls_context"
    ]
    assert common["alpn_protocols"] == ["istio-peer-exchange", "h2", "http/1.1"]


def test_tls_settings_are_passed_on(build):
    """Versions and known cipher suites, once each; names and hashes of client certificates where they are asked for."""
    pins = f"verifyCertificateHash: [{'a' * 64}]"
    tls = (
        "credentialName: shop, subjectAltNames: ['spiffe://test/me'], minProtocolVersion: TLSV1_2, "
        f"maxProtocolVersion: TLSV1_3, cipherSuites: [AES128-SHA, NONSENSE, AES128-SHA], {pins}"
    )
    for mode, names in (("MUTUAL", ["spiffe://test/me"]), ("SIMPLE", None)):
        made = listeners(build, gateway(server(8443, "HTTPS", "shop.test", f"mode: {mode}, {tls}")))
        common = made["0.0.0.0_8443"]["filter_chains"][0]["transport_socket"]["typed_config"][
            "common_tls_context"
        ]
        assert common["tls_params"] == {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            "cipher_suites": ["AES128-SHA"],
        }
        assert ("combined_validation_context" in common) is (names is not None)
        if names:
            validation = common["combined_validation_context"]["default_validation_context"]
            assert [item["matcher"]["exact"] for item in validation["match_typed_subject_alt_names"]] == names
            assert validation["verify_certificate_hash"] == ["a" * 64]


def test_a_servers_name_names_the_series_of_its_tls(build):
    """Of a plain server it does not."""
    made = listeners(
        build,
        gateway(
            server(8443, "HTTPS", "shop.test", SIMPLE, "name: front"),
            server(8080, "HTTP", "shop.test", more="name: x"),
        ),
    )
    assert _manager(made, "0.0.0.0_8443")["stat_prefix"] == "front"
    assert _manager(made, "0.0.0.0_8080")["stat_prefix"] == "outbound_0.0.0.0_8080;"


def test_tls_is_told_apart_by_server_name(build):
    """Without namespaces, sorted; a host "*" takes every name."""
    made = listeners(
        build,
        gateway(
            server(8443, "HTTPS", "shop.test, '*/also.test', './own.test'", SIMPLE),
            server(8443, "HTTPS", "'*'", SIMPLE),
        ),
    )
    assert _chains(made, "0.0.0.0_8443") == [(["also.test", "own.test", "shop.test"], True), (None, True)]
    assert [item["name"] for item in made["0.0.0.0_8443"]["listener_filters"]] == [
        "envoy.filters.listener.tls_inspector"
    ]


def test_of_two_filter_chains_for_a_server_name_the_first_is_kept(build):
    """Whatever its case: Envoy would refuse the listener."""
    made = listeners(
        build,
        gateway(server(8443, "HTTPS", "shop.test, A.test", SIMPLE)),
        gateway(server(8443, "HTTPS", "'*/shop.test', './a.test', b.test", SIMPLE), name="side"),
        gateway(server(8443, "HTTPS", "'./b.test'", SIMPLE), name="third"),
    )
    assert _chains(made, "0.0.0.0_8443") == [(["A.test", "shop.test"], True), (["b.test"], True)]


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("{port: 9000}", True),
        ("{port: 9001}", False),
        ("{gateways: [edge]}", True),
        ("{gateways: [side]}", False),
        ("{sourceLabels: {app: nobody}, destinationSubnets: [10.9.0.0/16]}", True),
        ("{port: 9001}, {port: 9000}", True),
    ],
)
def test_tcp_goes_where_the_first_fitting_route_leads(build, match, fits):
    """At gateways istiod looks at port and Gateway only; without a route there is no listener."""
    made = listeners(
        build,
        gateway(server(9000, "TCP", "'*'")),
        bound("rule", "shop.test", _l4("tcp", match, "b")),
    )
    assert (_clusters(made, "0.0.0.0_9000") if made else []) == ([_cluster("b")] if fits else [])
    assert "listener_filters" not in made.get("0.0.0.0_9000", {})


def test_tcp_can_be_shared_out_by_weight(build):
    """As outbound connections of a sidecar."""
    routes = "tcp: [{route: [{destination: {host: a}, weight: 30}, {destination: {host: b}, weight: 70}]}]"
    made = listeners(build, gateway(server(9000, "TCP", "'*'")), bound("rule", "shop.test", routes))
    assert _manager(made, "0.0.0.0_9000")["weighted_clusters"]["clusters"] == [
        {"name": _cluster("a"), "weight": 30},
        {"name": _cluster("b"), "weight": 70},
    ]


def test_tls_that_is_passed_through_goes_by_server_name(build):
    """Each match is a filter chain without a certificate; one whose server name is taken is left out."""
    made = listeners(
        build,
        gateway(server(8443, "TLS", "'*.test'", PASS), server(8443, "HTTPS", "here.test", SIMPLE)),
        bound("one", "a.test, b.test", _l4("tls", "{sniHosts: [a.test]}, {sniHosts: [b.test], port: 1}")),
        bound("two", "'*.test'", _l4("tls", "{sniHosts: [a.test, c.test]}, {sniHosts: ['*.test']}", "b")),
        bound("elsewhere", "a.other", _l4("tls", "{sniHosts: [a.other]}")),
    )
    assert _chains(made, "0.0.0.0_8443") == [(["a.test"], False), (["*.test"], False), (["here.test"], True)]
    assert _clusters(made, "0.0.0.0_8443")[:2] == [_cluster("a"), _cluster("b")]


def test_authorization_stands_before_everything(build):
    """At gateways too, for requests and for connections."""
    made = listeners(
        build,
        DENIAL,
        gateway(HTTP, server(9000, "TCP", "'*'"), server(8443, "TLS", "shop.test", PASS)),
        bound("rule", "shop.test", f"{_l4('tcp', '{port: 9000}')}, {_l4('tls', '{sniHosts: [shop.test]}')}"),
    )
    assert _manager(made, "0.0.0.0_8080")["http_filters"][0]["name"] == "envoy.filters.http.rbac"
    for name in ("0.0.0.0_9000", "0.0.0.0_8443"):
        (chain,) = made[name]["filter_chains"]
        assert [item["name"] for item in chain["filters"]] == [
            "envoy.filters.network.rbac",
            "envoy.filters.network.tcp_proxy",
        ]


def test_grpc_web_is_translated_at_a_port_of_that_protocol(build):
    """By Envoy's filter, before all others but authorization."""
    made = listeners(build, DENIAL, gateway(server(8080, "GRPC-Web", "'*'")))
    names = [item["name"].rpartition(".")[2] for item in _manager(made, "0.0.0.0_8080")["http_filters"]]
    assert names[:2] == ["rbac", "grpc_web"]


_HOSTS = st.lists(
    st.sampled_from(["'*'", "a.test", "A.test", "'*.test'", "'./a.test'", "'*/*'", "b.test", "10.0.0.1"]),
    min_size=1,
    max_size=3,
    unique=True,
).map(", ".join)
_TLS = st.sampled_from(
    [
        SIMPLE,
        PASS,
        "mode: ISTIO_MUTUAL",
        "mode: SIMPLE, credentialName: shop, subjectAltNames: [a.test], minProtocolVersion: TLSV1_3",
        "mode: MUTUAL, credentialName: shop, subjectAltNames: [a.test, 10.0.0.1, 'spiffe://a/b']",
        "mode: SIMPLE, credentialName: shop, maxProtocolVersion: TLSV1_2, cipherSuites: [DES-CBC3-SHA, NONSENSE]",
    ]
)
_SERVER = st.one_of(
    st.builds(server, st.just(8080), st.sampled_from(["HTTP", "GRPC", "GRPC-Web", "TCP"]), _HOSTS),
    st.builds(server, st.sampled_from([8080, 8443]), st.sampled_from(["HTTPS", "TLS"]), _HOSTS, _TLS),
)
_GATEWAYS = st.lists(st.lists(_SERVER, min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_GATEWAYS)
def test_no_gateways_make_a_listener_that_envoy_refuses(tmp_path_factory, build, gateways):
    """Whatever servers meet at a port: each has what it can have."""
    texts = [gateway(*servers, name=f"g{index}") for index, servers in enumerate(gateways)]
    names = ", ".join(f"g{index}" for index in range(len(gateways)))
    tcp, tls = (
        _l4("tcp", "{port: 8080}, {port: 8443}"),
        _l4("tls", "{sniHosts: [a.test]}, {sniHosts: [b.test]}"),
    )
    texts.append(bound("low", "a.test, b.test", f"{tcp}, {tls}, {to()}", names))
    texts.append(bound("high", "B.test", _l4("tls", "{sniHosts: [B.test]}"), names))
    made = listeners(build, *texts)
    path = tmp_path_factory.mktemp("gateway") / "envoy.json"
    path.write_text(json.dumps(_bootstrap(made.values())))
    command = [programs.envoy(), "--mode", "validate", "-c", str(path), "-l", "error"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def _bootstrap(items: Any) -> Any:
    """A configuration with these listeners, and the cluster that theirs comes from."""
    where = {"endpoint": {"address": {"pipe": {"path": "/nowhere"}}}}
    assignment = {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [where]}]}
    plain = [{key: value for key, value in item.items() if key != "@type"} for item in items]
    clusters = [{"name": "xds-grpc", "load_assignment": assignment}]
    return {
        "node": {"id": "edge", "cluster": "edge"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            }
        },
        "static_resources": {"listeners": plain, "clusters": clusters},
    }
