"""What requests through real Envoys come to, and what Istio's metrics say of them."""

from __future__ import annotations

import concurrent.futures

import pytest

from harness.localmesh.xds import model

pytestmark = pytest.mark.e2e

URL = "http://callee:8080/x"
RULE = """
kind: VirtualService
metadata: {{name: callee}}
spec:
  hosts: [callee]
  http:
  - route: [{{destination: {{host: callee}}}}]
    {policy}
"""
OUTLIERS = """
kind: DestinationRule
metadata: {name: callee}
spec:
  host: callee
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}
"""
ABORT_AT_V1 = """
kind: EnvoyFilter
metadata: {name: abort}
spec:
  workloadSelector: {labels: {version: v1}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        portNumber: 8080
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}
    patch:
      operation: INSERT_FIRST
      value:
        name: envoy.filters.http.fault
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: {http_status: 503, percentage: {numerator: 100}}
"""
CLIENT = {
    "source_workload": "client-v1",
    "source_canonical_service": "client",
    "source_canonical_revision": "v1",
    "source_workload_namespace": "default",
    "source_app": "client",
    "source_version": "v1",
    "source_cluster": "Kubernetes",
}
PRINCIPALS = {
    "source_principal": "spiffe://cluster.local/ns/default/sa/client",
    "destination_principal": "spiffe://cluster.local/ns/default/sa/callee",
}
CALLEE = {
    "destination_workload": "callee-v1",
    "destination_workload_namespace": "default",
    "destination_app": "callee",
    "destination_version": "v1",
    "destination_canonical_service": "callee",
    "destination_canonical_revision": "v1",
    "destination_cluster": "Kubernetes",
}
SERVICE = {
    "destination_service": "callee.default.svc.cluster.local",
    "destination_service_name": "callee",
    "destination_service_namespace": "default",
}
OK = {"request_protocol": "http", "response_code": "200", "grpc_response_status": "", "response_flags": "-"}
NOWHERE = {**dict.fromkeys((*CALLEE, *PRINCIPALS), "unknown"), "destination_canonical_revision": "latest"}


@pytest.fixture(scope="module")
def shop(lab, build):
    """A client that calls a callee of two versions, all with sidecars; nobody listens behind the Service `gone`."""
    lab.client = lab.pod("client", program=False)
    lab.v1 = lab.pod("callee")
    lab.v2 = lab.pod("callee", version="v2")
    lab.gone = build.workload("gone", lab.address())
    lab.start(
        build.service("client"),
        build.service("callee", "10.0.0.2"),
        build.service("empty", "10.0.0.3"),
        build.service("gone", "10.0.0.4"),
    )
    lab.base = type(lab.base)(services=lab.base.services, workloads=(*lab.base.workloads, lab.gone))
    yield lab
    for proxy in lab.proxies.values():
        assert (lab.folder(proxy) / "envoy.log").read_text() == "", "Envoy complained"


def _seen(shop) -> int:
    return sum(len(program.seen) for program in shop.programs.values())


def _outcome(shop, url: str, code: int) -> dict[str, str]:
    """The labels of the one request to `url` at the client's sidecar, which answers `code`."""
    answers = []
    (labels,) = shop.counted(shop.client, lambda: answers.append(shop.call(shop.client, url)))
    assert (answers[0].status, labels["response_code"], labels["reporter"]) == (code, str(code), "source")
    return labels


def test_a_request_is_counted_at_both_ends_with_all_labels(shop):
    """Both reporters agree on caller, callee and Service; only the callee's knows that the connection was mTLS."""
    shop.apply(OUTLIERS, RULE.format(policy="").replace("{host: callee}", "{host: callee, subset: v1}"))
    sources = []
    (there,) = shop.counted(shop.v1, lambda: sources.extend([_outcome(shop, URL, 200)]))
    known = {**CLIENT, **PRINCIPALS, **CALLEE, **SERVICE, **OK}
    assert sources == [{"reporter": "source", **known, "connection_security_policy": "unknown"}]
    assert there == {"reporter": "destination", **known, "connection_security_policy": "mutual_tls"}


