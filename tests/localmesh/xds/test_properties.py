"""What holds for every mesh of admitted objects."""

from __future__ import annotations

import random
from dataclasses import replace

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.localmesh.xds import model
from harness.localmesh.xds.snapshot import snapshot

HOSTS = ("a", "b", "ghost")
SUBSETS = ("", "v1", "v2")
PORTS = (None, 8080, 9999)

strings = st.one_of(
    st.builds(dict, exact=st.sampled_from(["/x", "/y"])),
    st.builds(dict, prefix=st.sampled_from(["/", "/z"])),
    st.builds(dict, regex=st.sampled_from([".*", "/r.*"])),
)
matches = st.fixed_dictionaries(
    {},
    optional={
        "uri": strings,
        "headers": st.dictionaries(st.sampled_from(["end-user", "x-canary"]), strings, max_size=2),
        "method": st.just({"exact": "GET"}),
        "port": st.sampled_from([8080, 9090]),
        "sourceLabels": st.sampled_from([{"app": "a"}, {"app": "b"}]),
        "gateways": st.sampled_from([["mesh"], ["edge"]]),
    },
)


@st.composite
def destinations(draw):
    """A destination that may not exist, with a weight."""
    destination = {"host": draw(st.sampled_from(HOSTS))}
    if subset := draw(st.sampled_from(SUBSETS)):
        destination["subset"] = subset
    if port := draw(st.sampled_from(PORTS)):
        destination["port"] = {"number": port}
    return {"destination": destination, "weight": draw(st.integers(0, 100))}


@st.composite
def routes(draw):
    """A rule with any of the policies that are translated."""
    route = draw(st.lists(destinations(), min_size=1, max_size=3))
    if len(route) > 1:
        route[0]["weight"] += 1
    optional = {
        "match": st.lists(matches, max_size=3),
        "timeout": st.sampled_from(["1s", "250ms"]),
        "retries": st.sampled_from(
            [{}, {"attempts": 2}, {"attempts": 3, "retryOn": "5xx,503", "backoff": "1ms"}]
        ),
        "fault": st.just({"abort": {"httpStatus": 503, "percentage": {"value": 12.5}}}),
        "headers": st.just({"request": {"set": {"x-a": "b", "Host": "other"}, "remove": ["x-c"]}}),
    }
    return {"route": route, **draw(st.fixed_dictionaries({}, optional=optional))}


virtual_services = st.fixed_dictionaries(
    {
        "hosts": st.sampled_from(
            [["a"], ["b"], ["a", "b"], ["*.default.svc.cluster.local"], ["elsewhere.test"]]
        ),
        "gateways": st.sampled_from([["mesh"], ["edge"], ["mesh", "edge"]]),
        "http": st.lists(routes(), min_size=1, max_size=3),
    }
)
destination_rules = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["a", "b", "*.default.svc.cluster.local"]),
        "subsets": st.lists(st.sampled_from(["v1", "v2"]), unique=True).map(
            lambda found: [{"name": name, "labels": {"version": name}} for name in found]
        ),
    },
    optional={
        "trafficPolicy": st.sampled_from(
            [
                {"tls": {"mode": "DISABLE"}},
                {"outlierDetection": {"consecutive5xxErrors": 3}},
                {"connectionPool": {"http": {"maxRetries": 1}}, "loadBalancer": {"simple": "RANDOM"}},
            ]
        )
    },
)


@st.composite
def meshes(draw, build):
    """Two Services with pods, a gateway, and any rules for them."""
    workloads = [
        build.workload(
            name, f"127.9.0.{number}", f"127.9.1.{number}", version=version, ready=draw(st.booleans())
        )
        for number, (name, version) in enumerate(
            [("a", "v1"), ("a", "v2"), ("b", "v1"), ("gateway", "v1")], 1
        )
    ]
    texts = ["kind: Gateway\nmetadata: {name: edge}\nspec: {selector: {app: gateway}, servers: ["
             "{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}"]  # fmt: skip
    for kind, specs in (("VirtualService", virtual_services), ("DestinationRule", destination_rules)):
        for number, spec in enumerate(draw(st.lists(specs, max_size=3))):
            texts.append(yaml.safe_dump({"kind": kind, "metadata": {"name": f"rule-{number}"}, "spec": spec}))
    services = (build.service("a", "10.0.0.1"), build.service("b", "10.0.0.2"))
    return build.with_rules(model.Mesh(services=services, workloads=tuple(workloads)), *texts)


def _proxies(mesh: model.Mesh) -> list[model.Proxy]:
    return [
        model.Proxy(workload, {}, workload.ip, workload.owner.startswith("gateway"))
        for workload in mesh.workloads
    ]


def _virtual_hosts(made: model.Snapshot) -> list[dict]:
    return [host for configuration in made.routes.values() for host in configuration["virtual_hosts"]]


