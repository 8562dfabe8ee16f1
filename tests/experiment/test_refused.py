"""Runs that are refused before anything is written, with the reason."""

from trials import NO_RETRIES, experiment, phases

from harness.changes import Create
from harness.faults import Abort, BlastRadius, Target
from harness.verdict import Verdict


def test_an_empty_target_is_refused_before_anything_is_written(world, perform):
    """The reason names the target."""
    judgement, _ = perform(experiment(Abort(503, 30), target=Target("nobody", "shop")))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "nobody" in judgement.reasons[0]
    assert world.api.writes() == []


def test_too_wide_a_fault_is_refused_before_anything_is_written(world, perform):
    """The limit is checked before the first write, even before the policy is weakened."""
    chosen = experiment(Abort(503, 30), blast_radius=BlastRadius(max_pods=1))
    judgement, _ = perform(chosen, weaken=[NO_RETRIES])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert world.api.writes() == []


def test_a_policy_is_not_weakened_by_a_secret(world, perform):
    """Nothing of it comes into the journal; it is refused in the first phase."""
    metadata = {"name": "token", "namespace": "shop"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"a": "aHVzaCBodXNo"}}
    judgement, events = perform(experiment(Abort(503, 30)), weaken=[Create(secret)])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "Secret shop/token cannot be changed" in judgement.reasons[0]
    assert phases(events) == ["resolve"]
    assert "aHVzaCBodXNo" not in repr(events)
    assert world.api.writes() == []


def test_a_run_without_the_rights_it_needs_is_refused_before_anything_is_written(world, perform):
    """All that is missing is named at once."""
    world.api.forbidden.add("create")
    judgement, _ = perform(experiment(Abort(503, 30)))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "create envoyfilters.networking.istio.io in namespace shop" in judgement.reasons[0]
    assert "harness rbac" in judgement.reasons[0]
    assert world.api.writes() == []
