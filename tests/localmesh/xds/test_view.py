"""What a proxy sees: Services by exportTo and Sidecar, endpoints of every kind, rules and policies by scope."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.view import Views


@pytest.fixture
def view(build):
    """The view of a pod of `app: client` in the namespace given, of a mesh with the objects of the YAML given."""

    def see(*texts, mesh=None, namespace="default", labels=None, gateway=False):
        client = build.workload("client", "127.9.0.1", "127.9.1.1", namespace=namespace)
        client = replace(client, labels={**client.labels, **(labels or {})})
        mesh = mesh or model.Mesh()
        mesh = build.with_rules(replace(mesh, workloads=(*mesh.workloads, client)), *texts)
        return Views(mesh).of(model.Proxy(client, {}, client.ip, gateway))

    return see


def _rule(name, host, namespace="default", extra=""):
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {host}
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 1}}}}}}
  {extra}
"""


def test_a_service_is_seen_where_it_is_exported_to(build, view):
    """No list means everywhere, "." the own namespace, "~" nowhere; what is exported by name comes first."""
    services = (
        build.service("public"),
        build.service("private", namespace="other", export_to=frozenset(".")),
        build.service("nobody", export_to=frozenset("~")),
        build.service("named", namespace="other", export_to=frozenset({"default"})),
    )
    mesh = model.Mesh(services=services)
    assert [item.name for item in view(mesh=mesh).services] == ["named", "public"]
    assert [item.name for item in view(mesh=mesh, namespace="other").services] == ["private", "public"]


