"""What Istio's webhook says to a DestinationRule."""

from __future__ import annotations

import pytest

DR = "DestinationRule"
LB = "{{host: a, trafficPolicy: {{loadBalancer: {{{0}}}}}}}"
POLICY = "{{host: a, trafficPolicy: {{{0}}}}}"
LOCALITY = "localityLbSetting: {{{0}}}, simple: ROUND_ROBIN"


@pytest.mark.parametrize(
    "spec",
    [
        "{host: '*.test', exportTo: [.], workloadSelector: {matchLabels: {app: a}}, subsets: [{name: v1}]}",
        POLICY.format(
            "connectionPool: {tcp: {idleTimeout: 0s}, http: {}}, retryBudget: {percent: 12.5}",
        ),
        POLICY.format("tls: {mode: SIMPLE, credentialName: s, sni: a.test, subjectAltNames: [a]}"),
        POLICY.format("portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}], proxyProtocol: {}"),
        LB.format("consistentHash: {httpCookie: {name: c, ttl: 0s}, maglev: {tableSize: 65537}}"),
        LB.format(
            "simple: LEAST_REQUEST, warmup: {duration: 30s, minimumPercent: 10, aggression: 1.5}",
        ),
        LB.format(LOCALITY.format("distribute: [{from: us/*, to: {us/a/*: 80, 'us/*': 20}}]")),
    ],
)
def test_what_istio_takes_is_admitted_without_a_word(answer, spec):
    """Each spec passes, and there is no warning."""
    assert answer(DR, spec) == ""


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}", "host: '' is no host name"),
        ("{host: a, subsets: [{name: v1}, {name: v1}]}", "subsets: the subset 'v1'"),
        ("{host: a, subsets: [{name: v1, labels: {a: '*'}}]}", "subsets[0].labels[a]: "),
        (
            "{host: a, exportTo: ['*'], workloadSelector: {matchLabels: {a: b}}}",
            "exportTo: with a workloadSelector",
        ),
        ("{host: a, workloadSelector: {matchLabels: {a: '*'}}}", "workloadSelector.matchLabels[a]: "),
        (POLICY.format(""), "trafficPolicy: a traffic policy must"),
        (POLICY.format("connectionPool: {}"), "trafficPolicy.connectionPool: a connection pool"),
        (
            POLICY.format("connectionPool: {tcp: {tcpKeepalive: {time: 1300000h}}}"),
            "trafficPolicy.connectionPool.tcp",
        ),
        (
            POLICY.format("connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}"),
            "trafficPolicy.connectionPool.http.useClientProtocol: ",
        ),
        (
            POLICY.format("outlierDetection: {consecutiveLocalOriginFailures: 1}"),
            "trafficPolicy.outlierDetection.cons",
        ),
        (
            POLICY.format("outlierDetection: {consecutiveErrors: 1}"),
            "trafficPolicy.outlierDetection.consecutiveErrors: ",
        ),
        (POLICY.format("tls: {mode: MUTUAL}"), "trafficPolicy.tls.credentialName: mode MUTUAL needs"),
        (
            POLICY.format("tls: {mode: SIMPLE, caCertificates: /a}"),
            "trafficPolicy.tls.caCertificates: pods of the local",
        ),
        (
            POLICY.format("tls: {mode: SIMPLE, credentialName: a, insecureSkipVerify: true}"),
            "trafficPolicy.tls.insecureSkipVerify: ",
        ),
        (
            POLICY.format("tls: {credentialName: 'configmap://a'}"),
            "trafficPolicy.tls.credentialName: the local mesh",
        ),
        (
            POLICY.format("portLevelSettings: [{tls: {}}]"),
            "trafficPolicy.portLevelSettings[0].port: must be given",
        ),
        (
            POLICY.format("portLevelSettings: [{port: {number: 1}}]"),
            "trafficPolicy.portLevelSettings[0]: the policy",
        ),
        (
            POLICY.format("tunnel: {targetHost: a, targetPort: 1}"),
            "trafficPolicy.tunnel: the local mesh does not",
        ),
        (
            LB.format("simple: RANDOM, consistentHash: {useSourceIp: true}"),
            "trafficPolicy.loadBalancer.consistentHash: ",
        ),
        (
            LB.format("consistentHash: {useSourceIp: true, httpHeaderName: a}"),
            "trafficPolicy.loadBalancer.consistentHash: only one",
        ),
        (
            LB.format("consistentHash: {httpHeaderName: ''}"),
            "trafficPolicy.loadBalancer.consistentHash.httpHeaderName: ",
        ),
        (
            LB.format("consistentHash: {maglev: {tableSize: 9}}"),
            "trafficPolicy.loadBalancer.consistentHash.maglev",
        ),
        (
            LB.format("consistentHash: {maglev: {}}"),
            "trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: ",
        ),
        (
            LB.format("consistentHash: {minimumRingSize: 9, ringHash: {}}"),
            "trafficPolicy.loadBalancer.consistentHash.minimumRingSize: ",
        ),
        (
            LB.format("consistentHash: {httpCookie: {name: a, attributes: [{name: b}, {name: b}]}}"),
            "trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes: 'b'",
        ),
        (
            LB.format("warmup: {duration: 1s, aggression: 0}"),
            "trafficPolicy.loadBalancer.warmup.aggression: ",
        ),
        (
            LB.format(LOCALITY.format("distribute: [{from: us, to: {us: 50}}]")),
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the shares add up to 50",
        ),
        (
            LB.format(LOCALITY.format("distribute: [{from: us, to: {us: 50, us/a: 50}}]")),
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: 'us/a' overlaps",
        ),
        (
            LB.format(LOCALITY.format("distribute: [{from: 'us/*/a', to: {us: 100}}]")),
            "trafficPolicy.loadBalancer.localityLbSetting.distribute: 'us/*/a' is no locality",
        ),
        (
            LB.format(LOCALITY.format("failover: [{from: us, to: us}]")),
            "trafficPolicy.loadBalancer.localityLbSetting.failover[0]: from and to",
        ),
        (
            LB.format(LOCALITY.format("failover: [{from: us/a, to: eu}]")),
            "trafficPolicy.loadBalancer.localityLbSetting.failover[0].from: ",
        ),
        (
            LB.format(
                LOCALITY.format("failover: [{from: us, to: eu}], distribute: [{from: us, to: {us: 100}}]")
            ),
            "trafficPolicy.loadBalancer.localityLbSetting.failover: only one",
        ),
        (
            LB.format(
                LOCALITY.format(
                    "failover: [{from: us, to: eu}], failoverPriority: [topology.kubernetes.io/zone]"
                )
            ),
            "trafficPolicy.loadBalancer.localityLbSetting.failoverPriority: ",
        ),
    ],
)
def test_what_istio_or_the_mesh_does_not_take_is_refused_with_its_field(answer, spec, said):
    """The first thing wrong is named by its path and explained."""
    assert answer(DR, spec).startswith(f"refused spec.{said}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            LB.format("consistentHash: {useSourceIp: true, minimumRingSize: 9}"),
            "spec.trafficPolicy.loadBalancer",
        ),
        (
            LB.format(LOCALITY.format("failover: [{from: us, to: eu}]")),
            "spec.trafficPolicy.loadBalancer.localityLb",
        ),
    ],
)
def test_what_is_probably_a_mistake_is_admitted_with_a_warning(answer, spec, said):
    """Istio's webhook warns of what is deprecated and of failover that cannot happen."""
    assert answer(DR, spec).startswith(said)
