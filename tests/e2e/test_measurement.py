"""On the shop's mesh, a Prometheus that tells less than there is: whatever it leaves out, no run is HELD."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
import uuid
from urllib.parse import urlsplit

import httpx
import pytest
from judging import judge
from support import ROOT

from harness import (
    SLO,
    Experiment,
    Load,
    Nothing,
    Target,
    Verdict,
    availability,
    ejection,
    error_ratio,
    latency,
    mtls_share,
    promql,
    retry_amplification,
    throughput,
)
from harness.cluster import Cluster
from harness.journal import EntryCounted, Journal, LoadReported, Timed, select

pytestmark = pytest.mark.e2e
CATALOG = Target("catalog", namespace="shop")
EXPERIMENT = Experiment(
    hypothesis=[
        SLO("every request is mutual TLS", mtls_share("catalog", "shop"), at_least=1.0),
        SLO("the shop is available", availability("frontend", "shop"), at_least=0.95),
    ],
    target=CATALOG,
    fault=Nothing(),
    load=Load("browse", rate=100, paths=("/items",)),
    observe=5.0,
)


class _Curtain(http.server.BaseHTTPRequestHandler):
    """Passes questions on to the real Prometheus, and what it likes of the answers."""

    def do_GET(self):
        server = self.server
        if server.mode == "stopped":
            self.send_error(503)
            return
        account = {"Authorization": self.headers["Authorization"]} if "Authorization" in self.headers else {}
        answered = httpx.get(server.real + self.path, headers=account, timeout=5, trust_env=False)
        if answered.status_code != 200:
            self.send_error(answered.status_code)
            return
        body = answered.json()
        if body["data"]["resultType"] == "matrix":
            body["data"]["result"] = [
                shown for one in body["data"]["result"] if (shown := server.show(one)) is not None
            ]
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Says nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    mode, hidden, since, real = "open", re.compile("$."), 0.0, ""

    def show(self, one):
        """A series as it is shown: without the samples since a moment, if it is one of the hidden targets."""
        values = one["values"]
        if self.hidden.match(one["metric"].get("instance", "")):
            values = [value for value in values if value[0] < self.since]
        if self.mode == "nan":
            values = [[at, "NaN"] for at, _ in values]
        return {**one, "values": values} if values else None


@pytest.fixture
def curtain(shop):
    """A server in front of the mesh's Prometheus."""
    parts = urlsplit(shop.prometheus_url)
    with _Server(("127.0.0.1", 0), _Curtain) as server:
        server.real = f"http://{parts.hostname}:{parts.port}"
        account = parts.netloc.rpartition("@")[0]
        server.url = f"http://{account}@127.0.0.1:{server.server_port}" if account else server.real
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def perform(shop, curtain, tmp_path, monkeypatch):
    """Runs an experiment and returns the judgement and the journal; acts when the observation has begun."""
    monkeypatch.chdir(ROOT)

    def perform(experiment, act=lambda _: None):
        class Watch:
            def phase(self, name):
                if name == "observe":
                    act(curtain)

            def progress(self, done, text):
                """Nothing."""

        name = uuid.uuid4().hex[:8]
        urls = (shop.entry_url, curtain.url)
        with Cluster.connect(shop.kubeconfig) as cluster, Journal(tmp_path / f"{name}.jsonl") as journal:
            judgement = judge(
                experiment, cluster, *urls, journal, run_id=f"test-{name}", seed=7, watch=Watch()
            )
            return judgement, journal.events

    return perform


def test_every_indicator_is_counted_and_the_entry_counts_what_was_sent(perform):
    """On a healthy shop all of them hold, a latency has its histogram in the journal, and nothing is unexplained."""
    shop = {"namespace": "shop"}
    hypothesis = [
        SLO("few errors", error_ratio("frontend", **shop), at_most=0.05),
        SLO("fast", latency("frontend", **shop, quantile=0.5), at_most=5.0),
        SLO("no retry storm", retry_amplification("catalog", **shop), at_most=3.0),
        SLO("no host is ejected", ejection("catalog", **shop), at_least=0.95),
        SLO("serves", throughput("frontend", **shop, offered=100), at_least=20),
        SLO(
            "as written",
            promql(
                "answers",
                good='istio_requests_total{reporter="source",response_code="200"}',
                total='sum(rate(istio_requests_total{reporter="source"}[1m]))',
            ),
            at_least=0.9,
        ),
    ]
    judgement, events = perform(Experiment(hypothesis, CATALOG, Nothing(), EXPERIMENT.load, observe=10.0))
    assert {finding.slo: finding.verdict for finding in judgement.findings} == {
        slo.name: Verdict.HELD for slo in hypothesis
    }, judgement
    (sent,), (counted,) = select(events, LoadReported), select(events, EntryCounted)
    assert abs(sent.sent - counted.total) <= sent.users + counted.edge + 0.01 * sent.sent
    quantile = select(events, Timed)[-1].histogram.quantile(0.5)
    assert 0.0 < quantile.low < quantile.high <= 5.0


def hide(mode="open", hidden=".*", later=0.0):
    """What draws the curtain: a mode, and the targets that are not scraped any more."""

    def act(server):
        server.since, server.hidden, server.mode = time.time() + later, re.compile(hidden), mode

    return act


def test_pods_that_are_not_scraped_from_the_beginning_are_missed_before_anything_is_done(
    perform, curtain, shop
):
    """Two of catalog's three pods."""
    with Cluster.connect(shop.kubeconfig) as cluster:
        pods = [pod for pod in cluster.pods("shop", {"app": "catalog"}) if pod.ready]
    hide(hidden="|".join(re.escape(pod.ip) for pod in pods[:2]))(curtain)
    curtain.since = 0.0
    judgement, _ = perform(EXPERIMENT)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert f"Prometheus does not scrape {pods[0].name}, {pods[1].name}" in " ".join(judgement.reasons)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("half", "no longer scrapes some of the pods"),
        ("all", "stopped scraping"),
        ("nan", "NaN"),
        ("stopped", "503"),
    ],
)
def test_a_prometheus_that_tells_less_in_mid_phase_is_never_held(perform, shop, mode, reason):
    """One pod fewer, none at all, NaN, and no answer."""
    with Cluster.connect(shop.kubeconfig) as cluster:
        pods = [pod for pod in cluster.pods("shop", {"app": "catalog"}) if pod.ready]
    hidden = {"half": re.escape(pods[0].ip), "all": ".*"}.get(mode, "$.")
    patient = [SLO(one.name, one.sli, one.at_least, enough=100_000) for one in EXPERIMENT.hypothesis]
    experiment = Experiment(patient, CATALOG, Nothing(), EXPERIMENT.load, observe=5.0)
    judgement, _ = perform(experiment, hide(mode, hidden, later=1.0))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    told = " ".join((*judgement.reasons, *(finding.reason for finding in judgement.findings)))
    assert reason in told
