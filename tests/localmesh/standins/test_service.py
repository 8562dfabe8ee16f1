"""The configurable service, as a process."""

import http.server
import json
import math
import os
import random
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.standins import behaviour, settings
from harness.localmesh.standins.settings import Pod, SettingError


def test_an_answer_says_who_gave_it(start):
    """Service, version, pod and path are in the JSON, so a test can see where a request went."""
    answer = start("service").ask("/some/path?x=1")
    assert answer.status == 200
    assert answer.json == {
        "service": "web",
        "version": "v1",
        "pod": "pod-1",
        "path": "/some/path",
        "calls": [],
    }


def test_status_and_error_percent_choose_the_status(start):
    """`status` is the ordinary answer, `error-percent` the share of the other one."""
    program = start("service", STANDIN_STATUS="201", STANDIN_ERROR_PERCENT="40", STANDIN_ERROR_STATUS="500")
    statuses = [program.ask("/").status for _ in range(300)]
    assert set(statuses) == {201, 500}
    assert 0.25 < statuses.count(500) / 300 < 0.55


def test_what_is_drawn_is_the_same_for_the_same_pod_and_seed(start):
    """Two processes of one pod name and seed give the same statuses; another seed gives others."""
    variables = {"STANDIN_ERROR_PERCENT": "50", "STANDIN_SEED": "7"}
    first, second = start("service", **variables), start("service", **variables)
    other = start("service", **{**variables, "STANDIN_SEED": "8"})
    drawn = [[program.ask("/").status for _ in range(40)] for program in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_latency_holds_every_answer_back(start):
    """No answer comes before the shortest latency of the span."""
    program = start("service", STANDIN_LATENCY="40ms..60ms")
    for _ in range(3):
        before = time.monotonic()
        assert program.ask("/").status == 200
        assert time.monotonic() - before >= 0.040


def test_calls_are_made_in_turn_and_reported(start):
    """Each URL of `calls` is asked for each request, and its status is in the answer."""
    leaf = start("service", STANDIN_STATUS="404", SERVICE_NAME="leaf")
    urls = [f"{leaf.url}/a", f"{leaf.url}/b?c=d"]
    answer = start("service", STANDIN_CALLS="\n".join(urls)).ask("/")
    assert answer.status == 200
    assert answer.json["calls"] == [{"url": url, "status": 404} for url in urls]


def test_a_call_can_be_for_the_requests_below_a_path_only(start):
    """The longest path that fits decides; calls without a path are for all other requests."""
    leaf = start("service", SERVICE_NAME="leaf").url
    calls = f"{leaf}/front, /items {leaf}/items, /items/sold {leaf}/sold"
    program = start("service", STANDIN_CALLS=calls)

    def called(path):
        return [call["url"].removeprefix(leaf) for call in program.ask(path).json["calls"]]

    assert called("/") == ["/front"]
    assert called("/itemsets") == ["/front"]
    assert called("/items?x=1") == called("/items/7") == ["/items"]
    assert called("/items/sold/7") == ["/sold"]


def test_calls_can_be_made_at_the_same_time(start):
    """`order` parallel takes as long as the slowest."""
    leaf = start("service", STANDIN_LATENCY="400ms").url
    caller = start("service", STANDIN_CALLS=f"{leaf}/a,{leaf}/b,{leaf}/c", STANDIN_ORDER="parallel")
    before = time.monotonic()
    answer = caller.ask("/")
    assert time.monotonic() - before < 1.1
    assert [call["url"] for call in answer.json["calls"]] == [f"{leaf}/a", f"{leaf}/b", f"{leaf}/c"]


def test_a_failed_call_fails_the_answer(start, free):
    """A call answered 500 or more, or not answered, makes the answer 503 and says why."""
    leaf = start("service", STANDIN_STATUS="500")
    host, port = free()
    gone = f"http://{host}:{port}/"
    failed = start("service", STANDIN_CALLS=leaf.url).ask("/")
    assert (failed.status, failed.json["calls"][0]["status"]) == (503, 500)
    refused = start("service", STANDIN_CALLS=gone).ask("/")
    assert (refused.status, refused.json["calls"][0]["status"]) == (503, None)
    assert "Connect call failed" in refused.json["calls"][0]["error"]


def test_a_call_gets_no_more_time_than_its_timeout(start):
    """A slow callee is given up after `timeout`, not after its latency."""
    leaf = start("service", STANDIN_LATENCY="5s")
    caller = start("service", STANDIN_CALLS=leaf.url, STANDIN_TIMEOUT="60ms")
    before = time.monotonic()
    answer = caller.ask("/")
    assert time.monotonic() - before < 4
    assert answer.status == 503
    assert answer.json["calls"][0]["error"] == "no answer within 0.06 s"


def test_fallback_keeps_the_answer_when_a_call_that_may_fail_fails(start):
    """With "true" every call may fail; with URLs only those may."""
    bad = start("service", STANDIN_STATUS="503").url + "/bad"
    worse = start("service", STANDIN_STATUS="503").url + "/worse"
    lenient = start("service", STANDIN_CALLS=f"{bad},{worse}", STANDIN_FALLBACK="true").ask("/")
    assert (lenient.status, lenient.json["fallback"]) == (200, True)
    picky = start("service", STANDIN_CALLS=f"{bad},{worse}", STANDIN_FALLBACK=worse).ask("/")
    assert picky.status == 503
    assert "fallback" not in picky.json


def test_an_answer_without_failed_calls_says_nothing_of_fallback(start):
    """`fallback` shows that the rare path was taken, so it must not show otherwise."""
    good = start("service").url
    assert "fallback" not in start("service", STANDIN_CALLS=good, STANDIN_FALLBACK="true").ask("/").json


def test_tracing_headers_travel_with_the_calls_and_others_do_not(start):
    """The caller passes on what Istio documents for tracing and Bookinfo's own headers, unless told to withhold one."""
    seen = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as proxy:
        proxy.daemon_threads = True
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        caller = start(
            "service",
            STANDIN_CALLS="http://reviews:9080/x?y=1",
            STANDIN_PROPAGATE="X-Tenant, X-Lost",
            STANDIN_WITHHOLD="tracestate, x-lost",
            HTTP_PROXY=f"http://127.0.0.1:{proxy.server_port}",
        )
        answer = caller.ask(
            "/",
            x_request_id="r-1",
            traceparent="00-1",
            tracestate="a=1",
            end_user="jason",
            x_tenant="t",
            x_lost="no",
            x_secret="no",
        )
        caller.end()
        proxy.shutdown()
        thread.join()
    assert answer.status == 200
    path, headers = seen[0]
    assert path == "http://reviews:9080/x?y=1"  # absolute, as to a proxy
    assert headers["host"] == "reviews:9080"
    assert {headers["x-request-id"], headers["traceparent"], headers["end-user"]} == {"r-1", "00-1", "jason"}
    assert headers["x-tenant"] == "t"
    assert not {"x-secret", "x-lost", "tracestate"} & headers.keys()


def test_a_request_can_ask_for_its_status_and_delay(start):
    """The query of fortio's echo server works: values with percentages, all without one."""
    program = start("service")
    assert program.ask("/?status=418").status == 418
    statuses = [program.ask("/?status=503:30").status for _ in range(200)]
    assert 0.15 < statuses.count(503) / 200 < 0.47
    before = time.monotonic()
    assert program.ask("/?delay=50ms:100&status=404").status == 404
    assert time.monotonic() - before >= 0.050


@pytest.mark.parametrize(
    "query", ["status=99", "status=503:101", "delay=5", "status=503:60,404:60", "delay="]
)
def test_a_query_that_makes_no_sense_is_answered_400(start, query):
    """Nothing in a query is ignored."""
    answer = start("service").ask(f"/?{query}")
    assert answer.status == 400
    assert "not valid" in answer.json["error"]


def test_a_body_has_the_size_asked_for(start):
    """`body-size` is the least size; the JSON stays JSON."""
    answer = start("service", STANDIN_BODY_SIZE="100000").ask("/")
    assert 100_000 <= len(answer.body) < 100_100
    assert answer.json["service"] == "web"


def test_exit_makes_a_workload_that_dies(start):
    """The program ends at once with the code asked for, and says so."""
    program = start("service", ready=False, STANDIN_EXIT="3", PORTS="")
    assert program.process.wait(15) == 3
    assert "exits with 3" in program.log.read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency", "5"),
        ("latency", "9ms..2ms"),
        ("status", "100"),
        ("error-percent", "nan"),
        ("calls", "https://reviews"),
        ("calls", "reviews:9080"),
        ("calls", "grpc://reviews"),
        ("calls", "tcp://reviews:9000/path"),
        ("latency", "p50=80ms p99=5ms"),
        ("latency", "p50=0s p99=5ms"),
        ("order", "random"),
        ("propagate", "x y"),
        ("protocol", "udp"),
        ("protocol", "1=tcp"),
        ("error-grpc-status", "0"),
        ("failure-status", "99"),
        ("fallback", "http://other/"),
        ("timeout", "0s"),
        ("body-size", "-1"),
        ("exit", "256"),
        ("latnecy", "5ms"),
    ],
)
def test_a_bad_setting_is_refused_with_its_annotation(name, value):
    """One sentence that names the annotation."""
    with pytest.raises(SettingError) as refused:
        behaviour.Behaviour.of({"STANDIN_" + name.upper().replace("-", "_"): value}, (8080,))
    assert f"annotation standin.harness.local/{name} is" in str(refused.value)


