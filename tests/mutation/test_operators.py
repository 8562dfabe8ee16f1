"""Every way in which a policy is weakened, by example."""

from __future__ import annotations

from collections import Counter

import pytest
from policies import manifest, shop

from harness.changes import ABSENT
from harness.mutation import mutants


def found(one, *others):
    """What is done to which field of the first object, and the value it gets."""
    return {
        (mutant.field, mutant.operator): mutant.change.edits[0].value
        for mutant in mutants([one, *others])
        if mutant.ref.kind == one["kind"]
    }


TO_CATALOG = {"destination": {"host": "catalog"}}


def route(**fields):
    """A VirtualService with one route."""
    return manifest("VirtualService", {"hosts": ["catalog"], "http": [{"route": [TO_CATALOG], **fields}]})


def test_retries_are_removed_fewer_narrower_and_too_late():
    """Each of the four things that retries depend on is taken away by itself."""
    retries = {
        "attempts": 8,
        "perTryTimeout": "500ms",
        "retryOn": "5xx,reset,connect-failure",
        "backoff": "5ms",
    }
    assert found(route(timeout="2s", retries=retries)) == {
        ("spec.http[0].retries", "retries removed"): {"attempts": 0},
        ("spec.http[0].retries.attempts", "fewer attempts"): 1,
        ("spec.http[0].retries.retryOn", "retryOn without 5xx"): "reset,connect-failure",
        ("spec.http[0].retries.retryOn", "retryOn left to the default"): ABSENT,
        ("spec.http[0].retries.backoff", "pauses as long as the timeout"): "2s",
        ("spec.http[0].retries.perTryTimeout", "perTryTimeout removed"): ABSENT,
        ("spec.http[0].retries.perTryTimeout", "perTryTimeout beyond the timeout"): "4s",
        ("spec.http[0].timeout", "timeout removed"): ABSENT,
        ("spec.http[0].timeout", "timeout tenfold"): "20s",
        ("spec.http[0].timeout", "timeout of one try"): "0.5s",
    }


@pytest.mark.parametrize(
    ("conditions", "narrower"),
    [
        ("connect-failure,refused-stream,reset", {"connect-failure,refused-stream"}),
        ("5xx,retriable-4xx", {"5xx", "retriable-4xx"}),
        ("gateway-error,reset", {"reset"}),
        ("connect-failure,refused-stream", {"connect-failure", "refused-stream"}),
        ("503", set()),
    ],
)
def test_a_condition_is_dropped_only_if_no_other_one_covers_it(conditions, narrower):
    """Envoy counts every reset as a 5xx: without `reset` a policy with `5xx` is the same."""
    all_found = found(route(retries={"attempts": 1, "retryOn": conditions}))
    dropped = {value for (_, operator), value in all_found.items() if operator.startswith("retryOn without")}
    assert dropped == narrower


def test_a_route_that_retries_nothing_has_no_weaker_retries():
    """There is nothing to take away."""
    assert found(route(retries={"attempts": 0})) == {}
    assert found(route()) == {}


def test_weights_are_moved_and_subsets_swapped():
    """A canary gets half of the requests, or none; its requests go to the other subset, or to all pods."""
    to = [
        {"destination": {"host": "catalog", "subset": "v1"}, "weight": 90},
        {"destination": {"host": "catalog", "subset": "v2"}, "weight": 10},
    ]
    rule = manifest(
        "DestinationRule",
        {"host": "catalog.shop.svc.cluster.local", "subsets": [{"name": "v1"}, {"name": "v2"}]},
    )
    at = "spec.http[0].route"
    assert found(manifest("VirtualService", {"hosts": ["catalog"], "http": [{"route": to}]}), rule) == {
        (f"{at}[0].destination.subset", "subset swapped for v2"): "v2",
        (f"{at}[0].destination.subset", "subset left out"): ABSENT,
        (f"{at}[1].destination.subset", "subset swapped for v1"): "v1",
        (f"{at}[1].destination.subset", "subset left out"): ABSENT,
        (f"{at}[1].weight", "weight raised to half"): 90,
        (f"{at}[0].weight", "weight taken"): 0,
        (f"{at}[1].weight", "weight taken"): 0,
    }


def test_a_switch_from_one_version_to_another_is_half_undone():
    """Of 100 and 0, 0 becomes as much as 100; 100 stays, since without it nothing is left."""
    to = [TO_CATALOG | {"weight": 100}, TO_CATALOG | {"weight": 0}]
    assert list(found(route(route=to)).values()) == [100]


def test_routes_and_their_matches_are_dropped_where_another_one_is_left():
    """And so are mirrors."""
    special = {"match": [{"headers": {"x": {"exact": "y"}}}], "route": [TO_CATALOG]}
    rest = {"route": [TO_CATALOG], "mirror": {"host": "payments"}, "mirrorPercentage": {"value": 50}}
    assert found(manifest("VirtualService", {"hosts": ["catalog"], "http": [special, rest]})) == {
        ("spec.http[0]", "route dropped"): ABSENT,
        ("spec.http[0].match", "match dropped"): ABSENT,
        ("spec.http[1]", "route dropped"): ABSENT,
        ("spec.http[1].mirror", "mirror removed"): ABSENT,
        ("spec.http[1].mirrorPercentage.value", "a tenth mirrored"): 5.0,
    }


