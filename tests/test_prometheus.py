"""Prometheus at the wire: what it answers, and every way in which it does not."""

import base64
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.errors import HarnessError
from harness.prometheus import Prometheus, PrometheusUnavailable, offset, scrape_interval
from harness.series import Sample, Series, Window
from harness.slo import Selector

REQUESTS = Selector.equal("istio_requests_total", {"reporter": "source"})


class _Server(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        self.server.asked.append(
            (url.path, {k: v[0] for k, v in parse_qs(url.query).items()}, dict(self.headers))
        )
        code, body = self.server.answers[min(len(self.server.asked), len(self.server.answers)) - 1]
        if code == 0:
            self.server.stopped.wait(10)
            return
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Keeps the output of the tests clean."""


@pytest.fixture
def server():
    """A Prometheus that gives its `answers` in turn, the last one for ever."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        server.daemon_threads = True
        server.asked, server.answers, server.stopped = [], [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def prometheus(server):
    """The client under test."""
    client = Prometheus(server.url, timeout=0.4)
    yield client
    client.close()


def data(result):
    """An answer of Prometheus."""
    return 200, {"status": "success", "data": {"resultType": "matrix", "result": result}}


def test_raw_samples_come_from_a_range_selector_at_a_time(server, prometheus):
    """No rate, no step: every sample as it was scraped, up to the moment asked for."""
    server.answers = [data([{"metric": {"pod": "a"}, "values": [[10.5, "3"], [11.5, "NaN"]]}])]
    (series,) = prometheus.series(REQUESTS, seconds=1.5, at=12.25)
    assert series.labels == {"pod": "a"}
    assert series.samples[0] == Sample(10.5, 3.0)
    assert str(series.samples[1].value) == "nan"
    path, asked, _ = server.asked[0]
    assert (path, asked) == (
        "/api/v1/query",
        {"query": 'istio_requests_total{reporter="source"}[1500ms]', "time": "12.250"},
    )


def test_nothing_there_is_no_error(server, prometheus):
    """Empty is an answer."""
    server.answers = [data([])]
    assert prometheus.series(REQUESTS, seconds=1, at=1) == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b"out of memory"), "refused the query"),
        ((400, b"bad matcher"), "bad matcher"),
        ((200, b"<html>"), "not as Prometheus does"),
        ((200, {"status": "success"}), "not as Prometheus does"),
        (data([{"metric": {}}]), "not as Prometheus does"),
        ((0, b""), "does not answer"),
    ],
)
def test_whatever_is_not_an_answer_is_one_kind_of_error(server, prometheus, answer, words):
    """Errors, other pages and silence all say that there is no Prometheus to rely on."""
    server.answers = [answer]
    began = time.monotonic()
    with pytest.raises(PrometheusUnavailable, match=words):
        prometheus.series(REQUESTS, seconds=1, at=1)
    assert time.monotonic() - began < 3


def test_a_short_outage_is_ridden_out(server, prometheus):
    """Two times 503 and then an answer is an answer."""
    server.answers = [(503, b""), (503, b""), data([])]
    assert prometheus.series(REQUESTS, seconds=1, at=1) == ()
    assert len(server.asked) == 3


def test_a_refused_connection_names_the_address_and_no_password():
    """User and password of the URL appear in no message."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = Prometheus(f"http://me:geheim@127.0.0.1:{port}/prom/")
        with pytest.raises(
            PrometheusUnavailable, match=f"http://127.0.0.1:{port}/prom does not answer"
        ) as caught:
            client.clock()
        client.close()
    assert "geheim" not in str(caught.value)


def test_user_and_password_of_the_url_are_sent(server):
    """As basic authentication, with percent signs decoded."""
    client = Prometheus(server.url.replace("//", "//me:a%20b@"))
    server.answers = [data([1, "2"])]
    client.clock()
    client.close()
    assert base64.b64decode(server.asked[0][2]["Authorization"].removeprefix("Basic ")) == b"me:a b"


def test_the_clock_is_the_one_of_prometheus(server, prometheus):
    """Windows are in its time, so a clock that is ahead does not shift them."""
    server.answers = [data([0, str(time.time() + 100)])]
    assert offset(prometheus) == pytest.approx(100, abs=1)


def test_a_clock_reading_that_took_long_is_not_believed(server, prometheus):
    """A try that failed first shifts the answer by the wait for the next; the quickest of several tells best."""
    ahead = data([0, str(time.time() + 100)])
    server.answers = [(503, b"busy"), (503, b"busy"), data([0, str(time.time() + 900)]), ahead]
    assert offset(prometheus) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://x", "http://"])
def test_what_is_no_url_is_refused_at_once(url):
    """With a sentence that shows it."""
    with pytest.raises(HarnessError, match="no http or https URL"):
        Prometheus(url)


def test_the_scrape_interval_is_learned_from_the_samples():
    """The usual gap counts, one late scrape does not; too few scrapes tell nothing."""
    series = Series({}, tuple(Sample(at, 1.0) for at in (0, 5, 10, 17, 20, 25)))
    assert scrape_interval((series,), Window(0, 30)) == 5
    assert scrape_interval((series,), Window(0, 6)) is None
    assert scrape_interval((), Window(0, 6)) is None
