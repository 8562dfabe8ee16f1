"""Preflight about retries, timeouts, ejection and failover: said where they do not do what they say, and only there."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from premised import ISTIO, codes, manifest, premises, shop, spoiled

from harness.faults import Abort, Delay, Nothing, PodKill
from harness.preflight import examine
from harness.preflight.policies import seconds
from harness.preflight.retries import retries_on


def _route(objects):
    return objects["calls"]["spec"]["http"][0]


def _policy(objects):
    return objects["rule"]["spec"]["trafficPolicy"]


def _detection(objects):
    return _policy(objects)["outlierDetection"]


@pytest.mark.parametrize("fault", [Abort(503, 30), Delay(0.3), PodKill(1), Nothing()], ids=str)
def test_of_a_sound_mesh_nothing_is_said(fault):
    """Whatever the fault."""
    assert codes(premises(fault=fault)) == []


@given(
    attempts=st.integers(1, 12),
    each=st.integers(1, 3000),
    spare=st.integers(0, 5000),
    pods=st.integers(1, 12),
    percent=st.integers(1, 100),
    health=st.integers(0, 100),
    status=st.sampled_from([500, 502, 503, 504]),
)
def test_of_policies_that_fit_nothing_is_said(*, attempts, each, spare, pods, percent, health, status):
    """All tries fit into the timeout, one pod fits into the percentages, and the word covers the status."""
    assume(percent * pods >= 100 and health * pods <= 100 * (pods - 1))

    def change(objects):
        retries = {"attempts": attempts, "perTryTimeout": f"{each}ms", "retryOn": f"reset, {status}"}
        _route(objects).update(timeout=f"{(attempts + 1) * each + spare}ms", retries=retries)
        _detection(objects).update(maxEjectionPercent=percent, minHealthPercent=health)

    assert codes(spoiled(change, pods, fault=Abort(status, 30))) == []


@given(pods=st.integers(1, 12), percent=st.integers(1, 100))
def test_ejection_is_missed_exactly_where_envoy_would_eject_nobody(pods, percent):
    """Envoy ejects the first host while 100 / hosts is not above the percentage."""
    found = codes(spoiled(lambda objects: _detection(objects).update(maxEjectionPercent=percent), pods))
    assert (found == ["warn no-ejection"]) is (100.0 / pods > percent)


@given(attempts=st.integers(1, 12), each=st.integers(1, 3000), timeout=st.integers(1, 20_000))
def test_tries_are_too_long_exactly_where_they_do_not_fit(attempts, each, timeout):
    """The first try counts as well."""

    def change(objects):
        _route(objects)["timeout"] = f"{timeout}ms"
        _route(objects)["retries"].update(attempts=attempts, perTryTimeout=f"{each}ms")

    found = codes(spoiled(change))
    assert (found == ["warn tries-beyond-timeout"]) is ((attempts + 1) * each > timeout)


def test_tries_beyond_the_timeout_name_the_field_and_how_many_fit():
    """Field, reason and fix can be acted on."""
    [one] = examine(spoiled(lambda objects: _route(objects).update(timeout="1s")))
    assert one.field == "VirtualService shop/payments spec.http[0].retries.perTryTimeout"
    assert "4 tries" in one.reason
    assert "2 of 4 come to an end" in one.reason
    assert "0.25 s at most" in one.fix


@pytest.mark.parametrize(
    ("words", "status", "covered"),
    [
        ("5xx", 503, True), ("5xx", 429, False), ("gateway-error", 503, True), ("gateway-error", 500, False),
        ("retriable-4xx", 409, True), ("retriable-4xx", 404, False), ("reset,503", 503, True),
        ("connect-failure, refused-stream,reset", 503, False), ("retriable-status-codes", 503, False),
    ],
)  # fmt: skip
def test_a_word_covers_what_envoy_repeats_for_it(words, status, covered):
    """By ranges of HTTP statuses, or by one of them."""
    assert retries_on(words, status=status, grpc_status=None) is covered


def test_retries_that_never_answer_the_fault_are_told():
    """A word that does not cover it, and Istio's default, which has none for a plain 503."""
    narrow = spoiled(lambda objects: _route(objects)["retries"].update(retryOn="connect-failure,reset"))
    [one] = examine(narrow)
    assert (one.code, one.severity) == ("uncovered-code", "warn")
    assert one.field == "VirtualService shop/payments spec.http[0].retries.retryOn"
    assert "503" in one.fix
    default = spoiled(lambda objects: _route(objects)["retries"].pop("retryOn"))
    assert "Istio's default retryOn does not cover 503" in examine(default)[0].reason
    grpc = spoiled(lambda objects: None, fault=Abort(grpc_status=14, percent=30))
    assert codes(grpc) == ["warn uncovered-code"]
    assert retries_on("unavailable", status=None, grpc_status=14)
    without = spoiled(lambda objects: _route(objects).update(retries={"attempts": 0}))
    assert codes(without) == []


