"""A version that only gets copies of requests hurts nobody, however badly it does.

Vouchers are answered by payments v1, and v2 gets a copy of every request. v2 answers all of them with an
error: no caller sees any of it, for what a mirror answers is thrown away.

Guards: VirtualService payments, spec.http[vouchers].route (v1 alone), mirror and mirrorPercentage: without
the mirror no request reaches v2, so the fault cannot show and there is no verdict. Evidence: every copy
carries the flag FI.
"""

from harness import (
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Patch,
    Ref,
    Target,
    Verdict,
    availability,
)

V2 = Target("payments-v2", namespace="shop", selector={"app": "payments", "version": "v2"})
SERVED = SLO("vouchers are served", availability("frontend", namespace="shop"), at_least=0.98)

FAILING_COPIES = Experiment(
    hypothesis=[SERVED],
    target=V2,
    fault=Abort(503, percent=100),
    load=Load("browse", rate=200, paths=("/vouchers",)),
    blast_radius=BlastRadius(max_pods=1),
)
TO_V2 = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 2, "route", 0, "destination", "subset"), "v2"),),
)


def test_failing_copies_hurt_nobody(run):
    run(FAILING_COPIES)


def test_a_version_that_answers_itself_does(run):
    run(FAILING_COPIES, weaken=[TO_V2], expect=Verdict.VIOLATED)
