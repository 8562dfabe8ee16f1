"""The outbound route tables: who is a virtual host, under which names, and what becomes of everybody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onlooker import changed, client, port, view

from harness.localmesh.xds import model
from harness.localmesh.xds.view import Views
from harness.localmesh.xds.virtualhosts import outbound_routes, port_routes

RULE = """
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  http: [{{name: {name}, route: [{{destination: {{host: "{to}"}}}}]}}]
"""


def _rule(name, hosts, to="reviews", namespace="default"):
    return RULE.format(name=name, hosts=hosts, to=to, namespace=namespace)


def _hosts(table):
    """Domains and names of the first routes by virtual host, without the last one, which is for all others."""
    return {
        host["name"]: (host["domains"], host["routes"][0].get("name")) for host in table["virtual_hosts"][:-1]
    }


def _names(table):
    return list(_hosts(table))


def _proxy(seen):
    return outbound_routes(seen)["http_proxy"]


def test_a_service_is_called_by_all_its_names(build):
    """By full name (with and without a final dot), short names as far as its namespace is the caller's, and address."""
    services = (build.service("a"), build.service("b", "10.0.0.2", namespace="other"))
    table = port_routes(view(build, services), 8080)
    assert _hosts(table) == {
        "a.default.svc.cluster.local:8080": (
            [
                "a.default.svc.cluster.local",
                "a.default.svc.cluster.local.",
                "a",
                "a.default.svc",
                "a.default",
                "10.0.0.1",
            ],
            "default",
        ),
        "b.other.svc.cluster.local:8080": (
            [
                "b.other.svc.cluster.local",
                "b.other.svc.cluster.local.",
                "b.other",
                "b.other.svc",
                "10.0.0.2",
            ],
            "default",
        ),
    }
    assert table["name"] == "8080"
    assert table["ignore_port_in_host_matching"] is True


def test_the_explicit_proxy_tells_ports_apart_by_the_host(build):
    """Each domain has the port behind it; for port 80, which URLs leave out, it stands alone too."""
    services = (build.service("a", ports=(port(80), port(9080, "grpc"), port(7000, "tcp"))),)
    table = _proxy(view(build, services))
    hosts = _hosts(table)
    assert list(hosts) == ["a.default.svc.cluster.local:80", "a.default.svc.cluster.local:9080"]
    assert {"a", "a:80", "10.0.0.1", "10.0.0.1:80"} <= set(hosts["a.default.svc.cluster.local:80"][0])
    assert all(domain.endswith(":9080") for domain in hosts["a.default.svc.cluster.local:9080"][0])
    assert "ignore_port_in_host_matching" not in table


def test_a_headless_service_is_called_by_the_names_of_its_pods_too(build):
    """Every name of it takes one more label in front; it has no address."""
    headless = build.service("db", addresses=(), resolution="PASSTHROUGH")
    ((domains, _),) = _hosts(port_routes(view(build, (headless,)), 8080)).values()
    assert domains[5:] == [f"*.{name}" for name in domains[:5]]


def test_a_service_entry_has_no_short_names(build):
    """Its hosts and a wildcard among them stand as written, with its address."""
    entry = """
    kind: ServiceEntry
    metadata: {name: ext}
    spec:
      hosts: ["*.example.com", www.example.org]
      ports: [{name: http, number: 80, protocol: HTTP}]
      resolution: NONE
    """
    assert {name: item[0] for name, item in _hosts(port_routes(view(build, (), entry), 80)).items()} == {
        "*.example.com:80": ["*.example.com", "*.example.com."],
        "www.example.org:80": ["www.example.org", "www.example.org."],
    }


def test_unknown_hosts_pass_or_are_refused(build):
    """ALLOW_ANY lets them through; REGISTRY_ONLY answers 502. The virtual host is the last and takes all domains."""
    *_, last = _proxy(view(build, ()))["virtual_hosts"]
    assert (last["name"], last["domains"]) == ("allow_any", ["*"])
    assert last["routes"][-1]["route"] == {"cluster": "PassthroughCluster", "timeout": "0s"}
    config = model.MeshConfig(outbound_mode="REGISTRY_ONLY")
    *_, last = port_routes(view(build, (), config=config), 80)["virtual_hosts"]
    assert (last["name"], last["domains"]) == ("block_all", ["*"])
    assert last["routes"][0]["direct_response"] == {"status": 502}


def test_a_proxy_passes_nothing_to_itself(build):
    """A request for its own address and port would come round without end; it is answered 502."""
    seen = view(build, ())
    *_, last = _proxy(seen)["virtual_hosts"]
    first = last["routes"][0]
    own = {"name": ":authority", "string_match": {"exact": f"{seen.workload.ip}:15001"}}
    assert first["match"]["headers"] == [own]
    assert first["direct_response"] == {"status": 502}


