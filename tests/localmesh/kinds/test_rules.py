"""What Istio's webhook says to the kinds beside VirtualService and DestinationRule."""

from __future__ import annotations

import pytest

GW = "Gateway"
SE = "ServiceEntry"
AP = "AuthorizationPolicy"
SERVER = "{{servers: [{{port: {{number: 443, name: s, protocol: {0}}}, hosts: ['{1}'], {2}}}]}}"
ENTRY = "{{hosts: [a.test], ports: [{{number: 80, name: http, protocol: HTTP}}], {0}}}"
RULE = "{{rules: [{{{0}}}]}}"


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (GW, SERVER.format("HTTP", "*", "tls: {httpsRedirect: true}")),
        (GW, SERVER.format("https", "ns/*.test", "tls: {mode: SIMPLE, credentialName: s}, bind: 0.0.0.0")),
        (GW, SERVER.format("TLS", "10.0.0.1", "tls: {mode: PASSTHROUGH}")),
        (GW, SERVER.format("TLS", "./a.test", "tls: {mode: ISTIO_MUTUAL}")),
        (SE, ENTRY.format("resolution: DNS, addresses: [10.0.0.1]")),
        (
            SE,
            ENTRY.format(
                "resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {http: 8080}, weight: 2}]"
            ),
        ),
        (SE, ENTRY.format("resolution: DNS, endpoints: [{address: b.test}], exportTo: ['~']")),
        (SE, ENTRY.format("resolution: STATIC, workloadSelector: {labels: {app: a}}")),
        ("WorkloadEntry", "{address: a.test, labels: {app: a}, locality: us/a/b, serviceAccount: a}"),
        (
            "Sidecar",
            "{egress: [{port: {number: 80, protocol: HTTP}, hosts: ['./*']}, {hosts: ['*/a.test', '~ns/*']}]}",
        ),
        ("Sidecar", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"),
        (AP, "{}"),
        (AP, "{action: DENY, rules: [{}]}"),
        (
            AP,
            RULE.format(
                "from: [{source: {principals: ['*'], ipBlocks: [10.0.0.0/8]}}], to: [{operation: {ports: ['80']}}]"
            ),
        ),
        (AP, RULE.format("to: [{operation: {paths: [/a, '/a/*', '/a/{*}/b', '/a/{*}/{**}']}}]")),
        (
            AP,
            RULE.format(
                "when: [{key: 'request.headers[x]', values: [a]}, {key: source.ip, notValues: [1.2.3.4]}]"
            ),
        ),
        (
            "Telemetry",
            "{accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code >= 400}}]}",
        ),
        (
            "Telemetry",
            "{metrics: [{overrides: [{match: {metric: ALL_METRICS}, tagOverrides: {a: {operation: REMOVE}}}]}]}",
        ),
        (
            "Telemetry",
            "{metrics: [{overrides: [{tagOverrides: {a: {value: 'string(destination.port)'}}}]}]}",
        ),
        ("PeerAuthentication", "{mtls: {mode: STRICT}}"),
    ],
)
def test_what_istio_takes_is_admitted_without_a_word(answer, kind, spec):
    """Each spec passes, and there is no warning."""
    assert answer(kind, spec) == ""


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        (GW, "{}", "servers: a gateway must"),
        (GW, SERVER.format("HTTP", "short", ""), "servers[0].hosts[0]: 'short' is a short name"),
        (GW, SERVER.format("HTTP", "*a.test", ""), "servers[0].hosts[0]: '*a.test' has a wildcard"),
        (GW, SERVER.format("HTTP", "a b/a.test", ""), "servers[0].hosts[0]: 'a b' is no namespace"),
        (GW, SERVER.format("FTP", "*", ""), "servers[0].port.protocol: 'FTP' is no protocol"),
        (GW, SERVER.format("''", "*", ""), "servers[0].port.protocol: must not be empty"),
        (GW, SERVER.format("HTTPS", "*", ""), "servers[0].tls: a port with the protocol HTTPS"),
        (
            GW,
            SERVER.format("HTTP", "*", "tls: {mode: SIMPLE, credentialName: a}"),
            "servers[0].tls: a port with",
        ),
        (GW, SERVER.format("TCP", "*", "tls: {}"), "servers[0].tls: a port with"),
        (GW, SERVER.format("HTTP", "*", "bind: 1.2.3.4"), "servers[0].bind: the local mesh"),
        (
            GW,
            SERVER.format("HTTPS", "*", "tls: {mode: MUTUAL}"),
            "servers[0].tls.credentialName: mode MUTUAL",
        ),
        (
            GW,
            SERVER.format("HTTPS", "*", "tls: {mode: AUTO_PASSTHROUGH}"),
            "servers[0].tls.mode: invalid enum value",
        ),
        (
            GW,
            SERVER.format("HTTPS", "*", "tls: {mode: ISTIO_MUTUAL, credentialName: a}"),
            "servers[0].tls.credentialName: must",
        ),
        (
            GW,
            SERVER.format("HTTPS", "*", "tls: {mode: SIMPLE, credentialName: a, credentialNames: [b]}"),
            "servers[0].tls.credentialNames: only one",
        ),
        (
            GW,
            SERVER.format("HTTPS", "*", "tls: {mode: SIMPLE, credentialName: a, verifyCertificateSpki: [x]}"),
            "servers[0].tls.verifyCertificateSpki[0]: ",
        ),
        (SE, "{hosts: ['*']}", 'hosts[0]: "*" is no host'),
        (SE, "{hosts: []}", "hosts: a service entry"),
        (
            SE,
            ENTRY.format("resolution: NONE, endpoints: [{address: 1.2.3.4}]"),
            "endpoints: must not be given",
        ),
        (
            SE,
            ENTRY.format("resolution: STATIC, endpoints: [{address: a.test}]"),
            "endpoints[0].address: 'a.test' is not",
        ),
        (
            SE,
            ENTRY.format("resolution: STATIC, endpoints: [{address: 'unix:///a'}]"),
            "endpoints[0].address: the local mesh",
        ),
        (
            SE,
            ENTRY.format("resolution: DNS, endpoints: [{address: a_b}]"),
            "endpoints[0].address: 'a_b' is not",
        ),
        (
            SE,
            ENTRY.format("resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {x: 1}}]"),
            "endpoints[0].ports[x]: ",
        ),
        (
            SE,
            ENTRY.format("resolution: DNS_ROUND_ROBIN, endpoints: [{address: a}, {address: b}]"),
            "endpoints: there can be one",
        ),
        (
            SE,
            ENTRY.format(
                "resolution: STATIC, endpoints: [{address: 1.2.3.4}], workloadSelector: {labels: {a: b}}"
            ),
            "endpoints: only one",
        ),
        (SE, ENTRY.format("resolution: DNS, addresses: [10.0.0.0/8]"), "addresses[0]: a CIDR block"),
        (SE, ENTRY.format("addresses: [10.0.0.0/08]"), "addresses[0]: '10.0.0.0/08' is no IP"),
        (SE, ENTRY.format("exportTo: ['~', a]"), 'exportTo: "~" stands with other'),
        (SE, "{hosts: ['*.a.test'], resolution: DNS}", "hosts[0]: '*.a.test' cannot be looked up"),
        (
            SE,
            "{hosts: [a.test, b.test], resolution: DNS, ports: [{number: 1, name: a, protocol: TCP}]}",
            "hosts: several hosts",
        ),
        (SE, "{hosts: [a.test], ports: [{number: 1, name: a}, {number: 1, name: b}]}", "ports: the number 1"),
        (SE, "{hosts: [a.test], ports: [{number: 1, name: a}, {number: 2, name: a}]}", "ports: the name 'a'"),
        (SE, "{hosts: [a.test], ports: [{number: 1, name: a b}]}", "ports[0].name: "),
        (SE, "{hosts: [a.test], resolution: DYNAMIC_DNS}", "resolution: invalid enum value 'DYNAMIC_DNS'"),
        ("WorkloadEntry", "{}", "address: '' is not"),
        ("WorkloadEntry", "{address: 1.2.3.4, network: a}", "network: the local mesh is one network"),
        ("WorkloadEntry", "{address: 1.2.3.4, labels: {a: '*'}}", "labels[a]: "),
        ("Sidecar", "{}", "egress: a sidecar must have"),
        ("Sidecar", "{egress: [{hosts: ['*/*']}, {hosts: ['./*']}]}", "egress[0]: a listener without a port"),
        ("Sidecar", "{egress: [{hosts: []}]}", "egress[0].hosts: "),
        ("Sidecar", "{egress: [{hosts: [a.test]}]}", "egress[0].hosts[0]: 'a.test' has no namespace"),
        ("Sidecar", "{egress: [{hosts: ['*/a']}]}", "egress[0].hosts[0]: 'a' is a short name"),
        ("Sidecar", "{egress: [{hosts: ['a b/*']}]}", "egress[0].hosts[0]: 'a b' is no namespace"),
        (
            "Sidecar",
            "{egress: [{hosts: ['*/*'], port: {number: 1}, bind: x}]}",
            "egress[0].bind: the local mesh does not capture",
        ),
        (
            "Sidecar",
            "{egress: [{hosts: ['*/*'], port: {number: 1}}, {hosts: ['*/*'], port: {number: 1}}]}",
            "egress: the port 1",
        ),
        (
            "Sidecar",
            "{egress: [{hosts: ['*/*'], captureMode: IPTABLES}]}",
            "egress[0].captureMode: invalid enum value",
        ),
        ("Sidecar", "{ingress: []}", "ingress: the local mesh"),
        ("PeerAuthentication", "{portLevelMtls: {}}", "portLevelMtls: must not be empty"),
        (AP, "{action: DENY}", "rules: a DENY policy without rules"),
        (AP, "{action: CUSTOM}", "action: invalid enum value 'CUSTOM': the local mesh"),
        (AP, "{provider: {name: a}}", "provider: the local mesh"),
        (AP, "{targetRefs: []}", "targetRefs: the local mesh"),
        (AP, RULE.format("from: [{}]"), "rules[0].from[0].source: must not be empty"),
        (AP, RULE.format("from: [{source: {principals: []}}]"), "rules[0].from[0].source: must not be empty"),
        (
            AP,
            RULE.format("from: [{source: {requestPrincipals: [a]}}]"),
            "rules[0].from[0].source.requestPrincipals: the local",
        ),
        (AP, RULE.format("from: [{source: {principals: ['']}}]"), "rules[0].from[0].source.principals[0]: "),
        (AP, RULE.format("from: [{source: {ipBlocks: [x]}}]"), "rules[0].from[0].source.ipBlocks[0]: "),
        (
            AP,
            RULE.format("from: [{source: {serviceAccounts: [a/b/c]}}]"),
            "rules[0].from[0].source.serviceAccounts[0]: ",
        ),
        (
            AP,
            RULE.format("from: [{source: {serviceAccounts: [a], namespaces: [b]}}]"),
            "rules[0].from[0].source.serviceAcc",
        ),
        (
            AP,
            RULE.format("from: [{source: {trustDomains: ['a*b']}}]"),
            "rules[0].from[0].source.trustDomains[0]: ",
        ),
        (AP, RULE.format("to: [{operation: {}}]"), "rules[0].to[0].operation: must not be empty"),
        (AP, RULE.format("to: [{operation: {ports: ['65536']}}]"), "rules[0].to[0].operation.ports[0]: "),
        (AP, RULE.format("to: [{operation: {paths: ['/{**}/{*}']}}]"), "rules[0].to[0].operation.paths[0]: "),
        (AP, RULE.format("to: [{operation: {paths: ['/a{*}']}}]"), "rules[0].to[0].operation.paths[0]: "),
        (
            AP,
            RULE.format("to: [{operation: {notPaths: ['/a*/{*}']}}]"),
            "rules[0].to[0].operation.notPaths[0]: ",
        ),
        (AP, RULE.format("when: [{key: source.ip}]"), "rules[0].when[0].values: one of"),
        (AP, RULE.format("when: [{key: foo, values: [a]}]"), "rules[0].when[0].key: 'foo' is no attribute"),
        (AP, RULE.format("when: [{key: 'request.headers[]', values: [a]}]"), "rules[0].when[0].key: "),
        (AP, RULE.format("when: [{key: 'request.auth.claims[a]', values: [a]}]"), "rules[0].when[0].key: "),
        (
            AP,
            RULE.format("when: [{key: destination.port, values: [http]}]"),
            "rules[0].when[0].values[0]: 'http' is no port",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER}]}",
            "configPatches[0].applyTo: invalid enum value 'CLUSTER': the local mesh takes one EnvoyFilter only",
        ),
        ("EnvoyFilter", "{targetRefs: []}", "targetRefs: the local mesh has no waypoints"),
        (
            "Telemetry",
            "{tracing: [{customTags: {}}]}",
            "tracing[0].customTags: the local mesh puts Istio's own",
        ),
        (
            "Telemetry",
            "{tracing: [{disableContextPropagation: true}]}",
            "tracing[0].disableContextPropagation: ",
        ),
        (
            "Telemetry",
            "{tracing: [{randomSamplingPercentage: 101}]}",
            "tracing[0].randomSamplingPercentage: ",
        ),
        (
            "Telemetry",
            "{accessLogging: [{filter: {expression: '1 +'}}]}",
            "accessLogging[0].filter.expression: ",
        ),
        ("Telemetry", "{accessLogging: [{providers: [{name: ''}]}]}", "accessLogging[0].providers[0].name: "),
        (
            "Telemetry",
            "{metrics: [{overrides: [{tagOverrides: {a: {}}}]}]}",
            "metrics[0].overrides[0].tagOverrides[a].value: must be given",
        ),
        ("Telemetry", "{metrics: [{providers: [{name: otel}]}]}", "metrics[0].providers[0].name: the local"),
        (
            "Telemetry",
            "{accessLogging: [{providers: [{name: otel}]}]}",
            "accessLogging[0].providers[0].name: ",
        ),
        ("Telemetry", "{metrics: [{reportingInterval: 1s}]}", "metrics[0].reportingInterval: the local mesh"),
        (
            "Telemetry",
            "{metrics: [{overrides: [{match: {customMetric: mine}, disabled: true}]}]}",
            "metrics[0].overrides[0].match.customMetric: there is no metric istio_mine",
        ),
        (
            "Telemetry",
            "{metrics: [{overrides: [{tagOverrides: {a: {value: request.host + request.path}}}]}]}",
            "metrics[0].overrides[0].tagOverrides[a].value: 'request.host + request.path' adds",
        ),
        (
            "Telemetry",
            "{metrics: [{overrides: [{tagOverrides: {a: {value: 'filter_state.downstream_peer.app'}}}]}]}",
            "metrics[0].overrides[0].tagOverrides[a].value: downstream_peer is there",
        ),
        (
            "Telemetry",
            "{metrics: [{overrides: [{tagOverrides: {a: {value: 'string(1) == string(2)'}}}]}]}",
            "metrics[0].overrides[0].tagOverrides[a].value: 'string(1) == string(2)' is no CEL expression",
        ),
    ],
)
def test_what_istio_or_the_mesh_does_not_take_is_refused_with_its_field(answer, kind, spec, said):
    """The first thing wrong is named by its path and explained."""
    assert answer(kind, spec).startswith(f"refused spec.{said}")


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        (
            GW,
            SERVER.format("HTTPS", "*", "tls: {httpsRedirect: true}"),
            "spec.servers[0].tls.httpsRedirect: ",
        ),
        (
            GW,
            SERVER.format("TLS", "*", "tls: {credentialName: a}"),
            "spec.servers[0].tls.credentialName: is ignored",
        ),
        (
            GW,
            SERVER.format("TLS", "*", "tls: {minProtocolVersion: TLSV1_0}"),
            "spec.servers[0].tls.minProtocolVersion: ",
        ),
        (
            GW,
            SERVER.format("TLS", "*", "tls: {cipherSuites: [FOO]}"),
            "spec.servers[0].tls.cipherSuites: unknown",
        ),
        (SE, "{hosts: ['*-a.test']}", "spec.hosts[0]: '*-a.test' has a wildcard"),
        (SE, "{hosts: [a.test], ports: [{number: 1, name: a}]}", "spec.ports[0]: a TCP port needs addresses"),
        (
            SE,
            ENTRY.format("workloadSelector: {labels: {a: b}}"),
            "spec.workloadSelector: should not be given",
        ),
        (
            SE,
            ENTRY.format("resolution: STATIC, workloadSelector: {}"),
            "spec.workloadSelector: has no labels",
        ),
        (
            "Sidecar",
            "{egress: [{hosts: ['./*', default/a.test]}]}",
            "spec.egress[0].hosts[1]: 'default/a.test'",
        ),
        ("Sidecar", "{egress: [{hosts: ['*/*', ns/a.test]}]}", 'spec.egress[0].hosts: "*/*" includes'),
        ("PeerAuthentication", "{selector: {}}", "spec.selector: has no labels"),
        (
            AP,
            "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}",
            "spec.rules[0]: uses HTTP attributes only",
        ),
        (
            "Telemetry",
            "{metrics: [{overrides: [{tagOverrides: {'': {operation: REMOVE}}}]}]}",
            "spec.metrics[0].overrides[0]",
        ),
    ],
)
def test_what_is_probably_a_mistake_is_admitted_with_a_warning(answer, kind, spec, said):
    """Istio's webhook warns of what has no effect, is deprecated or stands there twice."""
    assert answer(kind, spec).startswith(said)


@pytest.mark.parametrize(
    ("kind", "metadata", "said"),
    [
        (AP, {"annotations": {"istio.io/dry-run": "true"}}, ""),
        (
            AP,
            {"annotations": {"istio.io/dry-run": "yes"}},
            "refused metadata.annotations[istio.io/dry-run]: 'yes'",
        ),
        (
            "PeerAuthentication",
            {"annotations": {"istio.io/dry-run": "true"}},
            "refused metadata.annotations[istio.io/dry-run]",
        ),
        (
            AP,
            {"annotations": {"internal.istio.io/parents": "a"}},
            "refused metadata.annotations[internal.istio.io/parents]",
        ),
    ],
)
def test_annotations_of_istios_own_are_checked(answer, kind, metadata, said):
    """A dry run is for authorization policies, and the internal annotations are for nobody."""
    found = answer(kind, "{}", **metadata)
    assert found.startswith(said) if said else not found


def test_the_name_of_a_gateway_has_no_dots(answer):
    """VirtualServices could not name it."""
    spec = SERVER.format("HTTP", "*", "")
    assert answer(GW, spec, name="a.b").startswith("refused metadata.name: ")