def test_ejection_is_removed_and_each_of_its_settings_made_useless():
    """Also where a setting is left to its default."""
    at = "spec.trafficPolicy.outlierDetection"
    policy = {"outlierDetection": {"consecutive5xxErrors": 5}, "tls": {"mode": "DISABLE"}}
    assert found(manifest("DestinationRule", {"host": "catalog", "trafficPolicy": policy})) == {
        (at, "outlierDetection removed"): ABSENT,
        (f"{at}.consecutive5xxErrors", "threshold out of reach"): 1_000_000,
        (f"{at}.maxEjectionPercent", "maxEjectionPercent too small"): 1,
        (f"{at}.baseEjectionTime", "base ejection time too short"): "0.001s",
        (f"{at}.interval", "interval of ten minutes"): "600s",
        (f"{at}.minHealthPercent", "panic at the first ejection"): 100,
    }


def test_limits_balancing_and_tls_are_removed_at_every_level():
    """Of the host, of a port of it and of a subset."""
    spec = {
        "host": "catalog",
        "trafficPolicy": {
            "tls": {"mode": "ISTIO_MUTUAL"},
            "loadBalancer": {
                "simple": "ROUND_ROBIN",
                "localityLbSetting": {"failover": [{"from": "a", "to": "b"}]},
            },
            "retryBudget": {"minRetryConcurrency": 3},
            "portLevelSettings": [{"port": {"number": 80}, "connectionPool": {"tcp": {"maxConnections": 3}}}],
        },
        "subsets": [
            {
                "name": "v1",
                "trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 1, "idleTimeout": "3s"}}},
            }
        ],
    }
    policy, http = "spec.trafficPolicy", "spec.subsets[0].trafficPolicy.connectionPool.http"
    assert found(manifest("DestinationRule", spec)) == {
        (f"{policy}.tls.mode", "tls mode DISABLE"): "DISABLE",
        (f"{policy}.retryBudget", "retryBudget removed"): ABSENT,
        (f"{policy}.loadBalancer.localityLbSetting.enabled", "locality off"): False,
        (f"{policy}.loadBalancer.localityLbSetting.failover", "failover removed"): ABSENT,
        (f"{policy}.loadBalancer.simple", "balancing by chance"): "RANDOM",
        (
            f"{policy}.portLevelSettings[0].connectionPool.tcp.maxConnections",
            "maxConnections removed",
        ): ABSENT,
        (f"{http}.http2MaxRequests", "http2MaxRequests removed"): ABSENT,
        (f"{http}.idleTimeout", "idleTimeout removed"): ABSENT,
        (f"{http}.idleTimeout", "idleTimeout tenfold"): "30s",
    }


def test_a_subset_is_dropped_and_widened_only_if_a_route_leads_to_it():
    """Nothing depends on v1 here."""
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    rule = manifest(
        "DestinationRule",
        {"host": "catalog", "trafficPolicy": {"tls": {"mode": "DISABLE"}}, "subsets": subsets},
    )
    to = route(route=[{"destination": {"host": "catalog", "subset": "v2"}}])
    assert found(rule, to) == {
        ("spec.subsets[1]", "subset v2 dropped"): ABSENT,
        ("spec.subsets[1].labels", "subset v2 widened"): ABSENT,
    }


def test_mutual_tls_goes_down_the_ladder():
    """STRICT to PERMISSIVE and to DISABLE; an exception of one port also goes altogether."""
    spec = {"mtls": {"mode": "STRICT"}, "portLevelMtls": {"9090": {"mode": "PERMISSIVE"}}}
    assert found(manifest("PeerAuthentication", spec, "security.istio.io/v1")) == {
        ("spec.mtls.mode", "STRICT to PERMISSIVE"): "PERMISSIVE",
        ("spec.mtls.mode", "STRICT to DISABLE"): "DISABLE",
        ("spec.portLevelMtls.9090.mode", "PERMISSIVE to DISABLE"): "DISABLE",
        ("spec.portLevelMtls", "exception of port 9090 dropped"): ABSENT,
    }


def test_one_of_several_exceptions_goes_alone():
    """The last one goes with the map, for an empty one is refused."""
    ports = {"9090": {"mode": "DISABLE"}, "9091": {"mode": "DISABLE"}}
    assert found(manifest("PeerAuthentication", {"portLevelMtls": ports}, "security.istio.io/v1")) == {
        (f"spec.portLevelMtls.{port}", f"exception of port {port} dropped"): ABSENT for port in ports
    }


