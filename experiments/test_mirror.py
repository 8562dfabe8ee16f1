"""A version that only gets copies of requests hurts nobody, however badly it does.

Vouchers are answered by payments v1, and v2 gets a copy of every request: v1's callers count the requests, v2 counts
the copies, and what passes between the scrapes of the two is left to chance. Then v2 answers all of them with an
error: no caller sees any of it, for what a mirror answers is thrown away.

Guards: VirtualService payments, spec.http[vouchers].route (v1 alone), mirror and mirrorPercentage. Evidence: every
copy carries the flag FI.
"""

from harness import (
    SLO,
    Abort,
    BlastRadius,
    Edit,
    Experiment,
    Load,
    Nothing,
    Patch,
    Ref,
    Target,
    Verdict,
    availability,
    promql,
)

V2 = Target("payments-v2", namespace="shop", selector={"app": "payments", "version": "v2"})
SERVED = SLO("vouchers are served", availability("frontend", namespace="shop"), at_least=0.98)

COPIED = SLO(
    "v2 gets copies",
    promql(
        "copies of requests",
        good='istio_requests_total{reporter="destination",destination_workload="payments-v2"}',
        total='istio_requests_total{reporter="source",destination_workload="payments-v1"}',
    ),
    at_least=0.6,
)

COPIES = Experiment(
    hypothesis=[COPIED],
    target=V2,
    fault=Nothing(),
    load=Load("browse", rate=200, paths=("/vouchers",)),
    guards=["VirtualService payments spec.http[2]"],
)
FAILING_COPIES = Experiment(
    hypothesis=[SERVED],
    target=V2,
    fault=Abort(503, percent=100),
    load=Load("browse", rate=200, paths=("/vouchers",)),
    blast_radius=BlastRadius(max_pods=1),
    guards=["VirtualService payments spec.http[2].route"],
)


def vouchers(*path, value):
    edit = Edit(("spec", "http", 2, *path), value)
    return Patch(Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"), (edit,))


TO_V2 = vouchers("route", 0, "destination", "subset", value="v2")
TENTH = vouchers("mirrorPercentage", "value", value=10)


def test_every_request_is_copied(run):
    run(COPIES)


def test_a_tenth_is_noticed(run):
    run(COPIES, weaken=[TENTH], expect=Verdict.VIOLATED)


def test_failing_copies_hurt_nobody(run):
    run(FAILING_COPIES)


def test_a_version_that_answers_itself_does(run):
    run(FAILING_COPIES, weaken=[TO_V2], expect=Verdict.VIOLATED)