def test_the_duration_is_measured_with_the_same_labels(shop):
    """The histogram has the buckets of Envoy, which are Istio's, and appears after a flush."""
    shop.apply()
    labels = _outcome(shop, URL, 200)

    def found():
        return [
            sample.labels["le"]
            for sample in shop.scrape(shop.client)
            if sample.name == "envoy_istio_request_duration_milliseconds_bucket"
            and {**sample.labels, "le": ""} == {**labels, "le": ""}
        ]

    assert shop.wait(found, "no histogram")[:4] == ["0.5", "1", "5", "10"]


@pytest.mark.parametrize(
    ("policy", "query", "outcome"),
    [
        ("", "status=503", (503, "-", 1)),
        ("retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}", "status=503", (503, "URX", 4)),
        ("retries: {attempts: 3, retryOn: '503', backoff: 1ms}", "status=503", (503, "URX", 4)),
        ("retries: {}", "status=503", (503, "-", 1)),
        ("timeout: 50ms", "delay=2", (504, "UT", 1)),
        ("retries: {attempts: 2, perTryTimeout: 50ms}", "delay=2", (504, "UT", 1)),
        ("fault: {abort: {httpStatus: 418, percentage: {value: 100}}}", "", (418, "FI", 0)),
        (
            "retries: {attempts: 3, retryOn: 5xx}\n    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}",
            "",
            (503, "FI", 0),
        ),
        (
            "timeout: 50ms\n    fault: {delay: {fixedDelay: 100ms, percentage: {value: 100}}}",
            "",
            (200, "DI", 1),
        ),
        ("fault: {abort: {httpStatus: 503}}", "", (200, "-", 1)),
    ],
)
def test_a_policy_gives_the_flags_and_attempts_of_istio(shop, policy, query, outcome):
    """Retries, timeouts and faults come to what Istio's sidecars make of them, as the callee's program can count."""
    code, flags, attempts = outcome
    shop.apply(RULE.format(policy=policy))
    before = _seen(shop)
    labels = _outcome(shop, f"{URL}?{query}", code)
    assert (labels["response_flags"], _seen(shop) - before) == (flags, attempts)
    assert labels["destination_service"] == SERVICE["destination_service"]
    if attempts == 0:
        assert NOWHERE.items() <= labels.items()


def test_a_retry_is_a_request_of_its_own_at_the_callee(shop):
    """The caller counts one request, the callees' sidecars one per attempt."""
    shop.apply(
        RULE.format(policy="retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}"),
        OUTLIERS.replace("2,", "99,"),
    )
    counts = {workload.name: sum(shop.requests(workload).values()) for workload in (shop.v1, shop.v2)}
    _outcome(shop, f"{URL}?status=500", 500)

    def risen():
        return sum(sum(shop.requests(each).values()) - counts[each.name] for each in (shop.v1, shop.v2)) == 4

    shop.wait(risen, "the callees did not count four requests")


@pytest.mark.parametrize(
    ("url", "code", "flags", "service"),
    [
        ("http://gone:8080/", 503, "URX,UF", "gone"),
        ("http://empty.default:8080/", 503, "UH", "empty"),
        ("http://elsewhere.test/", 502, "-", "BlackHoleCluster"),
    ],
)
def test_what_cannot_be_reached_is_answered_by_the_callers_sidecar(shop, url, code, flags, service):
    """A refused connection, a Service without endpoints and an unknown host (REGISTRY_ONLY) have their own codes."""
    shop.apply(config=model.MeshConfig(outbound_mode="REGISTRY_ONLY"))
    labels = _outcome(shop, url, code)
    assert (labels["response_flags"], labels["destination_service_name"]) == (flags, service)


def test_a_host_that_nobody_knows_is_called_as_it_is(shop):
    """ALLOW_ANY, Istio's default, lets requests through to whatever the host is."""
    shop.apply()
    labels = _outcome(shop, f"http://{shop.v1.app_ip}:8080/", 200)
    assert labels["destination_service_name"] == "PassthroughCluster"


