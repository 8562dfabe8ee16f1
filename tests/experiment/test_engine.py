"""A run from its start to its verdict against a small world at the wire, with real traffic from locust."""

import threading
import time
from itertools import pairwise

from support import eventually
from trials import NO_RETRIES, SCRAPE, TARGET, UP, experiment, phases

from harness import journal as log
from harness.changes import Edit, Patch, Ref
from harness.faults import Abort, Nothing
from harness.indicators import mtls_share, plaintext_refused
from harness.journal import select
from harness.slo import SLO
from harness.verdict import Verdict

ENCRYPTED = SLO("mTLS", mtls_share("payments", "shop"), at_least=1.0, enough=50)
REFUSED = SLO("plaintext refused", plaintext_refused(TARGET, 8080), at_least=1.0, enough=6)
PERMISSIVE = Patch(
    Ref("security.istio.io/v1", "PeerAuthentication", "shop", "payments"),
    (Edit(("spec", "mtls", "mode"), "PERMISSIVE"),),
)


def test_retries_hide_a_failing_callee(world, perform):
    """The fault bites as asked, the promise holds, and the mesh is as it was before."""
    before = world.api.state()
    judgement, events = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.HELD, judgement
    assert "asked 30 %, seen" in judgement.evidence
    assert phases(events) == ["resolve", "gate", "inject", "observe", "revert", "recover"]
    assert world.api.state() == before
    (sent,) = select(events, log.LoadReported)
    assert sent.sent > 100


def test_without_retries_the_same_fault_violates_the_promise(world, perform):
    """The control turns the verdict red, and the policy is restored."""
    before = world.api.state()
    judgement, events = perform(experiment(Abort(503, 30)), weaken=[NO_RETRIES])
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert select(events, log.Weakened)[0].changes == ("patch VirtualService shop/payments",)
    assert world.api.state() == before


def test_a_breached_guardrail_reverts_at_once(world, perform):
    """Long before the time is up the fault is gone again."""
    # The promise alone would be watched for the whole time: 4,000 events are planned.
    patient = SLO("availability", UP.sli, at_least=0.001, enough=100_000)
    chosen = experiment(
        Abort(503, 90),
        hypothesis=[patient],
        guardrails=[SLO("guardrail", UP.sli, at_least=0.9)],
        observe=15.0,
    )
    began = time.monotonic()
    judgement, events = perform(chosen, weaken=[NO_RETRIES])
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert select(events, log.GuardrailBreached)
    assert time.monotonic() - began < 12


def test_a_guardrail_that_is_breached_late_reverts_within_a_second(world, perform):
    """Thousands of good requests before do not hide it; the counters are looked at more than once a second."""
    answer, moments, looks = world.api.before, {}, []

    def before(request):
        if request.method == "DELETE" and "envoyfilters" in request.path:
            moments["reverted"] = time.monotonic()
        return answer(request)

    def spoil():
        eventually(lambda: any("envoyfilters" in path for path in list(world.api.objects)), 30)
        enough = len(looks) + 20
        eventually(lambda: len(looks) > enough)
        world.broken, moments["broken"] = 0.9, time.monotonic()

    def query(text, at, ask=world.query):
        looks.append(time.monotonic())
        return ask(text, at)

    world.api.before, world.query = before, query
    thread = threading.Thread(target=spoil)
    thread.start()
    chosen = experiment(
        Abort(503, 30),
        hypothesis=[SLO("availability", UP.sli, at_least=0.001, enough=100_000)],
        guardrails=[SLO("guardrail", UP.sli, at_least=0.9)],
        observe=15.0,
    )
    judgement, _ = perform(chosen)
    thread.join()
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert any("guardrail guardrail breached" in reason for reason in judgement.reasons)
    assert moments["reverted"] - moments["broken"] < 1.0 + SCRAPE
    in_force = [at for at in looks if moments["broken"] - 2.0 < at < moments["reverted"]]
    assert max(later - at for at, later in pairwise(in_force)) < 1.0


def test_a_fault_rises_to_what_was_asked_and_is_measured_then(world, perform):
    """Ten steps, one object, and nothing left of it."""
    before = world.api.state()
    judgement, events = perform(experiment(Abort(503, 30, ramp=2)))
    assert judgement.verdict is Verdict.HELD, judgement
    again = select(events, log.Continued)
    assert again[-1].time == 9
    assert {event.changes for event in again} == {
        ("patch EnvoyFilter shop/harness-run-1-abort-503-payments",)
    }
    (injected,) = select(events, log.Injected)
    observed = next(event.at for event in select(events, log.PhaseStarted) if event.phase == "observe")
    assert observed - injected.at >= 2
    assert "asked 30 %, seen" in judgement.evidence
    assert world.api.state() == before


def test_enforced_mutual_tls_holds_and_permissive_violates_it(world, perform):
    """Plaintext to each pod is refused under STRICT; the control is caught by the first answer."""
    chosen = experiment(Nothing(), hypothesis=[ENCRYPTED, REFUSED])
    judgement, events = perform(chosen)
    assert judgement.verdict is Verdict.HELD, judgement
    assert select(events, log.Probed)[-1].refused >= 6
    judgement, _ = perform(chosen, weaken=[PERMISSIVE])
    assert judgement.verdict is Verdict.VIOLATED, judgement
    assert any("plaintext refused" in reason for reason in judgement.reasons)