def test_a_sidecar_narrows_what_is_seen(build, view):
    """Only imported hosts are seen, and those a VirtualService of an import leads to."""
    mesh = model.Mesh(
        services=(
            build.service("a"),
            build.service("b"),
            build.service("c", namespace="other"),
            build.service("d"),
        )
    )
    sidecar = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  egress: [{hosts: ["./a.default.svc.cluster.local", "other/*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a]
  http: [{route: [{destination: {host: d}}]}]
"""
    assert {item.name for item in view(sidecar, mesh=mesh).services} == {"a", "c", "d"}
    assert {item.name for item in view(sidecar, mesh=mesh, gateway=True).services} == {"a", "b", "c", "d"}


def test_a_gateway_sees_what_is_exported_to_it_and_no_destinations_besides(build, view):
    """A route leads a sidecar to a Service of its own namespace that is exported elsewhere only; no gateway."""
    mesh = model.Mesh(
        services=(build.service("a"), build.service("elsewhere", export_to=frozenset({"other"})))
    )
    rule = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a]
  http: [{route: [{destination: {host: elsewhere}}]}]
"""
    assert {item.name for item in view(rule, mesh=mesh).services} == {"a", "elsewhere"}
    assert {item.name for item in view(rule, mesh=mesh, gateway=True).services} == {"a"}


def test_a_sidecar_for_workloads_beats_the_namespaces_and_that_the_meshs(build, view):
    """The Sidecar that selects the workload counts, else the namespace's, else the one of the root namespace."""

    def sidecar(name, namespace, selector=""):
        return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {selector}
  egress: [{{hosts: ["*/{name}.default.svc.cluster.local"]}}]
"""

    mesh = model.Mesh(services=(build.service("own"), build.service("ns"), build.service("root")))
    chosen = sidecar("own", "default", "workloadSelector: {labels: {app: client}}")
    every = [sidecar("root", "istio-system"), sidecar("ns", "default"), chosen]
    for count, expected in ((1, "root"), (2, "ns"), (3, "own")):
        seen = view(*every[:count], mesh=mesh)
        assert [item.name for item in seen.services] == [expected]


def test_a_rule_of_the_clients_namespace_beats_the_services_and_that_the_roots(build, view):
    """First istiod looks in the caller's namespace, then in the Service's, then in the root namespace."""
    service = build.service("a", namespace="other")
    mesh = model.Mesh(services=(service,))
    host = "a.other.svc.cluster.local"
    texts = [_rule("r", host, "istio-system"), _rule("s", host, "other"), _rule("c", host)]
    for count, expected in ((1, "r"), (2, "s"), (3, "c")):
        assert view(*texts[:count], mesh=mesh).destination_rule(service).name == expected


def test_a_rule_that_is_not_exported_stays_in_its_namespace(build, view):
    """`exportTo: ["."]` hides a rule from callers of other namespaces."""
    service = build.service("a", namespace="other")
    text = _rule("s", "a.other.svc.cluster.local", "other", 'exportTo: ["."]')
    assert view(text, mesh=model.Mesh(services=(service,))).destination_rule(service) is None
    own = view(text, mesh=model.Mesh(services=(service,)), namespace="other")
    assert own.destination_rule(service).name == "s"


def test_a_rule_with_a_selector_is_for_those_callers_only(build, view):
    """The outbound side of selected workloads has it; everybody else, and the inbound side, the general one."""
    service = build.service("a")
    selected = _rule("one", "a", extra="workloadSelector: {matchLabels: {app: client, tier: gold}}")
    mesh = model.Mesh(services=(service,))
    texts = [_rule("all", "a"), selected]
    assert view(*texts, mesh=mesh).destination_rule(service).name == "all"
    gold = view(*texts, mesh=mesh, labels={"tier": "gold"})
    assert gold.destination_rule(service).name == "one"
    assert gold.destination_rule(service, inbound=True).name == "all"


def test_rules_for_the_same_host_are_merged(build, view):
    """The first policy counts, and the subsets of all, the first of a name."""
    service = build.service("a")
    texts = [
        _rule("first", "a", extra="subsets: [{name: v1, labels: {version: v1}}]"),
        _rule(
            "second", "a", extra="subsets: [{name: v1, labels: {x: y}}, {name: v2, labels: {version: v2}}]"
        ),
    ]
    found = view(*texts, mesh=model.Mesh(services=(service,))).destination_rule(service)
    assert [(item.name, item.labels) for item in found.spec.subsets] == [
        ("v1", {"version": "v1"}),
        ("v2", {"version": "v2"}),
    ]


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e, namespace: default}}
spec:
  hosts: [ext.example.com]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]
  {rest}
"""


def _places(view):
    service = view.service("ext.example.com")
    return [(item.address, item.port) for item in view.endpoints(service, service.ports[0])]


def test_a_service_entry_has_the_endpoints_it_lists(view):
    """Each has its own port for the Service's, else the target port; an account makes it take mTLS."""
    text = ENTRY.format(
        rest="""resolution: STATIC
  endpoints:
  - {address: 127.0.0.7}
  - {address: 127.0.0.8, ports: {http: 99}, locality: r/z, weight: 3, serviceAccount: x}"""
    )
    seen = view(text)
    assert _places(seen) == [("127.0.0.7", 8080), ("127.0.0.8", 99)]
    service = seen.service("ext.example.com")
    plain, member = seen.endpoints(service, service.ports[0])
    assert not plain.mtls
    assert member.mtls
    assert member.identity == "spiffe://cluster.local/ns/default/sa/x"
    assert (str(member.locality), member.weight) == ("r/z", 3)


def test_a_service_entry_resolved_by_dns_is_its_own_endpoint(view):
    """Without endpoints the host itself is looked up."""
    assert _places(view(ENTRY.format(rest="resolution: DNS"))) == [("ext.example.com", 8080)]


def test_a_service_entry_selects_pods_and_workload_entries(build, view):
    """`workloadSelector` finds both, by the labels of pods, of the entry's spec and of its metadata."""
    text = ENTRY.format(rest="resolution: STATIC\n  workloadSelector: {labels: {app: legacy}}")
    entry = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: default}
spec: {address: 127.0.0.9, labels: {app: legacy}}
"""
    pod = build.workload("legacy", "127.9.0.5", "127.9.1.5")
    assert _places(view(text, entry, mesh=model.Mesh(workloads=(pod,)))) == [
        ("127.9.0.5", 8080),
        ("127.0.0.9", 8080),
    ]


def test_an_unchanged_mesh_is_not_worked_out_again(build):
    """With the memory of the state before, the view's values are the very same objects."""
    mesh = model.Mesh(
        services=(build.service("a"), build.service("b")),
        workloads=(
            build.workload("a", "127.9.0.1", "127.9.1.1"),
            build.workload("b", "127.9.0.2", "127.9.1.2"),
        ),
    )
    proxy = model.Proxy(mesh.workloads[0], {}, "127.9.0.1")
    before = Views(mesh)
    first = before.of(proxy)
    endpoints = first.endpoints(first.services[0], first.services[0].ports[0])
    changed = build.with_rules(mesh, _rule("r", "b"))
    after = Views(changed, before.memo).of(proxy)
    assert after.scope is first.scope
    assert after.endpoints(after.services[0], after.services[0].ports[0]) is endpoints
