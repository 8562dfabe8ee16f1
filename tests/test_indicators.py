"""Indicators as people name them: which series they read, which events are good, and what is refused."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.indicators import (
    availability,
    ejection,
    error_ratio,
    latency,
    promql,
    retry_amplification,
    selector,
    throughput,
)
from harness.slo import SLO, Matcher, Pair, Ratio, Selector


def test_an_error_ratio_is_availability_seen_from_the_other_side():
    """At most 0.1 % errors is at least 99.9 % available."""
    slo = SLO("errors", error_ratio("checkout", "shop"), at_most=0.001)
    assert slo.at_least == pytest.approx(0.999)
    assert slo.sli.selectors == availability("checkout", "shop").selectors
    assert slo.answers


def test_a_latency_is_a_share_of_requests_within_a_limit():
    """p99 of at most 400 ms is at least 99 % within 400 ms."""
    slo = SLO("fast", latency("checkout", "shop", quantile=0.99), at_most=0.4)
    assert (slo.at_least, slo.sli.limit) == (0.99, 0.4)
    assert str(slo.sli.selectors[0]).startswith("istio_request_duration_milliseconds_bucket{")
    assert slo.relaxed(at_most=1.0).sli.limit == 1.0
    assert replace(slo, enough=5).at_least == 0.99, "a copy is the same promise"


def test_retry_amplification_compares_what_arrives_with_what_was_asked():
    """At most 1.25 attempts per request means that at least 80 % of the attempts are first ones."""
    slo = SLO("storm", retry_amplification("catalog", "shop"), at_most=1.25)
    assert slo.at_least == pytest.approx(0.8)
    attempts, requests = slo.sli.selectors
    assert 'reporter="destination"' in str(attempts)
    assert 'reporter="source"' in str(requests)
    assert SLO("none", slo.sli, at_most=1).at_least == 1.0


def test_ejection_counts_the_attempts_that_met_no_fault():
    """Flags may stand among others."""
    sli = ejection("catalog", "shop")
    assert sli.is_good({"response_flags": "-"})
    assert not sli.is_good({"response_flags": "FI"})
    assert not sli.is_good({"response_flags": "URX,DI"})


def test_throughput_is_a_share_of_what_is_offered():
    """180 of 200 per second."""
    slo = SLO("serves", throughput("checkout", "shop", offered=200), at_least=180)
    assert slo.at_least == pytest.approx(0.9)
    assert replace(slo, enough=5).at_least == pytest.approx(0.9)
    assert slo.relaxed(at_least=100).at_least == pytest.approx(0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SLO("x", availability("a"), at_most=0.1),
        lambda: SLO("x", error_ratio("a"), at_least=0.1),
        lambda: SLO("x", error_ratio("a"), at_least=0.9, at_most=0.2),
        lambda: SLO("x", availability("a")),
        lambda: SLO("x", error_ratio("a")),
        lambda: SLO("x", latency("a", quantile=0.9), at_least=0.4),
        lambda: SLO("x", throughput("a", offered=10)),
    ],
)
def test_the_limit_has_to_be_the_one_of_the_indicator(make):
    """The sentence names which one it is."""
    with pytest.raises(HarnessError, match=r"limited by (at_least|at_most)"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SLO("x", error_ratio("a"), at_most=1.0),
        lambda: SLO("x", error_ratio("a"), at_most=-0.1),
        lambda: SLO("x", retry_amplification("a"), at_most=0.5),
        lambda: SLO("x", retry_amplification("a"), at_most=0.0),
        lambda: SLO("x", latency("a", quantile=0.9), at_most=0.0),
        lambda: SLO("x", latency("a", quantile=0.9), at_most=math.inf),
        lambda: SLO("x", throughput("a", offered=10), at_least=11),
        lambda: latency("a", quantile=99),
        lambda: throughput("a", offered=0),
        lambda: SLO("x", error_ratio("a"), at_most=0.1).relaxed(at_most=0.05),
        lambda: SLO("x", latency("a", quantile=0.9), at_most=0.4).relaxed(at_most=0.3),
    ],
)
def test_limits_that_cannot_be_are_refused(make):
    """Percentages for fractions, fewer attempts than requests, and guardrails stricter than the promise."""
    with pytest.raises(HarnessError):
        make()


@pytest.mark.parametrize(
    "query",
    [
        'http_requests_total{code!~"5..",job="shop"}',
        'sum(rate(http_requests_total{code!~"5..",job="shop"}[5m]))',
        'sum( increase( http_requests_total{ code!~"5..", job="shop", }[30s] ) )',
    ],
)
def test_a_counter_is_found_in_the_queries_of_dashboards(query):
    """What is around it says how often somebody looks; here the raw samples are counted."""
    assert selector(query) == Selector(
        "http_requests_total", (Matcher("code", "!~", "5.."), Matcher("job", "=", "shop"))
    )


@given(
    st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), st.text(max_size=20), max_size=4)
)
def test_every_selector_is_read_as_it_is_written(labels):
    """Whatever the values hold."""
    wanted = Selector.equal("requests_total", labels)
    assert selector(str(wanted)) == wanted
    assert selector(f"sum(rate({wanted}[5m]))") == wanted


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(a[5m])) / sum(rate(b[5m]))",
        "sum by (pod) (rate(a[5m]))",
        "histogram_quantile(0.99, rate(a_bucket[5m]))",
        "a or b",
        "a{code=200}",
        "a offset 5m",
        "",
    ],
)
def test_what_is_no_counter_is_refused_with_the_query(query):
    """Its events could not be counted one by one."""
    with pytest.raises(HarnessError, match="query"):
        selector(query)


def test_good_and_total_of_one_metric_are_read_by_one_query():
    """Only those of different metrics need two."""
    one = promql("x", good='a{job="s",code="200"}', total='a{job="s"}')
    assert one == Ratio("x", Selector.equal("a", {"job": "s"}), (Matcher("code", "=", "200"),))
    two = promql("x", good="sum(rate(good_total[1m]))", total="sum(rate(all_total[1m]))")
    assert two == Pair("x", Selector("all_total"), Selector("good_total"))
    assert isinstance(promql("x", good='a{code="200"}', total='a{job="s"}'), Pair)
