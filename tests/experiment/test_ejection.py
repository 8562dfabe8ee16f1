"""Faults that the mesh copes with by itself: callers stop asking the target, and have to come back to it."""

import pytest
from trials import NO_RETRIES, UP, experiment

from harness.faults import Abort
from harness.indicators import promql
from harness.slo import SLO
from harness.verdict import Verdict

ASKED = promql(
    "requests that reach payments",
    good='istio_requests_total{reporter="destination",destination_app="payments"}',
    total='istio_requests_total{reporter="source",destination_app="payments"}',
)
BACK = SLO("payments is asked again", ASKED, at_least=0.5)
ALL = Abort(503, 100)


def test_a_target_that_is_not_asked_any_more_is_proven_by_the_hits_before(world, perform):
    """They share a scrape with requests from before the fault, so no share would tell."""
    world.ejects = 20
    judgement, _ = perform(experiment(ALL))
    assert judgement.verdict is Verdict.HELD, judgement
    assert judgement.evidence.endswith("requests at the target, which was not asked any more then")


def test_a_target_that_was_never_hit_is_not_proven_by_silence(world, perform):
    """Nobody asks it because nobody ever did."""
    world.bypassed = True
    judgement, _ = perform(experiment(ALL, hypothesis=[UP]), patience=3.0)
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement


@pytest.mark.parametrize(("within", "verdict"), [(0.0, Verdict.VIOLATED), (2.0, Verdict.HELD)])
def test_what_happens_while_the_mesh_may_still_mitigate_is_not_held_against_it(
    world, perform, within, verdict
):
    """Half a second of errors, before the callers go elsewhere."""
    world.ejects = 100
    judgement, _ = perform(experiment(ALL, mitigated_within=within), weaken=[NO_RETRIES])
    assert judgement.verdict is verdict, judgement


@pytest.mark.parametrize(
    ("stays_out", "verdict"), [(False, Verdict.HELD), (True, Verdict.VIOLATED)], ids=["returns", "stays out"]
)
def test_what_the_recovery_promises_has_to_come_true(world, perform, stays_out, verdict):
    """A pod that is ejected for good serves nobody, however well the others do."""
    world.ejects, world.stays_out = 20, stays_out
    judgement, _ = perform(experiment(ALL, recovery=[BACK]))
    assert judgement.verdict is verdict, judgement
    if stays_out:
        assert "not recovered within 4 s" in judgement.reasons[0]
        assert "payments is asked again 0.00%" in judgement.reasons[0]


def test_what_the_recovery_promises_has_to_be_true_before(world, perform):
    """Else it could not come true again."""
    world.bypassed = True
    judgement, _ = perform(experiment(ALL, recovery=[BACK]), patience=3.0)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "payments is asked again" in judgement.reasons[0]