def test_what_is_allowed_is_widened_and_narrowed():
    """Who may, and what they may."""
    rule = {
        "from": [{"source": {"principals": ["a"], "notNamespaces": ["n"]}}],
        "to": [{"operation": {"methods": ["GET"], "ports": ["80"]}}],
    }
    assert found(manifest("AuthorizationPolicy", {"rules": [rule]}, "security.istio.io/v1")) == {
        ("spec.rules[0]", "rule 0 dropped"): ABSENT,
        ("spec.rules[0].from", "from dropped"): ABSENT,
        ("spec.rules[0].to", "to dropped"): ABSENT,
        ("spec.rules[0].from[0].source.principals", "principals widened to all"): ["*"],
        ("spec.rules[0].from[0].source.notNamespaces", "notNamespaces dropped"): ABSENT,
        ("spec.rules[0].to[0].operation.methods", "methods widened to all"): ["*"],
        ("spec.rules", "everything allowed"): [{}],
    }


def test_what_is_denied_is_let_pass():
    """By leaving out a rule, or by noting only; default deny by allowing everything."""
    deny = {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin"]}}]}]}
    assert found(manifest("AuthorizationPolicy", deny, "security.istio.io/v1")) == {
        ("spec.rules[0]", "rule 0 dropped"): ABSENT,
        ("spec.action", "DENY to AUDIT"): "AUDIT",
    }
    assert found(manifest("AuthorizationPolicy", {}, "security.istio.io/v1")) == {
        ("spec.rules", "everything allowed"): [{}]
    }


def test_the_way_out_and_the_way_in_are_opened():
    """Sidecar and Gateway."""
    sidecar = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "egress": [{"hosts": ["./*"]}]}
    assert found(manifest("Sidecar", sidecar)) == {
        ("spec.outboundTrafficPolicy.mode", "REGISTRY_ONLY to ALLOW_ANY"): "ALLOW_ANY",
        ("spec.egress[0].hosts", "egress widened to all"): ["*/*"],
    }
    servers = [
        {"hosts": ["*"], "tls": {"httpsRedirect": True}},
        {"hosts": ["a.example"], "tls": {"mode": "MUTUAL", "minProtocolVersion": "TLSV1_3"}},
    ]
    assert found(manifest("Gateway", {"servers": servers})) == {
        ("spec.servers[0].tls.httpsRedirect", "redirect dropped"): ABSENT,
        ("spec.servers[1].tls.mode", "MUTUAL to SIMPLE"): "SIMPLE",
        ("spec.servers[1].tls.minProtocolVersion", "minProtocolVersion dropped"): ABSENT,
        ("spec.servers[1].hosts", "hosts widened to all"): ["*"],
    }


def test_workloads_are_fewer_ruder_and_outside_the_mesh():
    """Deployment and PodDisruptionBudget."""
    container = {"name": "web", "readinessProbe": {}, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}
    container["readinessProbe"] = {"httpGet": {"port": 80}}
    config = {"proxy.istio.io/config": "terminationDrainDuration: 5s\nconcurrency: 2\n"}
    template = {"metadata": {"annotations": config}, "spec": {"containers": [container]}}
    at = "spec.template"
    assert found(manifest("Deployment", {"replicas": 3, "template": template}, "apps/v1")) == {
        ("spec.replicas", "replicas one"): 1,
        ("spec.strategy", "strategy Recreate"): {"type": "Recreate"},
        (f"{at}.metadata.labels.sidecar.istio.io/inject", "sidecar left out"): "false",
        (f"{at}.metadata.annotations.proxy.istio.io/config", "terminationDrainDuration zero"): (
            "concurrency: 2\nterminationDrainDuration: 0s\n"
        ),
        (f"{at}.spec.containers[0].lifecycle.preStop", "preStop removed"): ABSENT,
        (f"{at}.spec.containers[0].readinessProbe", "readinessProbe removed"): ABSENT,
    }
    brief = {"spec": {"containers": [{"name": "web"}], "terminationGracePeriodSeconds": 5}}
    every = found(manifest("Deployment", {"template": brief}, "apps/v1"))
    assert every[f"{at}.spec.terminationGracePeriodSeconds", "drain time zero"] == 0
    assert found(manifest("PodDisruptionBudget", {"minAvailable": 2}, "policy/v1")) == {
        ("spec.minAvailable", "minAvailable zero"): 0
    }
    assert found(manifest("PodDisruptionBudget", {"maxUnavailable": 1}, "policy/v1")) == {
        ("spec.maxUnavailable", "maxUnavailable 100 %"): "100%"
    }


def test_the_shop_has_more_than_sixty_mutants():
    """Of each kind of policy that it has."""
    kinds = Counter(mutant.ref.kind for mutant in mutants(shop()))
    assert kinds.total() >= 60
    assert kinds.keys() >= {"VirtualService", "DestinationRule", "PeerAuthentication", "Deployment"}


def test_objects_of_other_kinds_have_no_mutants():
    """A Service is no policy, and somebody else's VirtualService is not Istio's."""
    other = route(retries={"attempts": 3}) | {"apiVersion": "example.com/v1"}
    assert mutants([manifest("Service", {}, "v1"), other]) == ()
