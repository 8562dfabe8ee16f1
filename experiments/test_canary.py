"""A canary gets its share of the calls and no more, and testers get the version they ask for.

Of the calls for the wallet one in five goes to payments v2. "One in five" is a matter of chance: promised is
that v2 gets at least 10 % and v1 at least 65 %, borders that 20 % keeps clear of and that another pair of
weights does not. Whoever sends the header x-tester: yes gets v2, always; without it nobody does at the checkout
or for invoices.

Guards: VirtualService payments, spec.http[wallet].route[].weight and subset, spec.http[testers].match and
subset; DestinationRule payments, spec.subsets[].labels.
"""

import pytest

from harness import SLO, Edit, Experiment, Load, Nothing, Patch, Ref, Target, Verdict, promql

CALLS = 'istio_requests_total{reporter="source",source_app="frontend",destination_service_name="payments"'


def gets(version, at_least):
    sli = promql(f"calls to {version}", good=f'{CALLS},destination_version="{version}"}}', total=f"{CALLS}}}")
    return SLO(f"{version} gets its share", sli, at_least=at_least)


def experiment(profile, path, *hypothesis, guards):
    return Experiment(
        hypothesis=hypothesis,
        target=Target("payments", namespace="shop"),
        fault=Nothing(),
        load=Load(profile, rate=300, paths=(path,)),
        guards=guards,
    )


ROUTES = "VirtualService payments spec.http"
CANARY = experiment(
    *("browse", "/wallet", gets("v1", at_least=0.65), gets("v2", at_least=0.10)),
    guards=[f"{ROUTES}[1]", "DestinationRule payments spec.subsets"],
)
TESTERS = experiment("testers", "/checkout", gets("v2", at_least=1.0), guards=[f"{ROUTES}[0]"])
OTHERS = experiment(
    *("browse", "/checkout", gets("v1", at_least=1.0)), guards=[f"{ROUTES}[{n}].match" for n in (0, 1)]
)
INVOICES = experiment("browse", "/invoices", gets("v1", at_least=1.0), guards=[f"{ROUTES}[3].route"])


def routes(*edits):
    return Patch(Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"), edits)


HALF = routes(
    Edit(("spec", "http", 1, "route", 0, "weight"), 50), Edit(("spec", "http", 1, "route", 1, "weight"), 50)
)
SWAPPED = routes(
    Edit(("spec", "http", 1, "route", 0, "destination", "subset"), "v2"),
    Edit(("spec", "http", 1, "route", 1, "destination", "subset"), "v1"),
)
DEAF = routes(Edit(("spec", "http", 0, "match", 0, "headers", "x-tester", "exact"), "maybe"))


def test_the_canary_gets_one_call_in_five(run):
    run(CANARY)


@pytest.mark.parametrize("weaken", [HALF, SWAPPED], ids=["half and half", "subsets swapped"])
def test_with_other_weights_it_gets_another_share(run, weaken):
    run(CANARY, weaken=[weaken], expect=Verdict.VIOLATED)


@pytest.mark.parametrize("experiment", [TESTERS, OTHERS, INVOICES], ids=["testers", "others", "invoices"])
def test_only_testers_get_the_new_version(run, experiment):
    run(experiment)


def test_without_the_match_testers_get_what_all_get(run):
    run(TESTERS, weaken=[DEAF], expect=Verdict.VIOLATED)
