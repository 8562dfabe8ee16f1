"""The mesh's Prometheus, a real one, with the pages of a sidecar that is only a page here."""

from __future__ import annotations

import http.server
import random
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
from support import eventually

from harness.localmesh import programs, scrape
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.xds import model
from harness.localmesh.xds.bootstrap import STATS_PORT

PASSWORD, TOKEN = "secret", "let-me-in"
PAGE = """\
envoy_istio_requests_total{reporter="source",source_app="a"} 3
envoy_istio_tcp_sent_bytes_total{source_workload_namespace="unknown",source_principal="spiffe://x/ns/shop/sa/a"} 4
envoy_istio_tcp_received_bytes_total{source_workload_namespace="unknown",source_principal="unknown"} 5
envoy_cluster_upstream_rq_retry{cluster_name="outbound|80||a"} 6
"""


OWN = "orders_total 7\n"


class _Page(http.server.BaseHTTPRequestHandler):
    """Answers like the metrics listener of a sidecar, and at /own like a program that is told no secrets."""

    def do_GET(self) -> None:
        pages = {(f"Bearer {TOKEN}", "/stats/prometheus"): PAGE, (None, "/own"): OWN}
        page = pages.get((self.headers["Authorization"], self.path), "")
        self.send_response(200 if page else 401)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        """Stay silent."""


OWN_PAGE = {"scrape": "true", "port": str(STATS_PORT), "path": "/own"}


def _pod(asked: dict[str, str]) -> Manifest:
    """A pod with these annotations below prometheus.io/."""
    annotations = {f"prometheus.io/{name}": value for name, value in asked.items()}
    return {
        "metadata": {"name": "b-1", "namespace": "shop", "labels": {"app": "b"}, "annotations": annotations}
    }


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Iterator[Callable[[str], list[dict[str, str]]]]:
    """Asks a Prometheus that scrapes one sidecar for the labels and the value of the series of a name."""
    ip = f"127.{random.randint(32, 250)}.{random.randint(1, 250)}.1"
    with socket.socket() as probe:
        probe.bind((ip, 0))
        port = probe.getsockname()[1]
    page = http.server.ThreadingHTTPServer((ip, STATS_PORT), _Page)
    thread = threading.Thread(target=page.serve_forever, args=(0.02,))
    thread.start()
    directory = tmp_path_factory.mktemp("scrape") / "prometheus"
    begin = scrape.prepare(
        programs.prometheus(),
        address=ip,
        port=port,
        password=PASSWORD,
        stats_token=TOKEN,
        directory=directory,
    )
    workload = model.Workload("a-1", "shop", "a", ip, ip, {"app": "a"}, "a", (), ready=True, sidecar=True)
    scrape.write_targets(
        directory, [model.Proxy(workload, {}, ip)], filter(None, [scrape.page(_pod(OWN_PAGE), ip)])
    )
    process = begin()

    def ask(name: str) -> list[dict[str, str]]:
        with httpx.Client(trust_env=False, auth=(scrape.USER, PASSWORD)) as client:
            answer = client.get(f"http://{ip}:{port}/api/v1/query", params={"query": name})
        answer.raise_for_status()
        result = answer.json()["data"]["result"]
        return [{**item["metric"], "value": item["value"][1]} for item in result]

    try:
        yield lambda name: eventually(lambda: ask(name))
    finally:
        process.reap()
        page.shutdown()
        thread.join()
        page.server_close()


def test_istios_metrics_have_istios_names(samples):
    """The prefix of Envoy is gone, and what a sidecar does not say is not made up."""
    (series,) = samples("istio_requests_total")
    assert (series["reporter"], series["source_app"], series["value"]) == ("source", "a", "3")
    assert "destination_app" not in series
    assert (series["namespace"], series["pod"], series["app"]) == ("shop", "a-1", "a")


def test_envoys_own_series_keep_their_names(samples):
    """Only Istio's are renamed."""
    (series,) = samples("envoy_cluster_upstream_rq_retry")
    assert (series["cluster_name"], series["value"]) == ("outbound|80||a", "6")


def test_a_connections_source_namespace_is_that_of_its_certificate(samples):
    """The callee's sidecar knows it from the principal; without one it stays unknown."""
    (series,) = samples("istio_tcp_sent_bytes_total")
    assert series["source_workload_namespace"] == "shop"
    (series,) = samples("istio_tcp_received_bytes_total")
    assert series["source_workload_namespace"] == "unknown"


def test_a_program_that_asks_to_be_scraped_is(samples):
    """Its series say whose they are, and it is not told the token of the sidecars."""
    (series,) = samples("orders_total")
    assert (series["namespace"], series["pod"], series["app"], series["value"]) == ("shop", "b-1", "b", "7")


@pytest.mark.parametrize(
    "asked", [{}, {"scrape": "false", "port": "80"}, {"scrape": "true"}, {"scrape": "true", "port": "http"}]
)
def test_only_who_names_a_port_is_scraped(asked):
    """As with Istio's own Prometheus, which looks for a number."""
    assert scrape.page(_pod(asked), "127.0.0.1") is None


def test_a_page_is_at_metrics_unless_it_says_otherwise():
    """As everywhere with Prometheus."""
    page = scrape.page(_pod({"scrape": "true", "port": "80"}), "127.0.0.1")
    assert page is not None
    assert (page.address, page.port, page.path) == ("127.0.0.1", 80, "/metrics")
