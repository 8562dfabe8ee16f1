"""Istio's Bookinfo, as it is published, on the local mesh."""

import re
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from support import eventually, query

pytestmark = pytest.mark.e2e


def _reviewers(addresses, times=12):
    """The versions of reviews that answered `times` requests for the product page."""
    pages = [httpx.get(f"{addresses.entry_url}/productpage", timeout=5.0) for _ in range(times)]
    assert {page.status_code for page in pages} == {200}
    return {version for page in pages for version in re.findall(r"reviews-(v\d)", page.text)}


def test_the_product_page_reaches_all_three_versions_of_reviews_in_turn(bookinfo):
    """Gateway, sidecars and stand-ins together behave as the sample does without any rule."""
    assert eventually(lambda: _reviewers(bookinfo) == {"v1", "v2", "v3"})


def test_rules_of_the_samples_take_effect_and_can_be_taken_back(bookinfo, kubectl, samples):
    """After Istio's own destination rules and virtual services only v1 answers; without them all do again."""
    kubectl("apply", "-f", str(samples / "destination-rule-all.yaml"))
    kubectl("apply", "-f", str(samples / "virtual-service-all-v1.yaml"))
    try:
        assert eventually(lambda: _reviewers(bookinfo) == {"v1"})
        assert "unchanged" in kubectl("apply", "-f", str(samples / "virtual-service-all-v1.yaml"))
    finally:
        kubectl("delete", "-f", str(samples / "virtual-service-all-v1.yaml"))
        kubectl("delete", "-f", str(samples / "destination-rule-all.yaml"))
    assert eventually(lambda: _reviewers(bookinfo) == {"v1", "v2", "v3"})


def test_kubectl_shows_what_is_there(kubectl):
    """Pods, services and deployments in every namespace, with the columns people know."""
    shown = kubectl("get", "pods,svc,deploy", "-A")
    assert re.search(r"pod/productpage-v1-\S+ +2/2 +Running", shown)
    assert re.search(r"service/reviews +ClusterIP +127\.\S+ +<none> +9080/TCP", shown)
    assert re.search(r"deployment.apps/istio-ingressgateway +1/1", shown)


def test_a_deleted_pod_is_replaced_and_the_page_comes_back(bookinfo, kubectl, core):
    """A new pod with a new UID serves soon; meanwhile endpoints follow readiness."""
    (before,) = core.list_namespaced_pod("default", label_selector="app=ratings").items
    kubectl("delete", "pod", before.metadata.name)

    def replaced():
        pods = core.list_namespaced_pod("default", label_selector="app=ratings").items
        return (
            len(pods) == 1
            and pods[0].status.container_statuses
            and pods[0].status.container_statuses[0].ready
        )

    eventually(replaced)
    (after,) = core.list_namespaced_pod("default", label_selector="app=ratings").items
    assert after.metadata.uid != before.metadata.uid
    assert after.status.pod_ip != before.status.pod_ip
    assert eventually(lambda: _reviewers(bookinfo) == {"v1", "v2", "v3"})


def test_prometheus_has_istios_series_from_both_ends_of_a_call(bookinfo):
    """Both reporters count the same call under Istio's names and labels, mutual TLS at the destination."""
    _reviewers(bookinfo)
    wanted = 'istio_requests_total{destination_service_name="reviews",response_code="200"}'

    def reporters():
        return {item["metric"]["reporter"]: item["metric"] for item in query(bookinfo, wanted)}

    assert eventually(lambda: set(reporters()) == {"source", "destination"})
    found = reporters()
    assert found["source"]["connection_security_policy"] == "unknown"
    assert found["destination"]["connection_security_policy"] == "mutual_tls"
    for labels in found.values():
        assert labels["source_workload"] == "productpage-v1"
        assert labels["destination_service"] == "reviews.default.svc.cluster.local"
        assert labels["destination_principal"] == "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
        assert labels["response_flags"] == "-"


def test_a_label_without_a_value_says_unknown_as_istio_does(bookinfo):
    """The gateway has no version label; its requests say so in the word people query for."""
    _reviewers(bookinfo, 1)
    series = eventually(
        lambda: query(bookinfo, 'istio_requests_total{source_workload="istio-ingressgateway"}')
    )
    assert {item["metric"]["source_version"] for item in series} == {"unknown"}


def test_an_envoy_that_refuses_its_configuration_is_complained_about(bookinfo, kubectl):
    """What only Envoy itself can find out is told in an event on the pod, with its own words."""
    address = urlsplit(bookinfo.entry_url).hostname
    path = bookinfo.kubeconfig.with_name("refused.yaml")
    asked = ("get", "events", "-n", "istio-system", "--field-selector", "reason=ConfigurationRefused")
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]
        path.write_text(f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: refused}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
""")
        kubectl("apply", "-f", str(path))
        try:
            assert eventually(lambda: "Address already in use" in kubectl(*asked))
            assert "[warning]" not in kubectl(*asked)  # else each would be an event
        finally:
            kubectl("delete", "-f", str(path))


def test_every_sidecar_is_scraped(bookinfo, core):
    """There is a healthy target for each pod of the mesh that has an Envoy, which istiod's has not."""
    found = core.list_pod_for_all_namespaces(label_selector="app!=istiod").items
    pods = {pod.metadata.name for pod in found}
    assert eventually(lambda: {item["metric"]["pod"] for item in query(bookinfo, "up == 1")} == pods)


def test_a_rule_is_served_by_every_sidecar_soon_after_it_is_applied(bookinfo, kubectl):
    """The bench has the figure; here it must not take a second, which would be a missed wake-up."""
    manifest = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mark}
spec:
  hosts: [ratings]
  http: [{route: [{destination: {host: ratings}}], headers: {response: {set: {x-mark: "1"}}}}]
"""
    path = bookinfo.kubeconfig.with_name("mark.yaml")
    path.write_text(manifest)
    kubectl("apply", "-f", str(path))
    applied = time.monotonic()
    pod = kubectl("get", "pods", "-l", "app=reviews,version=v2", "-o", "jsonpath={.items[0].status.podIP}")
    proxy = httpx.Client(proxy=f"http://{pod}:15001", trust_env=False)
    with proxy:
        eventually(lambda: proxy.get("http://ratings:9080/ratings/0").headers.get("x-mark") == "1")
    took = time.monotonic() - applied
    kubectl("delete", "-f", str(path))
    assert took < 1.0
