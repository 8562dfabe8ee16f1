"""SLIs render to PromQL as Prometheus reads it, and objectives say how much traffic they need."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.faults import Target
from harness.indicators import availability, mtls_share, plaintext_refused
from harness.slo import SLO, Matcher, Probe, Selector

UP = SLO("up", availability("checkout", "shop"), at_least=0.999)


def unquoted(text):
    """Reads a PromQL string as Go does, as far as quotes, backslashes and newlines go."""
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text)


@given(st.text(max_size=30))
def test_whatever_a_label_holds_survives_the_way_through_promql(value):
    """Quotes, backslashes and newlines are escaped, so no value can break out of its string."""
    rendered = str(Matcher("path", "=", value))
    quoted = rendered.removeprefix('path="').removesuffix('"')
    assert not re.search(r'(?<!\\)(?:\\\\)*"', quoted)
    assert "\n" not in quoted
    assert unquoted(quoted) == value


@pytest.mark.parametrize(
    ("operator", "value", "hits", "misses"),
    [
        ("=", "503", ["503"], ["500", "5030", ""]),
        ("!=", "0", ["200", ""], ["0"]),
        ("=~", "5..", ["500", "503"], ["200", "5030", "150"]),
        ("!~", "5..", ["200", "", "5030"], ["503"]),
    ],
)
def test_a_matcher_matches_whole_values_as_promql_does(operator, value, hits, misses):
    """Regular expressions are anchored, and a missing label is an empty one."""
    matcher = Matcher("code", operator, value)
    assert all(matcher.matches({"code": hit} if hit else {}) for hit in hits)
    assert not any(matcher.matches({"code": miss} if miss else {}) for miss in misses)


def test_availability_asks_the_callers_and_leaves_out_clients_that_went_away():
    """Only the source reporter sees what the callers saw; response code 0 is no answer at all."""
    sli = availability("checkout", "shop")
    assert str(sli.total) == (
        'istio_requests_total{reporter="source",destination_service_name="checkout",'
        'destination_service_namespace="shop",response_code!="0"}'
    )
    assert sli.is_good({"response_code": "404"})
    assert not sli.is_good({"response_code": "503"})


@pytest.mark.parametrize("flags", ["NR", "NC", "URX,NC"])
def test_a_request_that_had_nowhere_to_go_failed_whatever_it_was_answered(flags):
    """A sidecar without a route answers 404."""
    sli = availability("checkout", "shop")
    assert not sli.is_good({"response_code": "404", "response_flags": flags})


@pytest.mark.parametrize(
    ("host", "caller", "counts"),
    [
        ("checkout", "shop", True),
        ("checkout:8080", "shop", True),
        ("checkout", "other", False),
        ("checkout.shop", "other", True),
        ("checkout.shop.svc.cluster.local:8080", "other", True),
        ("checkout.other", "shop", False),
        ("checkout2.shop", "shop", False),
        ("checkoutxshop", "shop", False),
    ],
)
def test_requests_without_a_route_are_known_by_the_host_that_was_asked_for(host, caller, counts):
    """A short name means the Service in the namespace of who asks."""
    labels = {
        "__name__": "istio_requests_total",
        "reporter": "source",
        "source_workload_namespace": caller,
        "destination_service": host,
        "response_flags": "NR",
    }
    unserved = availability("checkout", "shop").unserved
    assert any(one.matches(labels) for one in unserved) is counts
    assert not any(one.matches({**labels, "response_flags": "-"}) for one in unserved)


def test_mutual_tls_is_asked_at_the_destination():
    """The source always reports unknown, so it cannot be asked."""
    sli = mtls_share("checkout", "shop")
    assert 'reporter="destination"' in str(sli.total)
    assert sli.is_good({"connection_security_policy": "mutual_tls"})
    assert not sli.is_good({"connection_security_policy": "none"})
    assert not sli.is_good({"connection_security_policy": "unknown"})


def test_an_objective_plans_the_events_it_takes_to_hold_it():
    """The plan is fixed beforehand and grows with the objective."""
    assert UP.planned(0.99) == 6007
    assert SLO("up", UP.sli, at_least=0.99).planned(0.99) == 598
    assert SLO("all", UP.sli, at_least=1.0).planned(0.99) == 300
    assert (
        SLO("probed", plaintext_refused(Target("checkout", "shop"), 8080), at_least=1.0).planned(0.99) == 10
    )


def test_the_error_budget_is_what_may_fail():
    """One in a thousand for 99.9 %."""
    assert UP.error_budget == pytest.approx(0.001)


def test_a_guardrail_is_looser_than_the_promise():
    """Relaxing keeps the SLI; making it stricter is refused."""
    assert UP.relaxed(at_least=0.9).sli is UP.sli
    with pytest.raises(HarnessError, match="stricter"):
        UP.relaxed(at_least=0.9999)


@pytest.mark.parametrize("at_least", [0.0, -0.1, 1.5, 99.9])
def test_an_objective_is_a_fraction(at_least):
    """Percentages are refused instead of being promised for ever."""
    with pytest.raises(HarnessError, match="fraction"):
        SLO("up", UP.sli, at_least=at_least)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Selector('up{job="x"}'),
        lambda: Matcher("le gal", "=", "x"),
        lambda: Matcher("code", "=~", "5(("),
    ],
)
def test_what_promql_could_not_read_is_refused_at_once(make):
    """Wrong names and expressions are errors here, not answers of Prometheus in the middle of a run."""
    with pytest.raises(HarnessError):
        make()


def test_a_probe_can_stand_in_an_slo_and_be_compared():
    """SLIs are values: equal ones are counted once."""
    assert plaintext_refused(Target("a"), 80) == Probe("plaintext refused by default/a", Target("a"), 80)
    assert len({availability("a"), availability("a"), availability("b")}) == 2
