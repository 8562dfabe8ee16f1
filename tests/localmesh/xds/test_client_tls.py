"""TLS towards others: auto mTLS, and what DestinationRules ask for."""

from __future__ import annotations

import functools

import pytest
from callers import CALLEE, NO_MTLS, PLAIN, context, entry, options, rule, view_of

from harness.localmesh.xds import model
from harness.localmesh.xds.clusters import clusters


@pytest.fixture
def seen(build):
    """What a pod of `app: client` gets: the view, by objects in YAML, Services and more of a mesh."""
    return functools.partial(view_of, build)


def test_auto_mtls_is_chosen_by_endpoint_and_names_the_identities(seen, build):
    """MTLS where an endpoint has a sidecar; the certificate must be that of one of the Service's accounts."""
    pods = [
        build.workload("callee", f"127.9.0.{n}", f"127.9.1.{n}", service_account=f"sa{n}") for n in (3, 2)
    ]
    cluster = clusters(seen(workloads=pods))[PLAIN]
    mutual, plain = cluster["transport_socket_matches"]
    assert (mutual["name"], mutual["match"]) == ("tlsMode-istio", {"tlsMode": "istio"})
    assert (plain["name"], plain["match"]) == ("tlsMode-disabled", {})
    tls = mutual["transport_socket"]["typed_config"]
    assert tls["sni"] == f"outbound_.8080_._.{CALLEE}"
    common = tls["common_tls_context"]
    assert common["alpn_protocols"] == ["istio"]
    names = common["combined_validation_context"]["default_validation_context"][
        "match_typed_subject_alt_names"
    ]
    assert names == [
        {"san_type": "URI", "matcher": {"exact": f"spiffe://cluster.local/ns/default/sa/sa{n}"}}
        for n in (2, 3)
    ]


