"""Which pod gets a request: balancing, failover, limits and ejection through real Envoys."""

from __future__ import annotations

import concurrent.futures
import json
from collections import Counter
from dataclasses import replace

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.snapshot import snapshot

pytestmark = pytest.mark.e2e

URL = "http://callee:8080/"
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: callee, namespace: default}}
spec: {{host: callee, trafficPolicy: {}}}
"""
OUTLIERS = "outlierDetection: {consecutive5xxErrors: 1, interval: 100ms, baseEjectionTime: 60s"
PLACES = {"callee-v1-1": "r1/z1", "callee-v2-1": "r1/z2", "callee-v3-1": "r2/z1"}


@pytest.fixture(scope="module")
def shop(lab, build):
    """A client in r1/z1, and a callee in each of three zones, of which the third is in another region."""
    lab.client = lab.pod("client", program=False, locality=model.Locality.read("r1/z1"))
    for number, where in enumerate(PLACES.values(), 1):
        lab.pod("callee", version=f"v{number}", locality=model.Locality.read(where))
    lab.start(build.service("callee"))
    return lab


def _answered(shop, times, **headers):
    """Where and how `times` requests were answered: the zone of the pod, or the status of a refusal."""
    answers = [shop.call(shop.client, URL, **headers) for _ in range(times)]
    return Counter(PLACES[answer.body["name"]] if answer.body else answer.status for answer in answers)


def _with_readiness(shop, *unready):
    """The workloads, of which those in the zones `unready` are not."""
    return tuple(replace(pod, ready=PLACES.get(pod.name) not in unready) for pod in shop.base.workloads)


def test_requests_stay_near_until_pods_fail_and_come_back_when_they_recover(shop):
    """Own zone, then own region, then another region, each for as long as nothing nearer is healthy."""
    rule = RULE.format(f"{{{OUTLIERS}}}}}")
    ready = _with_readiness(shop)
    for unready, expected in (
        ((), "r1/z1"),
        (("r1/z1",), "r1/z2"),
        (("r1/z1", "r1/z2"), "r2/z1"),
        ((), "r1/z1"),
    ):
        shop.apply(rule, workloads=_with_readiness(shop, *unready))
        assert _answered(shop, 6) == {expected: 6}
    shop.apply(workloads=ready)
    assert set(_answered(shop, 40)) == set(PLACES.values())


def test_an_ejected_pod_is_stood_in_for(shop):
    """The answers 503 of the nearest pod eject it, and requests go to the next zone."""
    shop.apply(RULE.format(f"{{{OUTLIERS}, maxEjectionPercent: 100}}}}"))
    assert shop.call(shop.client, URL + "?status=503").body["name"] == "callee-v1-1"
    shop.wait(lambda: _answered(shop, 1) == {"r1/z2": 1}, "nothing was ejected")
    assert _answered(shop, 6) == {"r1/z2": 6}


def test_no_more_than_the_given_percentage_is_ejected(shop):
    """Of three pods that all fail 34 percent are one: the other two keep answering."""
    off = "loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {enabled: false}}"
    for percent, left in ((34, 2), (100, 0)):
        shop.apply()  # hosts begin anew with a new cluster
        shop.apply(RULE.format(f"{{{OUTLIERS}, maxEjectionPercent: {percent}}}, {off}}}"))
        failed = [shop.call(shop.client, URL + "?status=500") for _ in range(12)]
        assert len({answer.body["name"] for answer in failed if answer.body}) == 3
        shop.wait(lambda left=left: len(_zones(_answered(shop, 6))) == left, f"not {left} pods were left")
    assert _answered(shop, 2) == {503: 2}


def _zones(answered):
    return {where for where in answered if where in PLACES.values()}


def test_requests_are_distributed_as_asked(shop):
    """80 percent to one zone, 20 to another, none to a third; other callers' shares do not count."""
    to = "{from: r1/z1/*, to: {r1/z2/*: 80, r2/z1/*: 20}}, {from: r2/*, to: {r1/*: 100}}"
    shop.apply(RULE.format(f"{{loadBalancer: {{localityLbSetting: {{distribute: [{to}]}}}}}}"))
    answered = _answered(shop, 300)
    assert set(answered) == {"r1/z2", "r2/z1"}
    assert 0.7 < answered["r1/z2"] / 300 < 0.9


@pytest.mark.parametrize("how", ["minimumRingSize: 128", "maglev: {tableSize: 1009}"])
def test_the_same_header_leads_to_the_same_pod(shop, how):
    """Each value sticks to one pod, many values spread over all."""
    shop.apply(RULE.format(f"{{loadBalancer: {{consistentHash: {{httpHeaderName: x-user, {how}}}}}}}"))
    homes = [_answered(shop, 4, x_user=f"user-{number}") for number in range(24)]
    assert all(len(home) == 1 for home in homes)
    assert {where for home in homes for where in home} == set(PLACES.values())


def test_requests_beyond_the_pool_are_refused(shop):
    """One connection and one request in wait: of six at a time four get 503, flag UO.

    There is one healthy pod: Envoy lets each have a first connection, whatever the limit of the cluster.
    """
    pool = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
    workloads = _with_readiness(shop, "r1/z2", "r2/z1")
    shop.apply(RULE.format(f"{{connectionPool: {pool}}}"), workloads=workloads)
    slow = URL + "?delay=0.3"

    def together():
        with concurrent.futures.ThreadPoolExecutor(6) as crowd:
            return [*crowd.map(lambda _: shop.call(shop.client, slow).status, range(6))]

    seen = []
    counted = shop.counted(shop.client, lambda: seen.extend(together()), times=6)
    assert Counter(seen) == {200: 2, 503: 4}
    assert Counter(labels["response_flags"] for labels in counted) == {"-": 2, "UO": 4}


def test_envoy_takes_every_kind_of_cluster(shop):
    """Whatever a rule or a ServiceEntry asks for is served, and Envoy has nothing to say of it."""
    texts = [
        RULE.format("{tls: {mode: SIMPLE}, proxyProtocol: {version: V2}, retryBudget: {percent: 20}}"),
        RULE.format("{tls: {mode: MUTUAL, credentialName: missing}}").replace(
            "host: callee", "host: '*.example.com'"
        ),
        *(
            f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: ["{host}"], resolution: {resolution}, ports: [{{number: {port}, name: p, protocol: {protocol}}}]}}
"""
            for name, host, resolution, port, protocol in (
                ("dns", "localhost.example.com", "DNS", 80, "HTTP"),
                ("one", "one.example.com", "DNS_ROUND_ROBIN", 80, "GRPC"),
                ("none", "*.example.org", "NONE", 80, "HTTP"),
                ("tls", "*.example.net", "NONE", 443, "TLS"),
                ("tcp", "db.example.com", "NONE", 5432, "TCP"),
            )
        ),
    ]
    mesh = shop.apply(*texts)
    proxy = shop.proxies[shop.client.name]
    wanted = set(snapshot(mesh, proxy).clusters)

    def served():
        dump = json.loads(shop.ask(proxy, "/config_dump?resource=dynamic_active_clusters"))
        return wanted <= {item["cluster"]["name"] for item in dump["configs"]}

    shop.wait(served, "not every cluster is active")
    assert (shop.folder(proxy) / "envoy.log").read_text() == ""
