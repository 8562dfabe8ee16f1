"""Delays and aborts at the callee: the filters they make, what proves them, and what cannot be had."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import COUNTED, pod, scene

from harness.changes import Create, Edit, Patch
from harness.errors import HarnessError
from harness.faults import Abort, BlastRadius, Delay, Rhythm


def _filters(fault):
    """The configurations of the fault filters, without their type."""
    [change] = fault.changes(scene())
    patches = change.manifest["spec"]["configPatches"]
    assert {patch["match"]["context"] for patch in patches} == {"SIDECAR_INBOUND"}
    configs = [dict(patch["patch"]["value"]["typed_config"]) for patch in patches]
    assert {config.pop("@type").rpartition(".")[2] for config in configs} == {"HTTPFault"}
    return configs


def _share(percent):
    return {"numerator": round(10_000 * percent), "denominator": "MILLION"}


def test_a_delay_is_one_filter_with_its_share():
    """Golden; the name says what it is."""
    assert _filters(Delay(0.25, percent=40)) == [
        {"delay": {"fixed_delay": "0.25s", "percentage": _share(40)}}
    ]
    [change] = Delay(0.25, 40).changes(scene())
    assert change.ref.name == "harness-20260102-abc-delay-250ms-payments"
    assert change.ref.kind == "EnvoyFilter"


def test_the_evidence_of_a_delay_is_the_flag_di_whatever_became_of_the_request():
    """A caller that gave up adds flags of its own."""
    evidence = Delay(1, 40).evidence(scene())
    assert (evidence.selector_all, evidence.selector_hit, evidence.flags) == (COUNTED, COUNTED, ("DI",))
    assert (evidence.percent, evidence.partial, evidence.momentary) == (40, False, False)


@given(st.floats(0.01, 100), st.floats(0.01, 0.9))
def test_the_delays_of_a_jitter_are_evenly_spread_between_its_ends(seconds, fraction):
    """Each filter draws for itself, so every sum of them is as likely as any other."""
    jitter = seconds * fraction
    base, *steps = _filters(Delay(seconds, jitter=jitter))
    assert base["delay"]["percentage"] == _share(100)
    assert {step["delay"]["percentage"]["numerator"] for step in steps} == {500_000}
    parts = [float(step["delay"]["fixed_delay"].removesuffix("s")) for step in steps]
    least = float(base["delay"]["fixed_delay"].removesuffix("s"))
    sums = sorted(least + sum(kept) for kept in product(*((0.0, part) for part in parts)))
    expected = [seconds - jitter + 2 * jitter * step / 15 for step in range(16)]
    assert sums == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delay(0), "cannot last 0 s"),
        (lambda: Delay(1, 101), "cannot hit 101 %"),
        (lambda: Delay(1, jitter=1), "has to stay above 0 s"),
        (lambda: Delay(1, 50, jitter=0.1), "fixed delays only.*choose percent=100 or jitter=0"),
        (lambda: Delay(1, path="items"), "has to begin with /"),
        (lambda: Abort(503, headers={":path": "/"}), "match the path by path="),
        (Abort, "either status or grpc_status"),
        (lambda: Abort(503, grpc_status=14), "either status or grpc_status"),
        (lambda: Abort(grpc_status=17), "gRPC status 17"),
    ],
)
def test_what_envoy_cannot_do_is_refused_with_the_reason(make, message):
    """Before anybody is asked."""
    with pytest.raises(HarnessError, match=message):
        make()


def test_a_grpc_abort_is_for_grpc_requests_only_and_counted_among_them():
    """Envoy would answer others 200."""
    abort = Abort(grpc_status=14, percent=30)
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    assert _filters(abort) == [{"abort": {"grpc_status": 14, "percentage": _share(30)}, "headers": [grpc]}]
    evidence = abort.evidence(scene())
    assert evidence.selector_all == COUNTED | {"request_protocol": "grpc"}
    assert evidence.selector_hit == evidence.selector_all | {
        "response_flags": "FI",
        "grpc_response_status": "14",
    }


@pytest.mark.parametrize("fault", [Delay(1, 50), Abort(503, 50)], ids=str)
def test_a_fault_may_be_aimed_at_headers_and_a_path(fault):
    """All have to match; the counters cannot tell who was meant, so the evidence asks for some hits and no more."""
    aimed = type(fault)(
        fault.seconds if isinstance(fault, Delay) else 503, 50, headers={"X-User": "alice"}, path="/items"
    )
    [config] = _filters(aimed)
    assert config["headers"] == [
        {"name": "x-user", "string_match": {"exact": "alice"}},
        {"name": ":path", "string_match": {"prefix": "/items"}},
    ]
    assert aimed.evidence(scene()).partial
    assert str(aimed) == f"{fault} /items X-User=alice"


def test_a_delay_needs_a_sidecar_in_every_pod():
    """Nothing would bite there."""
    with pytest.raises(HarnessError, match="no sidecar in payments-2"):
        Delay(1).changes(scene(pod(1), pod(2, sidecar=False)))


def test_requests_are_hit_in_every_pod_and_no_more_of_them_than_asked():
    """What the blast radius counts."""
    assert len(Delay(1, 40).pods(scene())) == 3
    assert Delay(1, 40).harm(scene()) == 40


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Delay(1.5, 50), "delay 1.5s 50%"),
        (Delay(0.2, jitter=0.05), "delay 0.2±0.05s 100%"),
        (Abort(grpc_status=14, percent=5), "abort grpc 14 5%"),
    ],
)
def test_they_have_short_names(fault, text):
    """Ids of tests."""
    assert str(fault) == text


# rising


def _strength(change):
    """The percentages and delays in a fault at the callee."""
    spec = change.manifest["spec"] if isinstance(change, Create) else change.edits[0].value
    config = spec["configPatches"][0]["patch"]["value"]["typed_config"]
    fault = config.get("abort") or config["delay"]
    seconds = float(fault["fixed_delay"].removesuffix("s")) if "fixed_delay" in fault else None
    return fault["percentage"]["numerator"] / 10_000, seconds


def test_a_fault_rises_in_ten_equal_steps_to_what_was_asked():
    """Golden: the first at once, the last when the time of the rise is over; then it is what it is without."""
    rising = Delay(0.5, percent=40, ramp=18)
    assert rising.rhythm == Rhythm(2, 9)
    [first] = rising.changes(scene())
    steps = [first, *(rising.further(scene(), (), time)[0] for time in range(1, 10))]
    assert [_strength(step) for step in steps] == [
        (pytest.approx(4 * step), pytest.approx(0.05 * step)) for step in range(1, 11)
    ]
    assert {step.ref for step in steps} == {first.ref}
    assert steps[-1] == Patch(
        first.ref, (Edit(("spec",), Delay(0.5, 40).changes(scene())[0].manifest["spec"]),)
    )
    assert str(rising) == "delay 0.5s 40% in 18s"


@given(st.integers(0, 100), st.floats(2, 3600), st.integers(1, 9))
def test_a_rise_never_falls_and_never_exceeds_what_was_asked(percent, ramp, time):
    """Whatever was asked."""
    rising = Abort(503, percent, ramp=ramp)
    before = rising.further(scene(), (), time - 1)[0] if time > 1 else rising.changes(scene())[0]
    after = rising.further(scene(), (), time)[0]
    assert _strength(before)[0] <= _strength(after)[0] <= percent + 1e-3
    assert rising.rhythm.due(ramp) == 9
    assert rising.harm(scene()) == percent


def test_what_was_asked_is_measured_from_the_full_strength_on():
    """No counter says at which step a request came."""
    assert Abort(503, 30, ramp=20).evidence(scene()) == replace(Abort(503, 30).evidence(scene()), after=20)
    assert Delay(1, ramp=20).evidence(scene()).after == 20
    assert Abort(503, 30).rhythm is None


def test_a_rise_that_the_blast_radius_leaves_no_time_for_is_refused():
    """It would never be what was asked."""
    with pytest.raises(HarnessError, match=r"takes 60 s to come to what was asked"):
        BlastRadius(max_pods=3, seconds=60).check(Abort(503, 30, ramp=60), scene())


@pytest.mark.parametrize(
    "make", [lambda: Abort(503, ramp=1), lambda: Abort(503, ramp=-5), lambda: Delay(1, jitter=0.5, ramp=10)]
)
def test_a_rise_that_cannot_be_is_refused(make):
    """Too short for ten configurations, or together with jitter."""
    with pytest.raises(HarnessError, match=r"cannot (both )?rise"):
        make()
