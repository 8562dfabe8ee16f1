"""Clusters, field by field as istiod has them: pools, balancing, ejection, and those without a Service."""

from __future__ import annotations

import functools

import pytest
from callers import CALLEE, PLAIN, UNLIMITED, addresses, options, rule, view_of

from harness.localmesh.xds import model
from harness.localmesh.xds.clusters import clusters, dns_cache


@pytest.fixture
def seen(build):
    """What a pod of `app: client` gets: the view, by objects in YAML, Services and more of a mesh."""
    return functools.partial(view_of, build)


def test_the_order_is_istiods(seen, build):
    """Outbound by Service, port and subset, then those for the unknown, then inbound; a gateway has no inbound."""
    ports = tuple(model.ServicePort(name, port, 8080, name) for name, port in (("http", 80), ("grpc", 90)))
    services = (build.service("callee", ports=ports), build.service("other"))
    text = rule("{loadBalancer: {simple: RANDOM}}", "[{name: v1, labels: {version: v1}}]")
    outbound = [
        *(f"outbound|{port}|{subset}|{CALLEE}" for port in (80, 90) for subset in ("", "v1")),
        "outbound|8080||other.default.svc.cluster.local",
    ]
    made = clusters(seen(text, services=services))
    assert list(made) == [*outbound, "BlackHoleCluster", "PassthroughCluster", "inbound|8080||"]
    assert list(clusters(seen(text, services=services, gateway=True))) == [*outbound, "BlackHoleCluster"]


def test_without_a_rule_nothing_is_limited_and_panic_is_off(seen):
    """Istio's defaults: least request, all thresholds at their maximum, 10 s to connect."""
    cluster = clusters(seen())[PLAIN]
    assert cluster["type"] == "EDS"
    assert cluster["eds_cluster_config"]["service_name"] == PLAIN
    assert (cluster["lb_policy"], cluster["connect_timeout"]) == ("LEAST_REQUEST", "10s")
    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {}}
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    assert cluster["circuit_breakers"] == {"thresholds": [dict.fromkeys(names, UNLIMITED)]}
    assert "typed_extension_protocol_options" not in cluster
    assert "outlier_detection" not in cluster
    service = {"host": CALLEE, "name": "callee", "namespace": "default"}
    assert cluster["metadata"]["filter_metadata"]["istio"] == {"services": [service]}


def test_the_pool_is_limited_as_asked(seen):
    """Every field of connectionPool and retryBudget has its place; keepalive is in whole seconds."""
    policy = """
    connectionPool:
      tcp:
        maxConnections: 1
        connectTimeout: 30ms
        tcpKeepalive: {probes: 3, time: 7200s, interval: 1500ms}
        maxConnectionDuration: 1h
        idleTimeout: 10s
      http:
        http1MaxPendingRequests: 2
        http2MaxRequests: 3
        maxRequestsPerConnection: 4
        maxRetries: 5
        idleTimeout: 20s
        h2UpgradePolicy: UPGRADE
        maxConcurrentStreams: 6
    retryBudget: {percent: 25.5}
    """
    cluster = clusters(seen(rule("\n" + policy)))[PLAIN]
    assert cluster["connect_timeout"] == "0.03s"
    assert cluster["upstream_connection_options"] == {
        "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 7200, "keepalive_interval": 1}
    }
    assert cluster["circuit_breakers"]["thresholds"] == [
        {
            "max_connections": 1,
            "max_pending_requests": 2,
            "max_requests": 3,
            "max_retries": 5,
            "retry_budget": {"budget_percent": {"value": 25.5}, "min_retry_concurrency": 3},
        }
    ]
    assert options(cluster) == {
        "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 6}},
        "common_http_protocol_options": {
            "idle_timeout": "20s",
            "max_requests_per_connection": 4,
            "max_connection_duration": "3600s",
        },
    }


H1 = {"explicit_http_config": {"http_protocol_options": {}}}
H2 = {"explicit_http_config": {"http2_protocol_options": {}}}
CLIENTS = {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}


