"""OpenSLO v1 files become SLOs of a run where that is honest, and are refused with the field where it is not."""

import copy
from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.openslo import read
from harness.slo import Latency, Matcher, Pair, Ratio, Selector

TOTAL = 'sum(rate(http_requests_total{job="shop"}[5m]))'
GOOD = 'sum(rate(http_requests_total{job="shop",code!~"5.."}[5m]))'
P99 = 'histogram_quantile(0.99, sum(rate(http_request_duration_seconds_bucket{job="shop"}[5m])) by (le))'


def source(query, kind="Prometheus"):
    """A metric source."""
    return {"metricSource": {"type": kind, "spec": {"query": query}}}


def document(indicator=None, objectives=None, **spec):
    """An SLO on paper: 99.9 % of the shop's requests are answered without a 5xx."""
    ratio = {"counter": True, "good": source(GOOD), "total": source(TOTAL)}
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "shop-up"},
        "spec": {
            "service": "shop",
            "indicator": {"metadata": {"name": "x"}, "spec": indicator or {"ratioMetric": ratio}},
            "timeWindow": [{"duration": "28d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": objectives or [{"target": 0.999}],
            **spec,
        },
    }


@pytest.fixture
def parse(tmp_path):
    """Writes documents to a file and reads it."""

    def parse(*documents):
        path = tmp_path / "slos.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return read(path)

    return parse


def test_good_and_total_become_a_ratio(parse):
    """Read by one query, for they differ by one matcher."""
    (slo,) = parse(document())
    assert slo.name == "shop-up"
    assert slo.at_least == 0.999
    total = Selector.equal("http_requests_total", {"job": "shop"})
    assert slo.sli == Ratio("shop-up", total, (Matcher("code", "!~", "5.."),))


def test_bad_events_are_the_opposite_of_good_ones(parse):
    """Where total with one matcher more says which."""
    bad = GOOD.replace("!~", "=~")
    ratio = {"counter": True, "bad": source(bad), "total": source(TOTAL)}
    (slo,) = parse(document({"ratioMetric": ratio}, [{"targetPercent": 99.9}]))
    assert slo.at_least == 0.999
    assert slo.sli.good == (Matcher("code", "!~", "5.."),)


def test_counters_of_different_names_become_a_pair(parse):
    """Both are read."""
    ratio = {"counter": True, "good": source("good_total"), "total": source("all_total")}
    (slo,) = parse(document({"ratioMetric": ratio}))
    assert slo.sli == Pair("shop-up", Selector("all_total"), Selector("good_total"))


def test_a_quantile_with_a_limit_becomes_a_latency(parse):
    """At most 0.3 s at the 99th percentile is 99 % of requests within 0.3 s."""
    objective = {"op": "lte", "value": 0.3, "target": 0.99}
    (slo,) = parse(document({"thresholdMetric": source(P99)}, [objective]))
    assert isinstance(slo.sli, Latency)
    assert (slo.at_least, slo.sli.limit, slo.sli.unit) == (0.99, pytest.approx(0.3), 1.0)
    milliseconds = P99.replace("seconds", "milliseconds")
    (slo,) = parse(document({"thresholdMetric": source(milliseconds)}, [{**objective, "value": 300}]))
    assert slo.sli.limit == pytest.approx(0.3)


def test_an_indicator_may_stand_beside_and_have_several_objectives(parse):
    """Each objective becomes an SLO with a name of its own."""
    one = document(objectives=[{"displayName": "good", "target": 0.99}, {"target": 0.999}])
    indicator = one["spec"].pop("indicator")
    one["spec"]["indicatorRef"] = "answers"
    beside = {
        "apiVersion": "openslo/v1",
        "kind": "SLI",
        "metadata": {"name": "answers"},
        "spec": indicator["spec"],
    }
    slos = parse(one, beside)
    assert [(slo.name, slo.at_least) for slo in slos] == [("good", 0.99), ("shop-up 2", 0.999)]


def changed(path, value):
    """The SLO on paper with one field changed."""
    one = copy.deepcopy(document())
    node = one
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return one


RATIO = ("spec", "indicator", "spec", "ratioMetric")
THRESHOLD = {"op": "lte", "value": 0.3, "target": 0.99}


@pytest.mark.parametrize(
    ("one", "field"),
    [
        (changed(("apiVersion",), "openslo/v2"), "apiVersion"),
        (changed(("kind",), "Service"), "kind SLO"),
        (changed(("spec", "budgetingMethod"), "Timeslices"), "budgetingMethod"),
        (changed(("spec", "timeWindow"), [{"duration": "soon"}]), "duration"),
        (changed(("spec", "objectives"), []), "objectives"),
        (changed(("spec", "objectives", 0), {"target": 0.99, "timeSliceTarget": 0.9}), "timeSliceTarget"),
        (changed(("spec", "objectives", 0), {"target": 0.99, "composite": []}), "composite"),
        (changed(("spec", "objectives", 0), {"target": 99.9}), "fraction"),
        (changed(("spec", "objectives", 0), {"target": 0.9, "targetPercent": 90}), "target"),
        (changed(("spec", "objectives", 0), {"target": "high"}), "target"),
        (changed((*RATIO, "counter"), False), "counter"),
        (changed((*RATIO, "raw"), source("x")), "raw"),
        (changed((*RATIO, "total"), source(TOTAL, "Datadog")), "type"),
        (changed((*RATIO, "total"), source("sum(a) / sum(b)")), "query"),
        (changed((*RATIO, "bad"), source(GOOD)), "good"),
        (changed(("spec", "indicatorRef"), "x"), "indicator"),
        (changed(("spec", "surprise"), 1), "surprise"),
        (document({"thresholdMetric": source("avg(cpu)")}, [THRESHOLD]), "query"),
        (document({"thresholdMetric": source(P99)}, [{**THRESHOLD, "op": "gte"}]), "op"),
        (document({"thresholdMetric": source(P99)}, [{**THRESHOLD, "target": 0.9}]), "target"),
        (document({"thresholdMetric": source(P99.replace("_seconds", ""))}, [THRESHOLD]), "query"),
        ([], "mapping"),
    ],
)
def test_what_a_run_cannot_measure_is_refused_with_file_and_field(parse, one, field):
    """Nothing is ignored, and nothing is bent until it fits."""
    with pytest.raises(HarnessError) as refused:
        parse(one)
    assert field in str(refused.value)
    assert "slos.yaml" in str(refused.value)


def test_files_that_cannot_be_read_are_errors_with_their_name(tmp_path):
    """One that is not there, and one that is no YAML."""
    with pytest.raises(HarnessError, match=r"nowhere\.yaml"):
        read(Path("nowhere.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(HarnessError, match=r"broken\.yaml is no YAML"):
        read(broken)
