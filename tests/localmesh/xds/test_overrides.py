"""What Telemetry resources say about metrics and access logs, merged as istiod merges them."""

from __future__ import annotations

import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.kinds import istio
from harness.localmesh.xds import model
from harness.localmesh.xds.accesslog import access_logs
from harness.localmesh.xds.metrics import request_metrics, server_labels
from harness.localmesh.xds.overrides import METRICS, Override, overrides
from harness.localmesh.xds.view import Views

COUNT, BYTES = "requests_total", "request_bytes"
OFF = "{disabled: true}"
OFF_AT_SERVER = "{match: {mode: SERVER}, disabled: true}"
COUNT_OFF = "{match: {metric: REQUEST_COUNT}, disabled: true}"
COUNT_ON = "{match: {metric: REQUEST_COUNT}, disabled: false}"
ENVOY = "providers: [{name: envoy}]"
JSON = model.MeshConfig(access_log=True, access_log_json=True)


def _telemetries(kind: str, *texts: str) -> list[model.Telemetry]:
    """One Telemetry for each text, the items of its `metrics` or its `accessLogging`."""
    made = []
    for number, text in enumerate(texts):
        spec = {kind: yaml.safe_load(f"[{text}]")}
        manifest = {
            "kind": "Telemetry",
            "metadata": {"name": f"t{number}", "namespace": "default"},
            "spec": spec,
        }
        istio.admit(manifest)
        made.append(
            model.Telemetry(
                f"t{number}", "default", str(number), "", istio.spec_of(manifest, istio.Telemetry)
            )
        )
    return made


def _changes(*texts: str, side: str = "SERVER"):
    """What is changed by Telemetries with these overrides, from mesh to workload."""
    return overrides(_telemetries("metrics", *(f"{{overrides: [{text}]}}" for text in texts)), side)


def test_without_overrides_nothing_changes():
    """No Telemetry, and one that says nothing, leave the metrics as they are."""
    assert overrides([], "CLIENT") == {}
    assert overrides(_telemetries("metrics", "{}"), "CLIENT") == {}


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ((OFF,), False),
        ((OFF_AT_SERVER,), False),
        ((OFF, "{disabled: false}"), True),
        ((OFF, COUNT_ON), True),
        ((COUNT_ON, OFF), False),
        ((OFF_AT_SERVER, "{match: {mode: CLIENT}, disabled: false}"), False),
    ],
)
def test_all_metrics_are_off_until_somebody_speaks_of_them_again(texts, left):
    """Disabling ALL_METRICS takes the whole side away, until a later override is for that side."""
    assert (_changes(*texts) is not None) is left


def test_a_side_keeps_what_the_other_loses():
    """An override with a mode is for that side only."""
    assert _changes(OFF_AT_SERVER, side="CLIENT") == {}


def test_the_later_word_counts():
    """A workload switches on again what the mesh has switched off, metric by metric."""
    assert _changes(COUNT_OFF)[COUNT] == Override(dropped=True)
    assert _changes(COUNT_OFF, COUNT_ON)[COUNT] == Override()


def test_labels_are_merged_one_by_one():
    """A label's last override wins, others stay; without a metric they are for all of them."""
    mesh = "{tagOverrides: {a: {value: '1'}, b: {value: '2'}}}"
    workload = "{match: {metric: REQUEST_COUNT}, tagOverrides: {b: {operation: REMOVE}}}"
    made = _changes(mesh, workload)
    assert made[COUNT].tags == {"a": "1", "b": None}
    assert made[BYTES].tags == {"a": "1", "b": "2"}
    assert set(made) == set(METRICS.values())


def test_a_metric_has_two_names():
    """`customMetric` may name one of Istio's as Prometheus does."""
    assert _changes("{match: {customMetric: requests_total}, disabled: true}")[COUNT].dropped


@given(
    st.lists(st.sampled_from([OFF, OFF_AT_SERVER, COUNT_OFF, COUNT_ON, "{tagOverrides: {a: {value: '1'}}}"]))
)
def test_a_list_of_overrides_is_the_same_in_one_resource_or_in_many(texts):
    """Only their order counts, not which Telemetry they stand in."""
    for side in ("CLIENT", "SERVER"):
        assert _changes(*texts, side=side) == _changes(", ".join(texts), side=side)