def test_a_virtual_service_takes_the_place_of_its_services_routes(build):
    """At every HTTP port of theirs; a port that it has no route for keeps the Service's own."""
    rule = """
    kind: VirtualService
    metadata: {name: r}
    spec:
      hosts: [a]
      http: [{name: ruled, match: [{port: 8080}], route: [{destination: {host: a}}]}]
    """
    services = (build.service("a", ports=(port(8080), port(9080))),)
    named = {name: item[1] for name, item in _hosts(_proxy(view(build, services, rule))).items()}
    assert named == {
        "a.default.svc.cluster.local:8080": "ruled",
        "a.default.svc.cluster.local:9080": "default",
    }


def test_hosts_that_are_no_services_are_served_at_80_and_wherever_the_others_are(build):
    """Istiod adds them to every port's table that the VirtualService is in."""
    services = (build.service("reviews"),)
    table = _proxy(
        view(build, services, _rule("r", "reviews, x.example.com"), _rule("alone", "y.example.com"))
    )
    assert {name: item[1] for name, item in _hosts(table).items()} == {
        "reviews.default.svc.cluster.local:80": "r",
        "reviews.default.svc.cluster.local:8080": "r",
        "x.example.com:80": "r",
        "x.example.com:8080": "r",
        "y.example.com:80": "alone",
    }
    assert _hosts(table)["y.example.com:80"][0] == ["y.example.com", "y.example.com:80"]


def test_the_oldest_virtual_service_of_a_host_counts(build):
    """The younger one serves its other hosts."""
    services = (build.service("reviews"), build.service("ratings"))
    made = port_routes(view(build, services, _rule("old", "reviews"), _rule("new", "reviews, ratings")), 8080)
    assert {name: item[1] for name, item in _hosts(made).items()} == {
        "ratings.default.svc.cluster.local:8080": "new",
        "reviews.default.svc.cluster.local:8080": "old",
    }


def test_of_wildcards_the_most_specific_one_counts(build):
    """Whatever their age; a name beats any wildcard, and a wildcard that covers no Service is a host of its own."""
    services = (build.service("a"), build.service("b"), build.service("c", namespace="other"))
    texts = [
        _rule("wide", '"*.svc.cluster.local"'),
        _rule("narrow", '"*.other.svc.cluster.local"'),
        _rule("exact", "b"),
        _rule("nobody", '"*.example.com"'),
    ]
    made = port_routes(view(build, services, *texts), 8080)
    assert {name: item[1] for name, item in _hosts(made).items()} == {
        "a.default.svc.cluster.local:8080": "wide",
        "b.default.svc.cluster.local:8080": "exact",
        "c.other.svc.cluster.local:8080": "narrow",
    }
    assert _hosts(port_routes(view(build, services, *texts), 80))["*.example.com:80"][1] == "nobody"


def test_a_service_beats_the_short_name_of_another(build):
    """A ServiceEntry for "a.default" keeps it; the Kubernetes Service of that short name does without."""
    entry = """
    kind: ServiceEntry
    metadata: {name: e}
    spec: {hosts: [a.default], ports: [{name: http, number: 8080, protocol: HTTP}], resolution: NONE}
    """
    hosts = _hosts(port_routes(view(build, (build.service("a"),), entry), 8080))
    assert hosts["a.default:8080"][0] == ["a.default", "a.default."]
    assert "a.default" not in hosts["a.default.svc.cluster.local:8080"][0]


def test_a_domain_is_taken_once(build):
    """Of two Services with one address the first keeps it, as Envoy refuses a domain that stands twice."""
    services = (build.service("a"), build.service("b"))
    hosts = _hosts(port_routes(view(build, services), 8080))
    assert "10.0.0.1" in hosts["a.default.svc.cluster.local:8080"][0]
    assert "10.0.0.1" not in hosts["b.default.svc.cluster.local:8080"][0]


def test_a_sidecar_decides_who_is_known_at_which_port(build):
    """An egress listener with a port speaks for that port alone; hosts that are not imported are unknown."""
    sidecar = """
    kind: Sidecar
    metadata: {name: s}
    spec:
      egress:
      - {port: {number: 9080, protocol: HTTP, name: http}, hosts: [./a.default.svc.cluster.local]}
      - hosts: [./b.default.svc.cluster.local]
      outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    """
    ports = (port(8080), port(9080))
    services = (build.service("a", ports=ports), build.service("b", "10.0.0.2", ports=ports))
    table = _proxy(view(build, services, sidecar))
    assert _names(table) == ["a.default.svc.cluster.local:9080", "b.default.svc.cluster.local:8080"]
    assert table["virtual_hosts"][-1]["name"] == "block_all"