def _named(route: dict) -> list[str]:
    action = route.get("route", {})
    shares = action.get("weighted_clusters", {}).get("clusters", [])
    return [action["cluster"]] if "cluster" in action else [share["name"] for share in shares]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_route_leads_to_a_cluster_unless_its_destination_is_undefined(build, data):
    """A missing cluster is one whose Service, port or subset nobody defines, which Envoy answers with 503 NC."""
    mesh = data.draw(meshes(build))
    defined = {subset.name for rule in mesh.destination_rules for subset in rule.spec.subsets} | {""}
    for proxy in _proxies(mesh):
        made = snapshot(mesh, proxy)
        for host in _virtual_hosts(made):
            for name in [name for route in host["routes"] for name in _named(route)]:
                if name not in made.clusters:
                    _, port, subset, service = name.split("|")
                    known = service.split(".")[0] in ("a", "b") and port == "8080"
                    assert not known or subset not in defined or not _covered(mesh, service, subset)


def _covered(mesh: model.Mesh, service: str, subset: str) -> bool:
    """Whether the rules with the most specific host for `service` define `subset`."""
    short = service.split(".", maxsplit=1)[0]
    exact = [rule for rule in mesh.destination_rules if rule.spec.host == short]
    rules = exact or [rule for rule in mesh.destination_rules if rule.spec.host.startswith("*")]
    return any(subset == found.name for rule in rules for found in rule.spec.subsets)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_clusters_endpoints_and_domains_fit_together(build, data):
    """Each EDS cluster has its endpoints, of which ready pods alone are healthy; no domain is in two virtual hosts."""
    mesh = data.draw(meshes(build))
    ready = {workload.ip for workload in mesh.workloads if workload.ready}
    for proxy in _proxies(mesh):
        made = snapshot(mesh, proxy)
        discovered = {name for name, cluster in made.clusters.items() if cluster.get("type") == "EDS"}
        assert discovered == set(made.endpoints)
        addresses = [
            host["endpoint"]["address"]["socket_address"]["address"]
            for assignment in made.endpoints.values()
            for locality in assignment["endpoints"]
            for host in locality["lb_endpoints"]
            if host.get("health_status") == "HEALTHY"
        ]
        assert set(addresses) <= ready
        for configuration in made.routes.values():
            domains = [domain for host in configuration["virtual_hosts"] for domain in host["domains"]]
            assert len(domains) == len(set(domains))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.randoms())
def test_the_order_of_the_objects_does_not_matter(build, data, order: random.Random):
    """The same objects in any order give the same configuration, so that nothing is published for nothing."""
    mesh = data.draw(meshes(build))
    shuffled = {
        name: tuple(order.sample(getattr(mesh, name), len(getattr(mesh, name))))
        for name in ("services", "workloads", "virtual_services", "destination_rules", "gateways")
    }
    for proxy in _proxies(mesh):
        assert snapshot(mesh, proxy) == snapshot(replace(mesh, **shuffled), proxy)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=2, max_size=5).filter(any))
def test_weights_are_kept_in_order_and_zero_ones_are_dropped(build, weights):
    """Weighted clusters carry the weights as written, without those that would never be chosen."""
    route = [
        {"destination": {"host": "a", "subset": f"v{n}"}, "weight": weight}
        for n, weight in enumerate(weights)
    ]
    spec = {"hosts": ["a"], "http": [{"route": route}]}
    rule = yaml.safe_dump({"kind": "VirtualService", "metadata": {"name": "a"}, "spec": spec})
    mesh = build.with_rules(
        model.Mesh(
            services=(build.service("a"),), workloads=(build.workload("a", "127.9.0.1", "127.9.1.1"),)
        ),
        rule,
    )
    made = snapshot(mesh, _proxies(mesh)[0])
    shares = _virtual_hosts(made)[0]["routes"][0]["route"]["weighted_clusters"]["clusters"]
    assert [(share["name"].split("|")[2], share["weight"]) for share in shares] == [
        (f"v{n}", weight) for n, weight in enumerate(weights) if weight
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["/", "/a", "/b"]), max_size=3), min_size=1, max_size=4))
def test_routes_stand_in_the_order_written_up_to_one_that_takes_all(build, rules):
    """Nothing is sorted by specificity, and nothing stands behind a route that takes every request."""
    http = [
        {"match": [{"uri": {"prefix": path}} for path in paths], "route": [{"destination": {"host": "a"}}]}
        for paths in rules
    ]
    rule = {"kind": "VirtualService", "metadata": {"name": "a"}, "spec": {"hosts": ["a"], "http": http}}
    workload = build.workload("a", "127.9.0.1", "127.9.1.1")
    mesh = build.with_rules(
        model.Mesh(services=(build.service("a"),), workloads=(workload,)), yaml.safe_dump(rule)
    )
    written = [path for paths in rules for path in paths or ["/"]]
    expected = written[: written.index("/") + 1] if "/" in written else written
    made = _virtual_hosts(snapshot(mesh, _proxies(mesh)[0]))[0]["routes"]
    assert [route["match"]["prefix"] for route in made] == expected