def test_a_service_with_a_bad_setting_does_not_start(start):
    """One sentence on stderr, and exit code 2."""
    program = start("service", ready=False, STANDIN_LATENCY="5")
    assert program.process.wait(15) == 2
    log = program.log.read_text()
    assert log.startswith("stand-in: annotation standin.harness.local/latency is")
    assert log.count("\n") == 1


def test_a_port_in_use_is_refused_with_the_address(start):
    """The second program on an address says which one it could not have."""
    first = start("service")
    host, port = first.address
    second = start("service", ready=False, LISTEN_HOST=host, PORTS=str(port))
    assert second.process.wait(15) == 2
    assert f"cannot listen on {host}:{port}: Address already in use" in second.log.read_text()


def test_every_declared_port_answers(start, free, until):
    """PORTS is a list."""
    host, first = free()
    with socket.socket() as probe:
        probe.bind((host, 0))
        second = probe.getsockname()[1]
    start("service", ready=False, LISTEN_HOST=host, PORTS=f"{first},{second}")

    def accepts(port):
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return False
        return True

    for port in (first, second):
        until(lambda port=port: accepts(port), f"port {port} accepts")


def test_a_stand_in_imports_nothing_heavy():
    """It starts fast and small because neither it nor the packages above it import more than they need."""
    code = (
        "import sys; import harness.localmesh.standins.service, harness.localmesh.standins.bookinfo\n"
        "import harness.localmesh.standins.httpbin, harness.localmesh.standins.echo\n"
        "heavy = ('h2', 'email', 'kubernetes', 'msgspec', 'rich', 'yaml', 'httpx', 'cryptography')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, check=True, env=os.environ
    )
    assert json.loads(found.stdout.replace(b"'", b'"')) == []


