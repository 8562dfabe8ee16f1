"""Where hosts of clusters come from, and what callers get to know of each."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
from callers import CALLEE, NO_MTLS, PLAIN, addresses, entry, rule, view_of

from harness.localmesh.xds import model
from harness.localmesh.xds.clusters import clusters, dns_cache
from harness.localmesh.xds.endpoints import endpoints
from harness.localmesh.xds.view import Views


@pytest.fixture
def seen(build):
    """What a pod of `app: client` gets: the view, by objects in YAML, Services and more of a mesh."""
    return functools.partial(view_of, build)


def test_a_subset_has_its_own_name_endpoints_and_metadata(seen, build):
    """Its pods alone, its SNI, and the rule it comes from."""
    pods = [build.workload("callee", f"127.9.0.{n}", f"127.9.1.{n}", version=f"v{n}") for n in (2, 3)]
    view = seen(
        rule("{loadBalancer: {simple: RANDOM}}", "[{name: two, labels: {version: v2}}]"), workloads=pods
    )
    name = f"outbound|8080|two|{CALLEE}"
    istio = clusters(view)[name]["metadata"]["filter_metadata"]["istio"]
    config = "/apis/networking.istio.io/v1/namespaces/default/destination-rule/callee"
    assert (istio["subset"], istio["config"]) == ("two", config)
    assert addresses(endpoints(view)[name]) == ["127.9.0.2"]
    assert addresses(endpoints(view)[PLAIN]) == ["127.9.0.2", "127.9.0.3"]


def test_pods_that_are_not_ready_are_sent_as_unhealthy_and_terminating_ones_not_at_all(seen, build):
    """So Envoy knows how much of a locality is healthy; `minHealthPercent` leaves them out."""
    pods = [
        build.workload("callee", "127.9.0.2", "127.9.1.2"),
        build.workload("callee", "127.9.0.3", "127.9.1.3", ready=False),
        build.workload("callee", "127.9.0.4", "127.9.1.4", terminating=True, ready=False),
    ]
    hosts = endpoints(seen(workloads=pods))[PLAIN]["endpoints"][0]["lb_endpoints"]
    assert [host["health_status"] for host in hosts] == ["HEALTHY", "UNHEALTHY"]
    careful = endpoints(seen(rule("{outlierDetection: {minHealthPercent: 50}}"), workloads=pods))
    assert addresses(careful[PLAIN]) == ["127.9.0.2"]


def test_only_endpoints_with_a_sidecar_are_marked_for_mtls(seen, build):
    """Those without take plaintext; a rule's ISTIO_MUTUAL marks all sidecars, its other modes none."""
    pods = [build.workload("callee", "127.9.0.2", "127.9.1.2"), build.workload("callee", "127.9.0.3")]

    def marked(*texts):
        hosts = endpoints(seen(*texts, workloads=pods))[PLAIN]["endpoints"][0]["lb_endpoints"]
        return ["envoy.transport_socket_match" in host["metadata"]["filter_metadata"] for host in hosts]

    assert marked() == [True, False]
    assert marked(NO_MTLS) == [False, False]
    assert marked(NO_MTLS, rule("{tls: {mode: ISTIO_MUTUAL}}")) == [True, False]
    assert marked(rule("{tls: {mode: SIMPLE}}")) == [False, False]


def test_each_caller_prefers_its_own_locality(seen, build):
    """With outlier detection the nearest come first; callers of one place share the result."""
    pods = [
        build.workload("callee", f"127.9.0.{n}", f"127.9.1.{n}", locality=model.Locality.read(where))
        for n, where in ((2, "r1/z1"), (3, "r1/z2"), (4, "r2/z1"))
    ]

    def priorities(where):
        made = endpoints(seen(rule("{outlierDetection: {interval: 1s}}"), workloads=pods, locality=where))[
            PLAIN
        ]
        return [group.get("priority", 0) for group in made["endpoints"]]

    assert (priorities("r1/z2"), priorities("r2/z1"), priorities("r9")) == ([1, 0, 2], [1, 1, 0], [0, 0, 0])


