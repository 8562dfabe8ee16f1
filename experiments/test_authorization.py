"""Who may call what: frontend may call everybody, recommendations nobody, and nobody may what is not allowed.

    caller, callee      catalog   payments   recommendations   frontend
    gateway             -         -          -                 allowed
    frontend            allowed   allowed    allowed           -
    recommendations     refused   refused    refused           refused

Front pages make the calls of the second row, and the page /snoop has recommendations make those of the last, also to
itself. The callee's own sidecar counts what it answered: 403 or something else.

Guards: AuthorizationPolicy nobody (deny by default) and the policies of the four callees, spec.rules[].from
and selector.
"""

import pytest

from harness import SLO, Delete, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, promql

SERVICES = ("catalog", "payments", "recommendations", "frontend")


def calls(caller, callee, *, allowed):
    total = (
        'istio_requests_total{reporter="destination",destination_workload_namespace="shop",'
        f'source_app="{caller}",destination_app="{callee}"'
    )
    good = f'{total},response_code{"!=" if allowed else "="}"403"}}'
    sli = promql(f"{caller} calls {callee}", good=good, total=f"{total}}}")
    word = "may" if allowed else "may not"
    return SLO(f"{caller} {word} call {callee}", sli, at_least=1.0, enough=50)


def policy(name):
    return Ref("security.istio.io/v1", "AuthorizationPolicy", "shop", name)


ENTRY = Experiment(
    hypothesis=[calls("istio-ingressgateway", "frontend", allowed=True)],
    target=Target("frontend", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=100),
    guards=["AuthorizationPolicy frontend spec.rules[0]"],
)
FRONTEND = Experiment(
    hypothesis=[calls("frontend", callee, allowed=True) for callee in SERVICES[:3]],
    target=Target("catalog", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=100),
    guards=[f"AuthorizationPolicy {name} spec.rules[0]" for name in SERVICES[:3]],
)
RECOMMENDATIONS = Experiment(
    hypothesis=[calls("recommendations", callee, allowed=False) for callee in SERVICES],
    target=Target("catalog", namespace="shop"),
    fault=Nothing(),
    load=Load("browse", rate=100, paths=("/snoop",)),
    guards=[f"AuthorizationPolicy {name}" for name in ("nobody", *SERVICES)],
)
SOURCE = ("spec", "rules", 0, "from", 0, "source")
EVERYBODY = Patch(policy("catalog"), (Edit(SOURCE, {"principals": ["*"]}),))
NAMESPACE = Patch(policy("frontend"), (Edit(SOURCE, {"namespaces": ["istio-system", "shop"]}),))
WEAKENED = {
    "everybody may call catalog": (RECOMMENDATIONS, EVERYBODY),
    "the whole namespace may call frontend": (RECOMMENDATIONS, NAMESPACE),
    "frontend may not call payments": (FRONTEND, Delete(policy("payments"))),
}
ROWS = {"the gateway": ENTRY, "frontend": FRONTEND, "recommendations": RECOMMENDATIONS}


@pytest.mark.parametrize("experiment", ROWS.values(), ids=ROWS)
def test_everybody_may_what_is_allowed_and_no_more(run, experiment):
    run(experiment)


@pytest.mark.parametrize(("experiment", "weaken"), WEAKENED.values(), ids=WEAKENED)
def test_another_policy_is_noticed(run, experiment, weaken):
    run(experiment, weaken=[weaken], expect=Verdict.VIOLATED)