def _logged(changes: str, build):
    workload = build.workload("callee", "127.9.0.1", "127.9.1.1")
    labels = server_labels(workload, None, http=True, mutual_tls=True)
    telemetries = _telemetries("metrics", f"{{overrides: [{changes}]}}") if changes else []
    loggers = [item["typed_config"] for item in request_metrics(labels, telemetries, "SERVER")]
    stats = itertools.chain.from_iterable(item["counters"] + item["histograms"] for item in loggers)
    return {item["stat"]["name"]: [tag["name"] for tag in item["stat"]["tags"]] for item in stats}


def test_labels_keep_their_order(build):
    """A label that is set stays where it was, a new one goes to the end, and one of other metrics is left out."""
    before = _logged("", build)
    change = "{tagOverrides: {zone: {value: '1'}, reporter: {value: '2'}, response_code: {value: '3'}}}"
    after = _logged(change, build)
    assert after[COUNT] == [*before[COUNT], "zone"]
    assert after["request_messages_total"] == [*before["request_messages_total"], "zone"]


def test_a_dropped_metric_has_no_logger(build):
    """What is disabled is not counted, and the rest is."""
    assert set(_logged("", build)) - set(_logged(COUNT_OFF, build)) == {COUNT}
    assert _logged(OFF, build) == {}


def _expressions(*texts: str, side: str = "SERVER", config: model.MeshConfig = JSON) -> list[str | None]:
    """The filter of each access logger, None for one that logs everything."""
    loggers = access_logs(config, _telemetries("accessLogging", *texts), side)
    return [
        item["filter"]["extension_filter"]["typed_config"]["expression"] if "filter" in item else None
        for item in loggers
    ]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), [None]),
        ((f"{{{ENVOY}}}",), [None]),
        ((f"{{{ENVOY}, disabled: true}}",), []),
        (("{disabled: true}",), [None]),
        ((f"{{{ENVOY}}}", "{disabled: true}"), []),
        ((f"{{{ENVOY}, disabled: true}}", f"{{{ENVOY}}}"), [None]),
        ((f"{{{ENVOY}, match: {{mode: CLIENT}}, disabled: true}}",), [None]),
        ((f"{{{ENVOY}, filter: {{expression: a}}}}",), ["a"]),
        ((f"{{{ENVOY}, filter: {{expression: a}}}}", f"{{{ENVOY}, filter: {{expression: b}}}}"), ["b"]),
        ((f"{{{ENVOY}, filter: {{expression: a}}}}", "{filter: {expression: b}}"), ["a"]),
    ],
)
def test_the_last_word_on_a_provider_decides_what_is_logged(texts, expected):
    """Without a provider an entry has that of an earlier one, and its filter; without any it has no effect."""
    assert _expressions(*texts) == expected


def test_a_telemetry_switches_logs_on():
    """Where MeshConfig has no access log file, a Telemetry that names the provider brings one."""
    silent = model.MeshConfig()
    assert _expressions(config=silent) == []
    assert _expressions(f"{{{ENVOY}}}", config=silent) == [None]


def test_those_of_mesh_namespace_and_workload_apply(build):
    """The oldest without a selector of root and own namespace, then all that select the workload, oldest first."""
    text = "kind: Telemetry\nmetadata: {{name: {}, namespace: {}}}\nspec: {}\n"
    chosen = "{selector: {matchLabels: {app: a}}}"
    listed = [
        ("w2", "default", chosen), ("ns", "default", "{}"), ("younger", "default", "{}"),
        ("mesh", "istio-system", "{}"), ("w3", "default", chosen),
        ("elsewhere", "istio-system", chosen), ("other", "shop", "{}"),
    ]  # fmt: skip
    workload = build.workload("a", "127.9.0.1", "127.9.1.1")
    mesh = build.with_rules(model.Mesh(workloads=(workload,)), *(text.format(*item) for item in listed))
    view = Views(mesh).of(model.Proxy(workload, {}, workload.ip))
    assert [item.name for item in view.telemetries] == ["mesh", "ns", "w2", "w3"]