def test_a_headless_service_is_balanced_and_has_mtls_when_all_its_pods_have_it(seen, build):
    """By EDS; one pod without a sidecar makes all of it plaintext."""
    service = build.service("callee", addresses=(), resolution="PASSTHROUGH")
    pods = [build.workload("callee", "127.9.0.2", "127.9.1.2"), build.workload("callee", "127.9.0.3")]
    mixed, all_of_them = (clusters(seen(services=(service,), workloads=pods[:n]))[PLAIN] for n in (2, 1))
    assert mixed["type"] == "EDS"
    assert "transport_socket_matches" in all_of_them
    assert "transport_socket_matches" not in mixed


def test_a_service_resolved_by_dns_has_its_hosts_in_the_cluster(seen):
    """With istiod's settings of the lookup, its weight and localities; outside the mesh there is no mTLS."""
    more = "endpoints: [{address: a.b, weight: 3, locality: r1/z1, labels: {v: a}}, {address: c.d, labels: {v: c}}]"
    text = rule(
        "{tls: {mode: DISABLE}}", "[{name: a, labels: {v: a}}, {name: x, labels: {v: x}}]", "ext.example.com"
    )
    view = seen(entry("DNS", more), text, services=())
    made = clusters(view)
    assert [name for name in made if name.startswith("outbound")] == [
        f"outbound|80|{subset}|ext.example.com" for subset in ("", "a")
    ]
    cluster = made["outbound|80||ext.example.com"]
    config = dict(cluster["cluster_type"]["typed_config"])
    assert cluster["cluster_type"]["name"] == "envoy.clusters.dns"
    assert (config["dns_refresh_rate"], config["dns_jitter"], config["respect_dns_ttl"]) == (
        "60s",
        "0.1s",
        True,
    )
    assert "all_addresses_in_single_endpoint" not in config
    assert addresses(cluster["load_assignment"]) == ["c.d", "a.b"]
    assert [group["load_balancing_weight"] for group in cluster["load_assignment"]["endpoints"]] == [1, 3]
    assert cluster["metadata"]["filter_metadata"]["istio"]["external"] is True
    assert endpoints(view) == {}


def test_dns_round_robin_uses_one_host_at_a_time(seen):
    """All answers are addresses of one host."""
    cluster = clusters(seen(entry("DNS_ROUND_ROBIN"), services=()))["outbound|80||ext.example.com"]
    assert cluster["cluster_type"]["typed_config"]["all_addresses_in_single_endpoint"] is True
    assert addresses(cluster["load_assignment"]) == ["ext.example.com"]


@pytest.mark.parametrize(
    ("host", "port", "more", "expected"),
    [
        ("ext.example.com", "{number: 80, name: http, protocol: HTTP}", "", "by request"),
        ("*.example.com", "{number: 443, name: tls, protocol: TLS}", "", "by request"),
        ("ext.example.com", "{number: 443, name: tls, protocol: TLS}", "", ("ext.example.com", 443)),
        (
            "ext.example.com",
            "{number: 90, name: tcp, protocol: TCP}",
            "addresses: [10.1.2.3]",
            ("10.1.2.3", 90),
        ),
        (
            "ext.example.com",
            "{number: 80, name: http, protocol: HTTP, targetPort: 81}",
            "",
            ("ext.example.com", 81),
        ),
    ],
)
def test_a_service_without_resolution_goes_where_the_client_means(seen, host, port, more, expected):
    """The host of each request, or for what has none the address or the host of the ServiceEntry."""
    view = seen(entry("NONE", more, f"[{port}]", host), services=())
    [cluster] = [item for name, item in clusters(view).items() if name.startswith("outbound")]
    if expected == "by request":
        assert cluster["lb_policy"] == "CLUSTER_PROVIDED"
        assert cluster["cluster_type"]["typed_config"]["dns_cache_config"] == dns_cache()
    else:
        [group] = cluster["load_assignment"]["endpoints"]
        where = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert (where["address"], where["port_value"]) == expected


def test_a_gateway_takes_the_endpoints_of_a_service_without_resolution(seen):
    """It has no address of the client's to keep, so without endpoints there is nobody."""
    view = seen(entry("NONE"), services=(), gateway=True)
    assert clusters(view)["outbound|80||ext.example.com"]["type"] == "EDS"
    assert endpoints(view)["outbound|80||ext.example.com"]["endpoints"] == []