_UNIT = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@given(st.integers(1, 100), st.integers(1, 100))
def test_a_lognormal_latency_has_the_quantiles_it_is_given(median, factor):
    """Half of what is drawn is below the median, and one in a hundred above the 99th percentile."""
    latency = settings.latency(f"p50={median}ms p99={median * factor}ms")
    source = random.Random(1)
    drawn = sorted(latency.draw(source) for _ in range(2000))
    assert drawn[1000] == pytest.approx(median / 1000, rel=0.25 * math.log(factor + 1) + 1e-9)
    highest = median * factor / 1000 * (1 + 1e-9)
    assert sum(value > highest for value in drawn) <= 45


@given(number=st.integers(0, 10**6), unit=st.sampled_from(sorted(_UNIT)))
def test_a_duration_is_its_number_times_its_unit(number, unit):
    """For every number and unit."""
    assert settings.duration(f"{number}{unit}") == pytest.approx(number * _UNIT[unit])


@given(st.text(max_size=8))
def test_any_other_text_is_no_duration_or_a_length_of_time(text):
    """Parsing either raises ValueError or gives seconds that are not negative."""
    try:
        seconds = settings.duration(text)
    except ValueError:
        return
    assert seconds >= 0


@given(pairs=st.lists(st.tuples(st.integers(200, 599), st.integers(0, 20)), min_size=1, max_size=5))
def test_weighted_values_are_read_as_they_are_written(pairs):
    """The text of pairs gives the pairs."""
    text = ",".join(f"{value}:{percent}" for value, percent in pairs)
    assert behaviour.weighted(text, int) == tuple((value, float(percent)) for value, percent in pairs)


def test_a_pod_without_an_address_cannot_listen():
    """LISTEN_HOST is named when it is missing."""
    with pytest.raises(SettingError, match="LISTEN_HOST"):
        Pod.of({"PORTS": "80"})
    with pytest.raises(SettingError, match="'x'"):
        Pod.of({"PORTS": "80,x", "LISTEN_HOST": "127.0.0.1"})