def test_a_fault_before_the_policy_of_its_route_is_refused():
    """Ours at the caller, or one that stands there; also where it is for ejection that it never counts."""
    ours = examine(premises(fault=Abort(503, 30, at="caller")))
    assert [(one.code, one.severity) for one in ours] == [
        ("fault-before-policy", "refuse"),
        ("fault-before-policy", "warn"),
    ]
    assert ours[0].field == "VirtualService shop/payments spec.http[0].retries"
    assert "callee" in ours[0].fix
    assert ours[1].field == "DestinationRule shop/payments spec.trafficPolicy.outlierDetection"
    standing = {"abort": {"httpStatus": 503, "percentage": {"value": 1}}}
    assert codes(spoiled(lambda objects: _route(objects).update(fault=standing))) == [
        "refuse fault-before-policy"
    ]

    def plain(objects):
        _route(objects).pop("retries")
        _route(objects).pop("timeout")
        objects.pop("rule")

    assert codes(spoiled(plain, fault=Abort(503, 30, at="caller"))) == []


def test_ejection_by_default_of_ten_percent_takes_ten_pods():
    """The default is named, and what would do."""
    [one] = examine(spoiled(lambda objects: _detection(objects).pop("maxEjectionPercent")))
    assert "10 % (Envoy's default)" in one.reason
    assert one.fix == "set it to 34 or more, or run 10 pods"
    assert codes(spoiled(lambda objects: _detection(objects).pop("maxEjectionPercent"), pods=10)) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"minHealthPercent": 70}, ["warn no-ejection"]),
        ({"minHealthPercent": 66}, []),
        ({"consecutive5xxErrors": 0}, ["warn no-ejection"]),
        ({"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3}, []),
        ({"consecutiveGatewayErrors": 3}, []),
        ({"consecutiveGatewayErrors": 7}, ["warn default-5xx"]),
        ({"consecutive5xxErrors": None, "consecutiveGatewayErrors": 3}, ["warn default-5xx"]),
        ({"consecutive5xxErrors": None, "consecutiveGatewayErrors": 7}, ["warn default-5xx"]),
    ],
)  # fmt: skip
def test_thresholds_that_contradict_each_other_are_told(changed, expected):
    """Too few healthy pods left, nothing counted, and gateway errors beside all 5xx."""

    def change(objects):
        detection = {**_detection(objects), **changed}
        _policy(objects)["outlierDetection"] = {
            key: value for key, value in detection.items() if value is not None
        }

    assert codes(spoiled(change)) == expected


def test_a_subset_is_judged_by_its_own_pods_if_a_route_names_it():
    """It has the policy of the whole where it has none of its own."""

    def divide(objects, *, named):
        for number, version in enumerate(("v1", "v1", "v2")):
            objects[f"payments-{number}"]["metadata"]["labels"]["version"] = version
        subset = {
            "name": "v2",
            "labels": {"version": "v2"},
            "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
        }
        objects["rule"]["spec"]["subsets"] = [subset]
        if named:
            _route(objects)["route"][0]["destination"]["subset"] = "v2"

    [one] = examine(spoiled(lambda objects: divide(objects, named=True)))
    assert "one of 1 pods" in one.reason
    assert one.field.endswith("spec.trafficPolicy.outlierDetection.maxEjectionPercent")
    assert codes(spoiled(lambda objects: divide(objects, named=False))) == []


@pytest.mark.parametrize("setting", [{"failover": [{"from": "a", "to": "b"}]}, {"failoverPriority": ["x"]}])
def test_failover_without_ejection_is_told(setting):
    """Unless the Service asks for priorities itself, or a policy ejects."""

    def change(objects, **policy):
        objects["rule"]["spec"]["trafficPolicy"] = {"loadBalancer": {"localityLbSetting": setting}, **policy}

    [one] = examine(spoiled(change))
    assert (one.code, one.severity) == ("no-failover", "warn")
    assert one.field.startswith(
        "DestinationRule shop/payments spec.trafficPolicy.loadBalancer.localityLbSetting."
    )
    ejecting = {"outlierDetection": {"maxEjectionPercent": 50}}
    assert codes(spoiled(lambda objects: change(objects, **ejecting))) == []

    def distributed(objects):
        change(objects)
        objects["payments"]["spec"]["trafficDistribution"] = "PreferClose"

    assert codes(spoiled(distributed)) == []


def test_settings_of_a_port_stand_alone():
    """They replace those of the whole policy, so ejection outside does not help failover inside."""

    def change(objects):
        lb = {"localityLbSetting": {"failoverPriority": ["x"]}}
        _policy(objects)["portLevelSettings"] = [{"port": {"number": 80}, "loadBalancer": lb}]

    [one] = examine(spoiled(change))
    assert "spec.trafficPolicy.portLevelSettings[0].loadBalancer" in one.field


def test_policies_of_others_are_nobodys_business():
    """Another host, in another namespace by the same short name, or a rule that a more exact one replaces."""
    spec = {"host": "payments", "trafficPolicy": {"outlierDetection": {}}}

    def add(objects):
        objects["other"] = manifest(ISTIO, "DestinationRule", "other", spec, namespace="elsewhere")
        objects["wild"] = manifest(ISTIO, "DestinationRule", "wild", {**spec, "host": "*.local"})

    assert codes(spoiled(add)) == []
    objects = shop()
    objects["rule"]["spec"]["host"] = "*.shop.svc.cluster.local"
    objects["rule"]["spec"]["trafficPolicy"]["outlierDetection"] = {}
    assert codes(premises(objects)) == ["warn no-ejection"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1m30s", 90.0), ("250ms", 0.25), ("1.5s", 1.5), ("0s", 0.0), ("soon", None), (None, None)],
)
def test_durations_are_read_as_istio_writes_them(text, value):
    """Anything else is none."""
    assert seconds(text) == value