def test_callers_alike_share_results_and_a_change_concerns_its_service_alone(build):
    """What one change does not concern is the very same object before and after it, for every caller."""
    services = (build.service("a"), build.service("b"))
    pods = tuple(build.workload(name, f"127.9.0.{n}", f"127.9.1.{n}") for n, name in enumerate("abcd", 1))
    mesh = model.Mesh(services=services, workloads=pods)
    before = Views(mesh)
    one, other = (before.of(model.Proxy(pod, {}, pod.ip)) for pod in pods[2:])
    name_a, name_b = (f"outbound|8080||{name}.default.svc.cluster.local" for name in "ab")
    assert clusters(one)[name_a] is clusters(other)[name_a]
    assert endpoints(one)[name_a] is endpoints(other)[name_a]
    changed = (replace(pods[0], ready=False), *pods[1:])
    after = Views(replace(mesh, workloads=changed), before.memo).of(one.proxy)
    assert endpoints(after)[name_b] is endpoints(one)[name_b]
    assert endpoints(after)[name_a] != endpoints(one)[name_a]
    assert all(item is clusters(one)[name] for name, item in clusters(after).items())


def test_the_ports_of_several_service_entries_for_one_host_go_by_name(seen):
    """Endpoints of both are behind a port, also where its number is another in the other one."""
    texts = [
        entry("STATIC", f"endpoints: [{{address: 10.9.9.{number}}}]", f"[{{number: {number}, name: http}}]")
        for number in (80, 81)
    ]
    view = seen(texts[0], texts[1].replace("name: ext", "name: more"), services=())
    assert addresses(endpoints(view)["outbound|80||ext.example.com"]) == ["10.9.9.80", "10.9.9.81"]


def test_the_hosts_of_several_service_entries_resolved_by_dns_go_by_the_ports_number(seen):
    """Another number is another port, whatever its name."""
    texts = [
        entry("DNS", f"endpoints: [{{address: a{number}.b}}]", f"[{{number: {number}, name: http}}]")
        for number in (80, 81)
    ]
    made = clusters(seen(texts[0], texts[1].replace("name: ext", "name: more"), services=()))
    assert addresses(made["outbound|80||ext.example.com"]["load_assignment"]) == ["a80.b"]


def test_dns_round_robin_takes_the_first_of_several_hosts(seen):
    """Envoy takes no second one for such a cluster."""
    one, other = (entry("DNS_ROUND_ROBIN", f"endpoints: [{{address: {name}.b}}]") for name in "ac")
    view = seen(one, other.replace("name: ext", "name: more"), services=())
    assert addresses(clusters(view)["outbound|80||ext.example.com"]["load_assignment"]) == ["a.b"]


WORKLOAD_ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: default}
spec: {address: 10.9.9.9, labels: {app: callee}}
"""


def test_a_service_selects_workload_entries_unless_it_is_headless(seen, build):
    """They stand beside the pods."""
    headless = build.service("callee", addresses=(), resolution="PASSTHROUGH")
    pods = [build.workload("callee", "127.9.0.2", "127.9.1.2")]
    for services, expected in ((None, ["10.9.9.9", "127.9.0.2"]), ((headless,), ["127.9.0.2"])):
        view = seen(WORKLOAD_ENTRY, services=services, workloads=pods)
        assert sorted(addresses(endpoints(view)[PLAIN])) == expected


def test_a_service_entry_selects_pods_once_they_are_ready(seen, build):
    """Others are not sent at all, unlike those of a Kubernetes Service; a container's port goes by its name."""
    pods = [build.workload("vm", f"127.9.0.{n}", f"127.9.1.{n}", ready=n == 2) for n in (2, 3)]
    view = seen(entry("STATIC", "workloadSelector: {labels: {app: vm}}"), services=(), workloads=pods)
    found = endpoints(view)["outbound|80||ext.example.com"]
    assert addresses(found) == ["127.9.0.2"]
    [host] = found["endpoints"][0]["lb_endpoints"]
    assert host["endpoint"]["address"]["socket_address"]["port_value"] == 8080
