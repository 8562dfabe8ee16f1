"""What Istio's webhook says to a VirtualService."""

from __future__ import annotations

import pytest

ROUTE = "route: [{destination: {host: reviews}}]"
TCP = "hosts: [a.test], tcp: [{route: [{destination: {host: mongo}}]}]"


def http(fields):
    """A VirtualService with one HTTP route of these fields."""
    return f"{{hosts: [reviews], http: [{{{fields}}}]}}"


@pytest.mark.parametrize(
    "spec",
    [
        http(ROUTE),
        f"{{hosts: ['*a.test', 10.0.0.1, b.test.], http: [{{{ROUTE}}}]}}",
        f"{{hosts: ['*'], gateways: [ns/gw], http: [{{{ROUTE}}}]}}",
        f"{{http: [{{{ROUTE}}}]}}",
        "{hosts: [a.test], http: [{delegate: {name: a, namespace: b}, match: [{uri: {prefix: /a}}]}]}",
        http(
            f"match: [{{uri: {{prefix: ''}}, method: {{}}, withoutHeaders: {{x: {{regex: '*'}}}}}}], {ROUTE}"
        ),
        http(f"match: [{{headers: {{':path': {{exact: a}}, x: {{}}}}, scheme: {{exact: https}}}}], {ROUTE}"),
        http("route: [{destination: {host: '*.wikipedia.org', subset: v1, port: {number: 443}}}]"),
        http(
            f"{ROUTE}, mirrors: [{{destination: {{host: b}}, "
            f"percentage: {{value: 0.00001}}}}], mirrorPercentage: {{value: 3}}"
        ),
        http(
            f"{ROUTE}, headers: {{request: {{set: {{host: a.test}}, remove: [x]}}, "
            f"response: {{add: {{a: '%REQ(b)%'}}}}}}"
        ),
        http(
            f"{ROUTE}, corsPolicy: {{allowOrigins: [{{exact: a}}], allowMethods: ['*'], "
            f"allowHeaders: ['*'], maxAge: 1m}}"
        ),
        http(f"{ROUTE}, fault: {{abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 0.0001}}}}}}"),
        http(f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: '(a)(b)', rewrite: '\\2\\\\'}}}}"),
        http(f"{ROUTE}, retries: {{attempts: 0, backoff: 1s}}"),
        http("redirect: {derivePort: FROM_REQUEST_PORT}"),
        http('directResponse: {status: 503, body: {string: "a\\nb"}}'),
        http("directResponse: {status: 200, body: {bytes: YQ==}}"),
        f"{{{TCP}}}",
        "{hosts: ['*.test'], tls: [{match: [{sniHosts: [a.test, '*.b.test'], "
        "port: 443}], route: [{destination: {host: a}}]}]}",
    ],
)
def test_what_istio_takes_is_admitted_without_a_word(answer, spec):
    """Each spec passes, and there is no warning."""
    assert answer("VirtualService", spec) == ""


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (f"{{hosts: [a.test], gateways: [a/b/c], http: [{{{ROUTE}}}]}}", "gateways[0]: 'a/b/c'"),
        (
            f"{{gateways: [gw], http: [{{{ROUTE}}}]}}",
            "gateways: a virtual service without hosts is a delegate",
        ),
        (f"{{tcp: [{{{ROUTE}}}]}}", "tcp: a virtual service without hosts"),
        (f"{{hosts: [a_b], http: [{{{ROUTE}}}]}}", "hosts[0]: 'a_b' is no host name"),
        (f"{{hosts: [a.123], http: [{{{ROUTE}}}]}}", "hosts[0]: 'a.123' is no host name"),
        (
            f"{{hosts: ['*.a.test', b.a.test], http: [{{{ROUTE}}}]}}",
            "hosts[1]: 'b.a.test' stands there twice",
        ),
        (
            f"{{hosts: [a.test], exportTo: ['*', b], http: [{{{ROUTE}}}]}}",
            'exportTo: "*" stands with others'[:25],
        ),
        (
            f"{{hosts: [a.test], exportTo: [., default], http: [{{{ROUTE}}}]}}",
            "exportTo[1]: 'default' stands there twice",
        ),
        (f"{{hosts: [a.test], exportTo: ['~'], http: [{{{ROUTE}}}]}}", "exportTo[0]: '~' is neither"),
        ("{hosts: [a.test]}", "http: a virtual service must have"),
        ("{hosts: [a.test], http: null}", "http: "),
        (http(f"{ROUTE}, timeout: null"), "http[0].timeout: it is null"),
        (http(""), "http[0].route: a route needs exactly one"),
        (http(f"{ROUTE}, redirect: {{uri: /a}}"), "http[0].route: a route needs exactly one"),
        (http("redirect: {uri: /a}, fault: {delay: {fixedDelay: 1s}}"), "http[0].fault: a redirect"),
        (http("redirect: {}"), "http[0].redirect: one of uri"),
        (http("redirect: {port: 80, derivePort: FROM_REQUEST_PORT}"), "http[0].redirect: only one"),
        (http("redirect: {uri: /a, redirectCode: 304}"), "http[0].redirect.redirectCode: "),
        (http(f"delegate: {{name: a}}, {ROUTE}"), "http[0].route: a route that delegates"),
        (f"{{http: [{{delegate: {{name: a}}, {ROUTE}}}]}}", "http[0].delegate: a delegate cannot"),
        (
            http(f"{ROUTE}, mirror: {{host: a}}, mirrors: [{{destination: {{host: b}}}}]"),
            "http[0].mirrors: only one",
        ),
        (http(f"{ROUTE}, mirrorPercentage: {{value: 101}}"), "http[0].mirrorPercentage.value: "),
        (http(f"{ROUTE}, mirror: {{host: '*'}}"), 'http[0].mirror.host: "*" is no destination'),
        (http("route: [{destination: {host: a}}, {destination: {host: b}}]"), "http[0].route: the weights"),
        (http("route: [{destination: {host: a}, weight: -1}]"), "http[0].route[0].weight: "),
        (http("route: [{destination: {host: a, subset: a_b}}]"), "http[0].route[0].destination.subset: "),
        (http(f"match: [{{headers: {{'a b': {{exact: x}}}}}}], {ROUTE}"), "http[0].match[0].headers[a b]: "),
        (
            http(f"match: [{{headers: {{x: {{regex: '*'}}}}}}], {ROUTE}"),
            "http[0].match[0].headers[x].regex: ",
        ),
        (
            http(f"match: [{{headers: {{'@request.auth.claims.a': {{}}}}}}], {ROUTE}"),
            "http[0].match[0].headers[@req",
        ),
        (
            http(f"match: [{{headers: {{x: {{prefix: ''}}}}}}], {ROUTE}"),
            "http[0].match[0].headers[x].prefix: ",
        ),
        (http(f"match: [{{queryParams: {{'': {{exact: x}}}}}}], {ROUTE}"), "http[0].match[0].queryParams: "),
        (http(f"match: [{{sourceLabels: {{a b: c}}}}], {ROUTE}"), "http[0].match[0].sourceLabels[a b]: "),
        (http(f"match: [{{sourceNamespace: a.b}}], {ROUTE}"), "http[0].match[0].sourceNamespace: "),
        (http(f"match: [{{gateways: [a b]}}], {ROUTE}"), "http[0].match[0].gateways[0]: "),
        (
            http(f"{ROUTE}, headers: {{request: {{set: {{':path': a}}}}}}"),
            "http[0].headers.request.set[:path]: ",
        ),
        (
            http(f"{ROUTE}, headers: {{response: {{add: {{Host: a}}}}}}"),
            "http[0].headers.response.add[Host]: ",
        ),
        (
            http(f"{ROUTE}, headers: {{request: {{remove: [':path']}}}}"),
            "http[0].headers.request.remove[0]: ",
        ),
        (
            http(f"{ROUTE}, headers: {{request: {{set: {{a: '%'}}}}}}"),
            "http[0].headers.request.set[a]: '%' has a lone",
        ),
        (
            http("route: [{destination: {host: a}, headers: {request: {add: {a: '%X%'}}}}]"),
            "http[0].route[0].headers.",
        ),
        (
            http(f"{ROUTE}, rewrite: {{authority: a}}, headers: {{request: {{set: {{host: b}}}}}}"),
            "http[0].headers.request: ",
        ),
        (
            http(f"{ROUTE}, rewrite: {{uri: /a, uriRegexRewrite: {{match: a, rewrite: b}}}}"),
            "http[0].rewrite: only one",
        ),
        (http(f"{ROUTE}, rewrite: {{}}"), "http[0].rewrite: one of uri"),
        (
            http(f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a}}}}"),
            "http[0].rewrite.uriRegexRewrite: needs both",
        ),
        (
            http(f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: '\\1'}}}}"),
            "http[0].rewrite.uriRegexRewrite.rewrite: ",
        ),
        (
            http(f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: 'a\\b'}}}}"),
            "http[0].rewrite.uriRegexRewrite.rewrite: ",
        ),
        (http(f"{ROUTE}, corsPolicy: {{allowOrigins: [{{}}]}}"), "http[0].corsPolicy.allowOrigins[0]: "),
        (http(f"{ROUTE}, corsPolicy: {{allowMethods: [get]}}"), "http[0].corsPolicy.allowMethods[0]: "),
        (http(f"{ROUTE}, corsPolicy: {{exposeHeaders: [a b]}}"), "http[0].corsPolicy.exposeHeaders[0]: "),
        (http(f"{ROUTE}, corsPolicy: {{maxAge: 1.5s}}"), "http[0].corsPolicy.maxAge: "),
        (http(f"{ROUTE}, fault: {{}}"), "http[0].fault: a fault needs"),
        (
            http(f"{ROUTE}, fault: {{abort: {{httpStatus: 503, percentage: {{value: 0.00001}}}}}}"),
            "http[0].fault.abort.percentage.value: ",
        ),
        (
            http(f"{ROUTE}, fault: {{abort: {{httpStatus: 503, grpcStatus: OK}}}}"),
            "http[0].fault.abort: only one",
        ),
        (http(f"{ROUTE}, fault: {{abort: {{grpcStatus: unavailable}}}}"), "http[0].fault.abort.grpcStatus: "),
        (
            http(f"{ROUTE}, fault: {{abort: {{http2Error: x}}}}"),
            "http[0].fault.abort.http2Error: Istio does not",
        ),
        (
            http(f"{ROUTE}, retries: {{attempts: 1, retryOn: '5xx, reset'}}"),
            "http[0].retries.retryOn: ' reset'",
        ),
        (
            http("directResponse: {status: 200, body: {string: a, bytes: YQ==}}"),
            "http[0].directResponse.body: only one",
        ),
        (
            http("directResponse: {status: 200, body: {bytes: YQ}}"),
            "http[0].directResponse.body.bytes: is no base64",
        ),
        (
            http(f"directResponse: {{status: 200, body: {{string: {'a' * 1048577}}}}}"),
            "http[0].directResponse.body: is larger",
        ),
        (http(f'name: "a\\tb", {ROUTE}'), "http[0].name: it holds a control character"),
        ("{hosts: [a.test], tcp: [{}]}", "tcp[0].route: must not be empty"),
        (
            f"{{hosts: [a.test], tcp: [{{match: [{{destinationSubnets: [10.0.0.0/33]}}], {ROUTE}}}]}}",
            "tcp[0].match[0].destinationSubnets[0]: ",
        ),
        (f"{{hosts: [a.test], tls: [{{match: [], {ROUTE}}}]}}", "tls[0].match: a tls route"),
        (f"{{hosts: [a.test], tls: [{{match: [{{sniHosts: []}}], {ROUTE}}}]}}", "tls[0].match[0].sniHosts: "),
        (
            f"{{hosts: [a.test], tls: [{{match: [{{sniHosts: [b.test]}}], {ROUTE}}}]}}",
            "tls[0].match[0].sniHosts[0]: 'b.test' is none",
        ),
        (
            f"{{hosts: ['*'], gateways: [g], tls: [{{match: [{{sniHosts: ['*a.b']}}], {ROUTE}}}]}}",
            "tls[0].match[0].sniHosts[0]: ",
        ),
    ],
)
def test_what_istio_or_envoy_does_not_take_is_refused_with_its_field(answer, spec, said):
    """The first thing wrong is named by its path and explained."""
    assert answer("VirtualService", spec).startswith(f"refused spec.{said}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            http(f"{ROUTE}, mirror: {{host: a}}, mirrorPercent: 3"),
            "spec.http[0].mirrorPercent: is deprecated",
        ),
        (
            http(f"{ROUTE}, mirror: {{host: a}}, mirror_percent: 3"),
            "spec.http[0].mirror_percent: is deprecated",
        ),
        (http(f"{ROUTE}, fault: {{abort: {{}}}}"), "spec.http[0].fault.abort: neither"),
        (http("redirect: {uri: /a}, timeout: 1s"), "spec.http[0].timeout: has no effect"),
        (
            http(f"directResponse: {{status: 200, body: {{string: {'a' * 102401}}}}}"),
            "spec.http[0].directResponse.body: is larger",
        ),
        (
            f"{{hosts: [a], gateways: [gw.ns.svc], http: [{{{ROUTE}}}]}}",
            "spec.gateways[0]: 'gw.ns.svc' is the old form",
        ),
        (
            f"{{hosts: [a], tls: [{{match: [{{sniHosts: [1.2.3.4]}}], {ROUTE}}}]}}",
            "spec.tls[0].match[0].sniHosts: '1.2.3.4'",
        ),
        (f"{{hosts: [a], http: [{{{ROUTE}}}, {{{ROUTE}}}]}}", "spec.http[1]: is not used: it has no matches"),
        (
            f"{{hosts: [a], http: [{{{ROUTE}}}, {{match: [{{port: 80}}], {ROUTE}}}]}}",
            "spec.http[1]: is not used: it comes after",
        ),
        (
            f"{{hosts: [a], tcp: [{{match: [{{port: 80}}], {ROUTE}}}, {{match: [{{port: 80}}], {ROUTE}}}]}}",
            "spec.tcp[1].match[0]: is not used: a match of tcp[0] is the same\n"
            "spec.tcp[1]: is not used: earlier routes have all its matches",
        ),
        (
            f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: /a}}}}], {ROUTE}}}, "
            f"{{match: [{{uri: {{prefix: /ab}}}}], {ROUTE}}}]}}",
            "spec.http[1].match[0]: is not used: http[0].match[0] takes every path that begins with '/a'",
        ),
    ],
)
def test_what_is_probably_a_mistake_is_admitted_with_a_warning(answer, spec, said):
    """Istio's webhook warns of what has no effect, is deprecated or unreachable."""
    assert answer("VirtualService", spec).startswith(said)


@pytest.mark.parametrize(
    "more", ["headers: {x: {exact: a}}", "method: {exact: POST}", "port: 80", "queryParams: {q: {exact: a}}"]
)
def test_a_longer_prefix_is_reached_when_the_shorter_asks_for_more(answer, more):
    """A match that asks for more than the path does not take a later one's requests."""
    wide, narrow = f"{{uri: {{prefix: /a}}, {more}}}", "{uri: {prefix: /ab}}"
    spec = f"{{hosts: [a], http: [{{match: [{wide}], {ROUTE}}}, {{match: [{narrow}], {ROUTE}}}]}}"
    assert answer("VirtualService", spec) == ""
