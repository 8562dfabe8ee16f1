"""The route tables of gateways: which hosts of which VirtualServices are served at which port."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge import HTTP, bound, gateway, hosts, server, tables, to
from onlooker import client, port

from harness.localmesh.xds import model
from harness.localmesh.xds.gateway_routes import gateway_routes
from harness.localmesh.xds.view import Views

HTTPS = "mode: SIMPLE, credentialName: shop"
REDIRECT = "httpsRedirect: true"


def test_http_servers_of_one_port_share_a_table(build):
    """Whatever Gateway they belong to, and whatever HTTP protocol they name."""
    made = tables(
        build,
        gateway(HTTP),
        gateway(server(8080, "HTTP2", "other.test"), name="side"),
        bound("one", "shop.test", to(name="one")),
        bound("two", "other.test", to(name="two"), gateways="side"),
    )
    assert hosts(made["http.8080"]) == {
        "other.test:8080": (["other.test"], ["two"]),
        "shop.test:8080": (["shop.test"], ["one"]),
    }


def test_https_servers_have_a_table_each(build):
    """Named by port, port name, Gateway and namespace, so that every certificate has its own hosts."""
    made = tables(
        build,
        gateway(
            server(443, "HTTPS", "shop.test", HTTPS),
            server(443, "HTTPS", "other.test", HTTPS),
        ),
        bound("all", "shop.test, other.test", to(name="all")),
    )
    assert {name: hosts(table) for name, table in made.items()} == {
        "https.443.p0.edge.default": {"shop.test:443": (["shop.test"], ["all"])},
        "https.443.p1.edge.default": {"other.test:443": (["other.test"], ["all"])},
    }


@pytest.mark.parametrize(
    ("served", "wanted", "found"),
    [
        ("'*'", "shop.test", "shop.test"),
        ("shop.test", "'*'", "shop.test"),
        ("'*.test'", "'*.shop.test'", "*.shop.test"),
        ("SHOP.test", "'*.test'", "shop.test"),
        ("'./shop.test'", "shop.test", "shop.test"),
        ("'*/shop.test'", "shop.test", "shop.test"),
        ("'*/*'", "shop.test", "shop.test"),
        ("'other/shop.test'", "shop.test", "*"),
        ("other.test", "shop.test", "*"),
    ],
)
def test_a_host_is_served_where_server_and_virtual_service_agree(build, served, wanted, found):
    """The narrower of both, in lower case; a namespace before the server's host must be the VirtualService's."""
    made = tables(build, gateway(server(8080, "HTTP", served)), bound("rule", wanted, to()))
    (host,) = made["http.8080"]["virtual_hosts"]
    assert host["domains"] == [found]
    assert bool(host["routes"]) is (found != "*")


def test_all_hosts_of_all_namespaces_say_it_all(build):
    """What else stands beside "*/*" makes no host of its own."""
    made = tables(
        build, gateway(server(8080, "HTTP", "shop.test, '*/*'")), bound("rule", "'*'", to(name="rule"))
    )
    assert hosts(made["http.8080"]) == {"*:8080": (["*"], ["rule"])}


def test_a_redirect_writes_no_port_that_the_scheme_has_anyway(build):
    """The scheme of a server with TLS settings is https, also where they are no more than a redirect."""
    rule = bound("rule", "shop.test", "http: [{redirect: {uri: /new, port: 443}}]")
    for tls, written in ((REDIRECT, None), ("", 443)):
        made = tables(build, gateway(server(8080, "HTTP", "shop.test", tls)), rule)
        (host,) = made["http.8080"]["virtual_hosts"]
        assert host["routes"][0]["redirect"].get("port_redirect") == written


def test_a_table_without_hosts_answers_404(build):
    """It has one virtual host for everything, without a route."""
    made = tables(build, gateway(HTTP))
    assert made["http.8080"]["virtual_hosts"] == [{"name": "blackhole:8080", "domains": ["*"], "routes": []}]


def test_routes_of_several_virtual_services_are_joined_and_those_for_everything_go_last(build):
    """The oldest comes first otherwise."""
    some = "http: [{name: some, match: [{uri: {prefix: /some}}], route: [{destination: {host: a}}]}]"
    made = tables(
        build,
        gateway(HTTP),
        bound("all", "shop.test", to(name="all")),
        bound("some", "shop.test", some),
        bound("rest", "shop.test", to("b", name="rest")),
    )
    assert hosts(made["http.8080"]) == {"shop.test:8080": (["shop.test"], ["some", "all", "rest"])}


def test_hosts_with_the_very_same_routes_are_one_virtual_host(build):
    """It is named after the longest that is no wildcard; hosts with more routes stay apart."""
    made = tables(
        build,
        gateway(server(8080, "HTTP", "'*'")),
        bound("rule", "a.test, '*.test2', longer.test, c.test", to(name="rule")),
        bound("more", "c.test", to(name="more")),
    )
    assert hosts(made["http.8080"]) == {
        "c.test:8080": (["c.test"], ["rule", "more"]),
        "longer.test:8080": (["longer.test", "a.test", "*.test2"], ["rule"]),
    }


def test_a_redirect_to_https_needs_no_virtual_service(build):
    """All hosts of the server redirect, with routes or without; those of other servers do not."""
    made = tables(
        build,
        gateway(
            server(8080, "HTTP", "shop.test, bare.test, './own.test'", REDIRECT),
            server(8080, "HTTP", "plain.test"),
        ),
        bound("rule", "shop.test, plain.test", to()),
    )
    required = {
        domain: host.get("require_tls")
        for host in made["http.8080"]["virtual_hosts"]
        for domain in host["domains"]
    }
    assert required == {"shop.test": "ALL", "bare.test": "ALL", "default/own.test": "ALL", "plain.test": None}


def test_a_virtual_service_speaks_of_the_port_that_the_gateway_writes(build):
    """A match by port sees the server's, not the pod's; a route for other ports or Gateways is left out."""
    service = build.service("edge", ports=(port(80),), selector={"app": "client"})
    routes = """http: [
      {name: other, match: [{port: 8080}], route: [{destination: {host: b}}]},
      {name: side, match: [{gateways: [side]}], route: [{destination: {host: b}}]},
      {name: here, match: [{port: 80, gateways: [edge]}], route: [{destination: {host: a}}]}]"""
    made = tables(
        build,
        gateway(server(80, "HTTP", "shop.test")),
        bound("rule", "shop.test", routes),
        services=(service,),
    )
    assert hosts(made["http.8080"]) == {"shop.test:80": (["shop.test"], ["here"])}


def test_a_virtual_service_is_looked_at_once_for_each_gateway(build):
    """Its routes are those for the first server of the Gateway that has any, as in istiod."""
    routes = """http: [
      {name: early, match: [{port: 80}], route: [{destination: {host: a}}]},
      {name: late, match: [{port: 81}], route: [{destination: {host: a}}]}]"""
    made = tables(
        build,
        gateway(server(80, "HTTP", "shop.test"), server(81, "HTTP", "other.test")),
        bound("rule", "shop.test, other.test", routes),
        services=(build.service("edge", ports=(port(80), port(81)), selector={"app": "client"}),),
    )
    assert hosts(made["http.8080"]) == {"other.test:81": (["other.test", "shop.test"], ["early"])}


def test_what_does_not_change_stays_the_same_object(build):
    """After a change of one VirtualService the others' virtual hosts are not made anew, nor are other tables."""
    pod = client(build)
    mesh = build.with_rules(
        model.Mesh(services=(build.service("a"),), workloads=(pod,)),
        gateway(server(8080, "HTTP", "shop.test, other.test"), server(9090, "HTTP", "third.test")),
        bound("one", "shop.test", to()),
        bound("two", "other.test", to()),
        bound("three", "third.test", to()),
    )
    views, proxy = Views(mesh), model.Proxy(pod, {}, pod.ip, gateway=True)
    before = gateway_routes(views.of(proxy))
    one, two, three = mesh.virtual_services
    changed = replace(mesh, virtual_services=(one, replace(two, uid="new"), three))
    after = gateway_routes(Views(changed, views.memo).of(proxy))
    assert after["http.9090"] is before["http.9090"]
    new, old = (table["http.8080"]["virtual_hosts"] for table in (after, before))
    assert [now["name"] for now, then in zip(new, old, strict=True) if now is not then] == ["other.test:8080"]