@pytest.mark.parametrize(
    ("protocol", "http", "gateway", "expected"),
    [
        ("http", "{maxRetries: 1}", False, None),
        ("grpc", "{maxRetries: 1}", False, H2),
        ("http2", "{maxRetries: 1}", True, H2),
        ("", "{maxRetries: 1}", False, CLIENTS),
        ("", "{maxRetries: 1}", True, None),
        ("http", "{h2UpgradePolicy: UPGRADE}", False, H2),
        ("", "{h2UpgradePolicy: UPGRADE}", False, CLIENTS),
        ("http", "{h2UpgradePolicy: DO_NOT_UPGRADE}", False, None),
        ("http", "{useClientProtocol: true}", False, CLIENTS),
        ("grpc", "{useClientProtocol: true}", False, CLIENTS),
        ("http", "{idleTimeout: 1s}", False, {**H1, "common_http_protocol_options": {"idle_timeout": "1s"}}),
    ],
)
def test_the_protocol_is_the_ports_unless_a_rule_says_otherwise(
    seen, build, *, protocol, http, gateway, expected
):
    """HTTP/2 for HTTP/2 and gRPC, the client's own for undeclared ports of sidecars, else HTTP/1."""
    services = (build.service("callee", ports=(model.ServicePort("p", 8080, 8080, protocol),)),)
    view = seen(rule(f"{{connectionPool: {{http: {http}}}}}"), services=services, gateway=gateway)
    cluster = clusters(view)[PLAIN]
    assert (options(cluster) if "typed_extension_protocol_options" in cluster else None) == expected


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        ("{simple: ROUND_ROBIN}", {"lb_policy": "ROUND_ROBIN"}),
        ("{simple: LEAST_CONN}", {"lb_policy": "LEAST_REQUEST"}),
        ("{simple: PASSTHROUGH}", {"lb_policy": "RANDOM"}),
        (
            "{consistentHash: {httpHeaderName: x}}",
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}},
        ),
        (
            "{consistentHash: {httpHeaderName: x, minimumRingSize: 8}}",
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 8}},
        ),
        ("{consistentHash: {useSourceIp: true, ringHash: {}}}", {"lb_policy": "RING_HASH"}),
        (
            "{consistentHash: {useSourceIp: true, maglev: {tableSize: 101}}}",
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 101}},
        ),
        (
            "{simple: ROUND_ROBIN, warmupDurationSecs: 30s}",
            {
                "lb_policy": "ROUND_ROBIN",
                "round_robin_lb_config": {"slow_start_config": {"slow_start_window": "30s"}},
            },
        ),
        (
            "{warmup: {duration: 30s, aggression: 2}}",
            {
                "lb_policy": "LEAST_REQUEST",
                "least_request_lb_config": {
                    "slow_start_config": {
                        "slow_start_window": "30s",
                        "aggression": {"default_value": 2.0, "runtime_key": "("},
                        "min_weight_percent": {"value": 10.0},
                    }
                },
            },
        ),
    ],
)
def test_hosts_are_chosen_as_asked(seen, balancer, expected):
    """Each algorithm with its settings and nothing of another's."""
    cluster = clusters(seen(rule(f"{{loadBalancer: {balancer}}}")))[PLAIN]
    assert {
        key: value for key, value in cluster.items() if "lb_" in key and key != "common_lb_config"
    } == expected


@pytest.mark.parametrize(
    ("policy", "weighted"),
    [
        ("{outlierDetection: {interval: 1s}}", False),
        ("{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}", False),
        (
            "{outlierDetection: {interval: 1s}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}",
            True,
        ),
        ("{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}}}", True),
        (
            "{loadBalancer: {localityLbSetting: {enabled: false, distribute: [{from: a, to: {b: 100}}]}}}",
            False,
        ),
    ],
)
def test_localities_are_weighted_only_where_a_rule_speaks_of_them(seen, policy, weighted):
    """By distribution, or by failover with outlier detection; never by default."""
    cluster = clusters(seen(rule(policy)))[PLAIN]
    assert ("locality_weighted_lb_config" in cluster["common_lb_config"]) == weighted


