"""What becomes of a mutant."""

from __future__ import annotations

import pytest

from harness.campaign import Seen, fated
from harness.changes import Edit, Patch, Ref, Restore
from harness.mutation import Fate, Mutant
from harness.verdict import Verdict

REF = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
MUTANT = Mutant("retries removed", Patch(REF, (Edit(("spec",), 1),)), Restore(REF, ()), "why")


@pytest.mark.parametrize(
    ("verdicts", "fate", "reason"),
    [
        ([Verdict.VIOLATED], Fate.KILLED, "w0"),
        ([Verdict.HELD, Verdict.VIOLATED], Fate.KILLED, "w1"),
        ([Verdict.INCONCLUSIVE, Verdict.VIOLATED], Fate.KILLED, "w1"),
        ([Verdict.HELD, Verdict.HELD], Fate.SURVIVED, ""),
        ([Verdict.INCONCLUSIVE], Fate.UNDECIDED, "t0: w0"),
        ([Verdict.HELD, Verdict.INCONCLUSIVE, Verdict.HELD], Fate.UNDECIDED, "t1: w1"),
    ],
)
def test_only_a_violated_experiment_kills_a_mutant(verdicts, fate, reason):
    """An INCONCLUSIVE one neither kills it nor lets it survive."""
    seen = [Seen(f"t{i}", verdict, f"w{i}") for i, verdict in enumerate(verdicts)]
    result = fated(MUTANT, seen, 2.5)
    assert (result.fate, result.reason, result.seconds) == (fate, reason, 2.5)
    assert result.by == tuple(one.experiment for one in seen)