def test_a_route_to_an_undefined_subset_is_503_nc(shop):
    """A VirtualService may name a subset that no DestinationRule defines; Envoy finds no cluster."""
    shop.apply(RULE.format(policy="").replace("{host: callee}", "{host: callee, subset: v9}"))
    assert _outcome(shop, URL, 503)["response_flags"] == "NC"


def test_a_fault_at_the_callee_is_seen_by_the_callers_retries(shop):
    """The inserted fault answers in the program's place, counts as FI there, and a retry finds the other version."""
    shop.apply(ABORT_AT_V1, RULE.format(policy="retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}"))
    shop.wait(lambda: shop.call(shop.client, URL).headers["x-envoy-upstream-service-time"], "no answer")

    def faulted():
        answer = shop.call(shop.client, URL)
        assert (answer.status, answer.body["name"]) == (200, "callee-v2-1")
        return [dict(key) for key in shop.requests(shop.v1) if ("response_flags", "FI") in key]

    labels = shop.wait(faulted, "no request was aborted at v1")[0]
    assert {**CLIENT, **CALLEE, **SERVICE, "response_code": "503"}.items() <= labels.items()


def test_too_many_requests_overflow(shop):
    """One request at a time is let through; the others are refused at once with UO."""
    shop.apply(
        "kind: DestinationRule\nmetadata: {name: callee}\n"
        "spec: {host: callee, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}"
    )
    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        def many():
            calls = [pool.submit(shop.call, shop.client, f"{URL}?delay=0.2") for _ in range(4)]
            codes = sorted(call.result().status for call in calls)
            assert codes[0] == 200
            assert codes[-1] == 503

        flags = {labels["response_flags"] for labels in shop.counted(shop.client, many, times=4)}
    assert flags == {"-", "UO"}


def test_a_failing_host_is_ejected_and_the_series_has_istios_name(shop):
    """Two answers 5xx in a row eject the host; the native series carries the cluster's name as Istio's tags cut it."""
    shop.apply(OUTLIERS)
    cluster = "outbound|8080||callee.default.svc.cluster.local"

    def ejected():
        shop.call(shop.client, f"{URL}?status=500")
        return {
            sample.value
            for sample in shop.scrape(shop.client)
            if sample.name == "envoy_cluster_outlier_detection_ejections_enforced_total"
            and sample.labels == {"cluster_name": cluster}
        } & {1.0, 2.0}

    shop.wait(ejected, "nobody was ejected")


def test_a_forged_announcement_reaches_neither_program_nor_metrics(shop):
    """What a program sends as peer metadata is replaced by its sidecar and taken off by the callee's."""
    shop.apply()
    answers = []

    def call():
        answers.append(shop.call(shop.client, URL, x_envoy_peer_metadata="boss;boss;1;root;boss;1;x"))

    workload = shop.wait(lambda: _reached(shop, call, answers), "no callee")
    found = [dict(key) for key in shop.requests(workload)]
    assert {labels["source_workload"] for labels in found} <= {"client-v1", "unknown"}
    assert not [name for name in answers[-1].body["headers"] if "peer-metadata" in name.lower()]


def _reached(shop, call, answers):
    call()
    return next(each for each in (shop.v1, shop.v2) if each.name == answers[-1].body["name"])


def test_metrics_are_served_to_the_token_only(shop):
    """Without the token, with a wrong one, or for another path the sidecar's metrics listener answers 401."""
    get = shop.http_get
    address = (shop.client.ip, 15090)
    assert get(*address, "/stats/prometheus").status == 401
    assert get(*address, "/stats/prometheus", Authorization="Bearer guess").status == 401
    assert get(*address, "/quitquitquit", Authorization="Bearer let-me-in").status == 401
    assert get(*address, "/stats/prometheus", Authorization="Bearer let-me-in").status == 200
