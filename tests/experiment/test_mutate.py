"""Sessions with mutants, and sessions that are repeated: how they go and how they end."""

import pytest

from harness.journal import Weakened, read, select

pytest_plugins = ["pytester"]

EXPERIMENTS = """
import pytest
from harness import *

UP = SLO("availability", availability("payments", "shop"), at_least=0.95)
NO_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 0, "retries"), ABSENT),),
)

def experiment(fault=Abort(503, 50), **more):
    radius, load = BlastRadius(max_pods=3, seconds=20), Load(PROFILE, rate=200)
    return Experiment(
        [UP], Target("payments", "shop"), fault, load, radius, recover_within=4.0, observe=4.0, **more
    )

def test_hidden(run):
    run(experiment())

def test_control(run):
    run(experiment(), weaken=[NO_RETRIES], expect=Verdict.VIOLATED)

def test_blind(run):
    run(experiment(Nothing(), guards=["VirtualService payments spec.http[0].retries.attempts"]))

def test_slip(run):
    run(experiment(Nothing(), guards=["VirtualService payment"]))

def test_open(run):
    run(experiment(Nothing(), guards=()))

def test_weakened(run):
    run(experiment(Nothing(), guards=["PeerAuthentication payments"]), weaken=[NO_RETRIES])

def test_doubt(run):
    judgement = run(experiment(Nothing(), guards=["VirtualService payments spec.http[0].retries.attempts"]))
    if getattr(test_doubt, "again", False):
        raise KeyError("not said by a verdict")
    test_doubt.again = True
"""


@pytest.fixture
def experiments():
    """These experiments, in the sessions of this module."""
    return EXPERIMENTS


def test_every_mutant_that_is_noticed_gives_the_full_score(session, world, pytester):
    """What the control takes away is guarded; the session ends with 0, and the policies are as they were."""
    before = world.api.state()
    result = session("--harness-mutate", "test_hidden", "test_control")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*test_hidden: abort 503 50% on shop/payments, policy intact*",
            "*2 of 4 mutants are guarded by an experiment*",
            "*1/2] VirtualService shop/payments spec.http*0].retries: retries removed*",
            "    killed by test_hidden in *",
            "*2/2] VirtualService shop/payments spec.http*0].retries.attempts: fewer attempts*",
            "    killed by test_hidden in *",
            "2 mutants were not run, since no experiment guards their fields: PeerAuthentication shop/payments (2)",
            "*Mutants: *mutants.html",
        ]
    )
    assert result.outlines[-1] == "Mutation score 100 %: 2 of 2 mutants killed"
    (page,) = (pytester.path / "reports").glob("2*/mutants.html")
    assert "killed" in page.read_text()
    assert world.api.state() == before


def test_a_mutant_that_is_not_noticed_fails_the_session(session):
    """One test holds; another one breaks without a verdict, which proves nothing: it is not known to survive."""
    result = session("--harness-mutate", "test_blind", "test_doubt")
    assert result.ret == 1
    assert result.outlines[-1] == "Mutation score 0 %: 0 of 1 mutants killed, 1 undecided"
    result.stdout.fnmatch_lines(["undecided: *fewer attempts: test_doubt: *not said by a verdict*"])


def test_a_guard_of_nothing_is_refused(session):
    """A slip of the pen, with its place, and 2; no score is said."""
    result = session("--harness-mutate", "test_slip")
    assert result.ret == 2
    result.stdout.fnmatch_lines(
        ["*test_shop.py::test_slip guards VirtualService shop/payment, in which nothing can be weakened*"]
    )
    assert "Mutation score" not in result.stdout.str()


def test_an_experiment_that_guards_nothing_gets_no_mutant(session):
    """Although there are policies of its target; then nothing is left to be weakened."""
    result = session("--harness-mutate", "test_open")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*Nothing of what the experiments guard can be weakened*"])


def test_what_an_experiment_is_run_with_stays_in_force_beside_the_mutant(session, pytester):
    """It is held like that, so it is asked like that."""
    result = session("--harness-mutate", "test_weakened")
    assert result.outlines[-1] == "Mutation score 0 %: 0 of 2 mutants killed, 2 survived"
    for path in (pytester.path / "reports").glob("2*/mutants/*.jsonl"):
        (weakened,) = select(read(path), Weakened)
        policy = "patch PeerAuthentication shop/payments"
        assert weakened.changes == ("patch VirtualService shop/payments", policy)


def test_controls_are_left_out_when_nobody_wants_them(session):
    """An experiment that is to hold is run."""
    result = session("--no-controls", "test_hidden", "test_control", "-rs")
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*a control, left out by --no-controls*"])


def test_an_experiment_that_is_not_held_as_it_is_is_refused(session, world):
    """Whatever a mutant did to it, it would be red."""
    world.broken = 0.3
    result = session("--harness-mutate", "test_blind")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*test_shop.py::test_blind: not HELD as it is*"])
    assert "Mutation score" not in result.stdout.str()


def test_a_repeated_session_counts_the_verdicts(session, world):
    """Of controls, too; what was not as expected is named at the end."""
    world.broken = 0.3
    result = session("--harness-repeat=2", "test_control", "test_blind")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*Repeats*",
            "*test_control*VIOLATED*2*0*0*2*0*",
            "*test_blind*HELD*2*0*0*2*2*",
            "2 rounds: 2 runs not as expected: test_shop.py::test_blind (2 times)",
        ]
    )