def test_hosts_are_ejected_as_asked(seen):
    """Consecutive errors eject, 0 of them switches a detector off, and the success rate never ejects."""
    policy = """
    outlierDetection:
      consecutive5xxErrors: 3
      consecutiveGatewayErrors: 0
      splitExternalLocalOriginErrors: true
      consecutiveLocalOriginFailures: 4
      interval: 1s
      baseEjectionTime: 2s
      maxEjectionPercent: 100
      minHealthPercent: 40
    """
    cluster = clusters(seen(rule("\n" + policy)))[PLAIN]
    assert cluster["outlier_detection"] == {
        "consecutive_5xx": 3,
        "enforcing_consecutive_5xx": 100,
        "enforcing_success_rate": 0,
        "consecutive_gateway_failure": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "split_external_local_origin_errors": True,
        "enforcing_local_origin_success_rate": 0,
        "consecutive_local_origin_failure": 4,
        "enforcing_consecutive_local_origin_failure": 100,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_percent": 100,
    }
    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 40}}
    off = clusters(seen(rule("{outlierDetection: {consecutive5xxErrors: 0}}")))[PLAIN]["outlier_detection"]
    assert off == {"consecutive_5xx": 0, "enforcing_consecutive_5xx": 0, "enforcing_success_rate": 0}


def test_the_inbound_cluster_is_the_program_with_the_pool_of_the_services_rule(seen, build):
    """Only the pool of the Service's rule counts, of its port too; each port of the program has one."""
    service = build.service(
        "me", selector={"app": "client"}, ports=(model.ServicePort("grpc", 80, 8080, "grpc"),)
    )
    policy = """
    loadBalancer: {simple: RANDOM}
    portLevelSettings:
    - {port: {number: 80}, connectionPool: {tcp: {maxConnections: 7}}}
    """
    view = seen(rule("\n" + policy, host="me"), services=(service,))
    cluster = clusters(view)["inbound|8080||"]
    assert cluster["type"] == "STATIC"
    assert addresses(cluster["load_assignment"]) == ["127.9.1.1"]
    assert cluster["circuit_breakers"]["thresholds"][0]["max_connections"] == 7
    assert "lb_policy" not in cluster
    assert options(cluster) == H2
    istio = cluster["metadata"]["filter_metadata"]["istio"]
    assert [item["name"] for item in istio["services"]] == ["me"]
    assert istio["config"].endswith("/destination-rule/callee")


def test_a_port_that_no_service_leads_to_speaks_the_clients_protocol(seen):
    """As istiod's InboundPassthroughCluster, in whose place it is."""
    cluster = clusters(seen(services=()))["inbound|8080||"]
    assert "metadata" not in cluster
    assert options(cluster) == {**CLIENTS, "common_http_protocol_options": {"idle_timeout": "300s"}}


def test_unknown_hosts_are_looked_up_and_refused_ones_go_nowhere(seen):
    """PassthroughCluster by the request's host, BlackHoleCluster without any host."""
    made = clusters(seen())
    through, hole = made["PassthroughCluster"], made["BlackHoleCluster"]
    assert through["cluster_type"]["typed_config"]["dns_cache_config"] == dns_cache()
    assert through["circuit_breakers"]["thresholds"][0]["max_connections"] == UNLIMITED
    assert (hole["type"], "load_assignment" in hole) == ("STATIC", False)


def test_an_inbound_cluster_names_the_services_that_share_its_port(seen, build):
    """Those whose own port is the first one's; another Service may lead to the same program by another port."""
    services = tuple(
        build.service(
            name, selector={"app": "client"}, ports=(model.ServicePort("http", port, 8080, "http"),)
        )
        for name, port in (("a", 80), ("b", 80), ("c", 81))
    )
    istio = clusters(seen(services=services))["inbound|8080||"]["metadata"]["filter_metadata"]["istio"]
    assert [item["name"] for item in istio["services"]] == ["a", "b"]
