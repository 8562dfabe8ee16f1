"""Experiments of a session of pytest, and what it leaves."""

EXPERIMENTS = """
import pytest
from harness.changes import ABSENT, Edit, Patch, Ref
from harness.experiment import Experiment
from harness.faults import Abort, BlastRadius, Nothing, Target
from harness.load import Load
from harness.indicators import availability
from harness.slo import SLO
from harness.verdict import Verdict

UP = SLO("availability", availability("payments", "shop"), at_least=0.95)
NO_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 0, "retries"), ABSENT),),
)

def experiment(fault, app="payments"):
    return Experiment(
        [UP], Target(app, "shop"), fault, Load(PROFILE, rate=200), BlastRadius(max_pods=3, seconds=20),
        recover_within=4.0, observe=4.0,
    )

def test_held(run):
    run(experiment(Nothing()))

def test_control(run):
    run(experiment(Abort(503, 30)), weaken=[NO_RETRIES], expect=Verdict.VIOLATED)

def test_violated(run):
    run(experiment(Abort(503, 30)), weaken=[NO_RETRIES])

def test_inconclusive(run):
    run(experiment(Nothing(), app="nobody"))

def test_undecidable(run):
    strict = SLO("strict", availability("payments", "shop"), at_least=0.99999)
    run(Experiment([strict], Target("payments", "shop"), Abort(503, 30), Load(PROFILE, rate=50), observe=3.0,
                   blast_radius=BlastRadius(max_pods=3)))

def test_not_red(run):
    run(experiment(Nothing()), expect=Verdict.VIOLATED)

def test_plain():
    assert False, "an ordinary failure"

def test_nothing_of_ours():
    pass
"""


def reports(pytester):
    """The directory of the one session that wrote a report."""
    (directory,) = [path for path in (pytester.path / "reports").iterdir() if not path.is_symlink()]
    return directory
