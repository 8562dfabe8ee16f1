"""Which policies an experiment guards: declared, taken away by a control, or those of its target."""

from __future__ import annotations

import pytest
import yaml
from support import ROOT

from harness import SLO, Abort, Experiment, Load, Target, availability
from harness.changes import ABSENT, Create, Delete, Edit, Patch, Ref
from harness.errors import HarnessError
from harness.mutation import Guard, guards_of_controls, guards_of_target, mutants

CATALOG = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
SHOP = [one for one in yaml.safe_load_all((ROOT / "experiments" / "shop.yaml").read_text()) if one]


def covered(text):
    """The fields of mutants of the shop's route to catalog that a guard covers."""
    guard = Guard.read(text, "shop")
    return {mutant.field.removeprefix("spec.http[0].") for mutant in mutants(SHOP) if guard.covers(mutant)}


def test_a_guard_names_an_object_or_a_part_of_it():
    """All of an object, one field with all that is in it, or a single value."""
    retries = {"retries", "retries.attempts", "retries.retryOn", "retries.backoff", "retries.perTryTimeout"}
    assert covered("VirtualService shop/catalog") == {*retries, "timeout"}
    assert covered("VirtualService catalog spec.http[0].retries") == retries
    assert covered("VirtualService catalog spec.http[0].timeout") == {"timeout"}


@pytest.mark.parametrize(
    "text",
    [
        "VirtualService other/catalog",
        "VirtualService shop/other",
        "DestinationRule shop/invoices",
        "VirtualService catalog spec.http[0].retr",
        "VirtualService catalog spec.http[0].retries.attempts.more",
    ],
)
def test_a_guard_of_something_else_covers_nothing(text):
    """Another namespace, name, kind or field, also one with the same beginning."""
    assert covered(text) == set()


@pytest.mark.parametrize("text", ["", "VirtualService", "a b c d"])
def test_a_guard_that_names_nothing_is_refused(text):
    """When the experiment is made, with the form to write it in."""
    with pytest.raises(HarnessError, match="VirtualService shop/catalog spec"):
        experiment(guards=[text])


def test_guards_that_are_one_word_are_refused():
    """A text is a sequence of letters, too."""
    with pytest.raises(HarnessError, match=r"guards=\[...\]"):
        experiment(guards="VirtualService catalog")


def experiment(**more):
    """An experiment on catalog."""
    return Experiment(
        hypothesis=[SLO("up", availability("frontend", namespace="shop"), at_least=0.99)],
        target=Target("catalog", namespace="shop"),
        fault=Abort(503),
        load=Load("browse", rate=10),
        **more,
    )


def test_a_guard_without_a_namespace_is_in_that_of_the_target():
    """And says where it is."""
    (guard,) = experiment(guards=["VirtualService catalog spec.http[0].retries"]).guarded
    assert str(guard) == "VirtualService shop/catalog spec.http[0].retries"


def test_what_controls_take_away_is_guarded():
    """Edited fields, and deleted objects as a whole; what a control adds was not there."""
    removed = Edit(("spec", "http", 0, "retries"), ABSENT)
    rule = Ref("networking.istio.io/v1", "DestinationRule", "shop", "catalog")
    new = Create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}})
    controls = [Patch(CATALOG, (removed,)), Delete(rule), new, Patch(CATALOG, (removed,))]
    assert [str(guard) for guard in guards_of_controls(controls)] == [
        "VirtualService shop/catalog spec.http[0].retries",
        "DestinationRule shop/catalog",
    ]


def test_the_policies_of_a_target_are_its_routes_its_rule_and_those_that_select_it():
    """Not those of other hosts or workloads."""
    other = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "payments-only", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "payments"}}},
    }
    found = guards_of_target(Target("catalog", namespace="shop"), [*SHOP, other])
    assert [str(guard) for guard in found] == [
        "PeerAuthentication shop/default",
        "AuthorizationPolicy shop/nobody",
        "AuthorizationPolicy shop/catalog",
        "VirtualService shop/catalog",
        "DestinationRule shop/catalog",
    ]
    assert guards_of_target(Target("catalog"), SHOP) == ()