@pytest.mark.parametrize(("number", "kind"), [(8080, "header"), (9080, "cookie"), (9090, "header")])
def test_requests_straight_to_a_service_are_hashed_as_its_port_says(build, number, kind):
    """The port's consistent hash, else the host's; retries go elsewhere all the same, as in istiod."""
    policy = """
    kind: DestinationRule
    metadata: {name: a}
    spec:
      host: a
      trafficPolicy:
        loadBalancer: {consistentHash: {httpHeaderName: x-user}}
        portLevelSettings:
        - {port: {number: 9080}, loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 1s}}}}
        - {port: {number: 9090}, loadBalancer: {simple: RANDOM}}
    """
    services = (build.service("a", ports=(port(8080), port(9080), port(9090))),)
    action = port_routes(view(build, services, policy), number)["virtual_hosts"][0]["routes"][0]["route"]
    assert [list(item) for item in action["hash_policy"]] == [[kind]]
    assert "retry_host_predicate" in action["retry_policy"]


def _touched(first, second):
    """The virtual hosts of two tables that are not the same objects."""
    pairs = zip(_proxy(first)["virtual_hosts"][:-1], _proxy(second)["virtual_hosts"][:-1], strict=True)
    return [one["name"].split(".")[0] for one, two in pairs if one is not two]


def test_one_change_touches_its_own_virtual_host_only(build):
    """All other virtual hosts stay the very same objects, and a second proxy of the namespace gets them too."""
    pod = client(build)
    services = tuple(build.service(f"s{number}", f"10.0.0.{number}") for number in range(9))
    rules = [_rule(f"r{number}", f"s{number}.default.svc.cluster.local") for number in (3, 4)]
    mesh = build.with_rules(model.Mesh(services=services, workloads=(pod,)), *rules)
    proxy, other = (model.Proxy(replace(pod, ip=ip), {}, ip) for ip in (pod.ip, "127.9.0.9"))
    before = Views(mesh)
    assert _touched(before.of(proxy), before.of(other)) == []
    mesh = changed(mesh, "s5.default.svc.cluster.local", addresses=("10.1.1.1",))
    after = Views(mesh, before.memo)
    assert _touched(before.of(proxy), after.of(proxy)) == ["s5"]
    one, two = mesh.virtual_services
    last = Views(
        replace(mesh, virtual_services=(one, replace(two, created="2026-02-01T00:00:00Z"))), after.memo
    )
    assert _touched(after.of(proxy), last.of(proxy)) == ["s4", "s4"]


def test_what_proxies_share_ends_where_rules_tell_them_apart(build):
    """Proxies of one mesh get tables of their own when their namespace, or a label that a match asks for, differs."""
    rule = """
    kind: VirtualService
    metadata: {name: r}
    spec:
      hosts: [a]
      http: [{match: [{sourceLabels: {tier: front}}], name: front, route: [{destination: {host: a}}]}]
    """
    differing: list[dict[str, Any]] = [
        {},
        {"version": "v2", "labels": {"tier": "front"}},
        {"namespace": "other"},
    ]
    pods = [client(build, **settings) for settings in differing]
    mesh = build.with_rules(model.Mesh(services=(build.service("a"),), workloads=tuple(pods)), rule)
    views = Views(mesh)
    plain, front, other = (_hosts(_proxy(views.of(model.Proxy(pod, {}, pod.ip)))) for pod in pods)
    host = "a.default.svc.cluster.local:8080"
    assert [plain[host][1], front[host][1], other[host][1]] == ["default", "front", "default"]
    assert ["a:8080" in item[host][0] for item in (plain, front, other)] == [True, True, False]


def test_the_domain_of_all_others_is_nobodys_own(build):
    """Envoy takes a domain once, and "*" is that of the last virtual host."""
    seen = view(build, (build.service("x", host="*", addresses=()),))
    assert _hosts(port_routes(seen, 8080))["*:8080"][0] == ["*."]


_NAMES = st.sampled_from(["a", "b", "c"])
_SERVICES = st.lists(
    st.tuples(
        _NAMES, st.sampled_from(["default", "other"]), st.sets(st.sampled_from([80, 8080]), min_size=1)
    ),
    max_size=4,
    unique_by=lambda item: item[:2],
)
_HOSTS = st.sampled_from(
    ["a", "b", "a.other.svc.cluster.local", "x.example.com", '"*.svc.cluster.local"', '"*.example.com"']
)


@given(services=_SERVICES, rules=st.lists(_HOSTS, max_size=4))
def test_envoy_never_finds_a_name_or_a_domain_twice(build, services, rules):
    """Whatever Services and VirtualServices there are, every domain stands in one virtual host, each with routes."""
    made = tuple(
        build.service(name, namespace=namespace, ports=tuple(map(port, sorted(ports))))
        for name, namespace, ports in services
    )
    texts = [_rule(f"r{number}", hosts, to="a") for number, hosts in enumerate(rules)]
    table = _proxy(view(build, made, *texts))
    names = [host["name"] for host in table["virtual_hosts"]]
    domains = [domain for host in table["virtual_hosts"] for domain in host["domains"]]
    assert len(set(names)) == len(names)
    assert len(set(domains)) == len(domains)
    assert names[:-1] == sorted(names[:-1])
    assert all(host["domains"] and host["routes"] for host in table["virtual_hosts"])
    reached = {f"{item.host}:{own.number}" for item in made for own in item.ports}
    assert reached <= set(domains)