def _accounts(cluster):
    mutual = cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"]
    context = mutual["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    names = [item["matcher"]["exact"] for item in context["match_typed_subject_alt_names"]]
    return {name.removeprefix("spiffe://cluster.local/ns/default/sa/") for name in names}


def test_the_identities_are_those_behind_every_port_also_one_that_the_sidecar_leaves_out(seen, build):
    """They are the Service's, whatever the caller sees of it."""
    service = build.service(
        "callee",
        ports=(
            model.ServicePort("http", 8080, "http", "http"),
            model.ServicePort("grpc", 7070, "grpc", "grpc"),
        ),
    )
    pods = [
        build.workload("callee", "127.9.0.2", "127.9.1.2", service_account="web"),
        build.workload(
            "callee", "127.9.0.3", "127.9.1.3", version="v2", service_account="rpc", ports=(("grpc", 7070),)
        ),
    ]
    sidecar = """
    kind: Sidecar
    metadata: {name: default, namespace: default}
    spec: {egress: [{hosts: ["./*"], port: {name: http, number: 8080, protocol: HTTP}}]}
    """
    made = clusters(seen(sidecar, services=(service,), workloads=pods))
    assert f"outbound|7070||{CALLEE}" not in made
    assert _accounts(made[PLAIN]) == {"web", "rpc"}


@pytest.mark.parametrize(
    ("created", "names"), [("2026-01-02T00:00:00Z", {"given"}), ("2025-01-01T00:00:00Z", set())]
)
def test_a_service_entry_for_the_host_of_a_service_adds_its_identities(seen, build, created, names):
    """Those of its endpoints always; the names it gives only when it is the younger of the two."""
    text = f"""
    kind: ServiceEntry
    metadata: {{name: callee, namespace: default, creationTimestamp: "{created}"}}
    spec:
      hosts: [{CALLEE}]
      resolution: STATIC
      subjectAltNames: ["spiffe://cluster.local/ns/default/sa/given"]
      ports: [{{number: 9000, name: http-web, protocol: HTTP}}]
      endpoints: [{{address: 127.9.1.9, serviceAccount: vm}}]
    """
    pods = [build.workload("callee", "127.9.0.2", "127.9.1.2", service_account="web")]
    assert _accounts(clusters(seen(text, workloads=pods))[PLAIN]) == {"web", "vm"} | names


@pytest.mark.parametrize(
    ("texts", "settings"),
    [
        ((NO_MTLS,), {}),
        ((), {"config": model.MeshConfig(auto_mtls=False)}),
        ((rule("{tls: {mode: DISABLE}}"),), {}),
    ],
)
def test_there_is_no_mtls_where_it_is_off(seen, texts, settings):
    """Off for the namespace, for the whole mesh, or by the rule."""
    cluster = clusters(seen(*texts, **settings))[PLAIN]
    assert "transport_socket" not in cluster
    assert "transport_socket_matches" not in cluster


def test_a_rules_mutual_tls_of_the_mesh_is_for_every_endpoint(seen, build):
    """No choice by endpoint; SNI and names as given, else as with auto mTLS."""
    pods = [build.workload("callee", "127.9.0.2", "127.9.1.2")]
    tls = context(clusters(seen(rule("{tls: {mode: ISTIO_MUTUAL}}"), workloads=pods))[PLAIN])
    assert tls["sni"] == f"outbound_.8080_._.{CALLEE}"
    own = context(
        clusters(
            seen(rule("{tls: {mode: ISTIO_MUTUAL, sni: my.sni, subjectAltNames: [a.b]}}"), workloads=pods)
        )[PLAIN]
    )
    validation = own["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    kinds = [item["san_type"] for item in validation["match_typed_subject_alt_names"]]
    assert (own["sni"], kinds) == ("my.sni", ["DNS", "EMAIL", "IP_ADDRESS"])


def test_tls_is_originated_with_the_systems_authorities(seen):
    """Without sni and names the request's host is both; the metadata tells our peer no ALPN of the mesh."""
    cluster = clusters(seen(rule("{tls: {mode: SIMPLE}}")))[PLAIN]
    common = context(cluster)["common_tls_context"]
    roots = common["combined_validation_context"]["validation_context_sds_secret_config"]
    assert roots["name"] == "file-root:system"
    assert "initial_fetch_timeout" not in roots["sds_config"]
    assert "sni" not in context(cluster)
    assert options(cluster)["upstream_http_protocol_options"] == {
        "auto_sni": True,
        "auto_san_validation": True,
    }
    assert cluster["metadata"]["filter_metadata"]["istio"]["alpn_override"] == "false"
    skipping = clusters(seen(rule("{tls: {mode: SIMPLE, sni: x.y, insecureSkipVerify: true}}")))[PLAIN]
    assert context(skipping)["common_tls_context"]["validation_context"] == {}
    assert context(skipping)["sni"] == "x.y"
    assert "typed_extension_protocol_options" not in skipping


def test_credentials_go_to_gateways_and_to_the_workloads_a_rule_selects(seen):
    """Other sidecars get no TLS at all by such a rule, as with istiod."""
    tls = "{tls: {mode: MUTUAL, credentialName: cert}}"
    select = "workloadSelector: {matchLabels: {app: client}}"
    withheld = clusters(seen(rule(tls)))[PLAIN]
    assert "transport_socket" not in withheld
    assert "transport_socket_matches" not in withheld
    for view in (seen(rule(tls), gateway=True), seen(rule(tls, more=select))):
        common = context(clusters(view)[PLAIN])["common_tls_context"]
        assert [item["name"] for item in common["tls_certificate_sds_secret_configs"]] == [
            "kubernetes://cert"
        ]
        authority = common["combined_validation_context"]["validation_context_sds_secret_config"]
        assert authority["name"] == "kubernetes://cert-cacert"


def test_the_proxy_protocol_wraps_every_socket(seen):
    """Both sockets of auto mTLS, the socket of a rule, or plaintext."""
    kind = "envoy.transport_sockets.upstream_proxy_protocol"
    auto = clusters(seen(rule("{proxyProtocol: {version: V2}}")))[PLAIN]
    assert {item["transport_socket"]["name"] for item in auto["transport_socket_matches"]} == {kind}
    plain = clusters(seen(rule("{proxyProtocol: {version: V1}, tls: {mode: DISABLE}}")))[PLAIN]
    inner = plain["transport_socket"]["typed_config"]["transport_socket"]["name"]
    assert (plain["transport_socket"]["name"], inner) == (kind, "raw_buffer")


def test_the_names_of_a_service_entry_must_be_in_the_certificate(seen):
    """`subjectAltNames` hold for mTLS of the mesh, and for TLS where the rule has none of its own."""
    more = """
  location: MESH_INTERNAL
  subjectAltNames: [spiffe://x]
  endpoints: [{address: 10.9.9.9, serviceAccount: q}]
"""
    view = seen(entry("STATIC", more), rule("{tls: {mode: SIMPLE}}", host="ext.example.com"), services=())
    common = context(clusters(view)["outbound|80||ext.example.com"])["common_tls_context"]
    names = common["combined_validation_context"]["default_validation_context"][
        "match_typed_subject_alt_names"
    ]
    exact = [item["matcher"]["exact"] for item in names]
    assert exact == ["spiffe://cluster.local/ns/default/sa/q", "spiffe://x"]
