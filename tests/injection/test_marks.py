"""Healing from the objects alone: what they say about themselves, on whatever machine it is read."""

import json

from stock import CATALOG, CATALOG_PATH, FILTER, RETRIES, manifest_of, state

from harness.changes import Edit, Patch, Ref
from harness.injection import EXPIRES, Healing, apply_changes, heal
from harness.ledger import Ledger
from harness.marks import CLAIM, marks


def _left_elsewhere(api, name, expires, **labels):
    """A filter that a run on another machine made, in a namespace of its own; the API lists all namespaces."""
    manifest = manifest_of(Ref(FILTER.api_version, FILTER.kind, "bank", name), configPatches=[])
    manifest["metadata"]["labels"] = labels
    if expires:
        manifest["metadata"]["annotations"] = {EXPIRES: expires}
    api.put(manifest)


def test_heal_deletes_the_filter_of_a_run_that_died_on_another_machine(cluster, shop, ledger):
    """The object itself says that its time is over; no ledger here knows it."""
    before = state(shop)
    _left_elsewhere(shop, "harness-old", "2026-01-01T00:00:00Z", **{CLAIM: "true"})
    [done] = heal(cluster, ledger).done
    assert "EnvoyFilter bank/harness-old" in done
    assert state(shop) == before
    assert heal(cluster, ledger) == Healing()


def test_heal_keeps_the_filter_of_a_run_that_may_be_alive_on_another_machine(cluster, shop, ledger):
    """It is named with its expiry; so is one that does not say, and none that was never ours."""
    _left_elsewhere(shop, "harness-new", "2999-01-01T00:00:00Z", **{CLAIM: "true", "harness.mesh/run": "r-1"})
    _left_elsewhere(shop, "harness-odd", "soon", **{CLAIM: "true", "harness.mesh/run": "r-2"})
    _left_elsewhere(shop, "theirs", "")
    healing = heal(cluster, ledger)
    assert healing == Healing(claimed=healing.claimed)
    known, odd = healing.claimed
    assert "bank/harness-new is claimed by the run r-1 until 2999-01-01T00:00:00Z" in known
    assert "bank/harness-odd of the run r-2 does not say until when" in odd
    assert shop.writes() == []


def test_what_a_changed_object_says_is_written_with_the_change_and_goes_with_it(cluster, shop, ledger):
    """Owner, expiry, a hash of what was there, and the inverse: in one write each."""
    with apply_changes(cluster, (RETRIES,), run="run", ledger=ledger, expires_in=60) as injection:
        assert len(shop.writes()) == 1
        meta = shop.objects[CATALOG_PATH]["metadata"]
        assert meta["labels"] == {CLAIM: "true"}
        [(made,), broken] = marks(shop.objects[CATALOG_PATH])
        assert (made.owner, made.expires, broken) == (injection.name, injection.expires, ())
    assert len(shop.writes()) == 2
    assert "annotations" not in shop.objects[CATALOG_PATH]["metadata"]


def test_a_mark_that_names_no_owner_is_healed_and_one_that_cannot_be_read_is_named(cluster, shop, tmp_path):
    """What nobody claims is nobody's; what cannot be read has to be seen by a person."""
    with apply_changes(cluster, (RETRIES,), run="run", ledger=Ledger(tmp_path / "gone"), expires_in=60):
        route = shop.objects[CATALOG_PATH]
        [name] = route["metadata"]["annotations"]
        content = json.loads(route["metadata"]["annotations"][name])
        route["metadata"]["annotations"] = {name: json.dumps({**content, "owner": ""}), f"{name}x": "?"}
        healing = heal(cluster, Ledger(tmp_path / "here"))
    assert healing.done == ("VirtualService shop/catalog spec.http[0].retries is set back.",)
    assert "says in its annotation" in healing.failed[0]


def test_two_patches_of_one_object_by_runs_that_are_gone_are_undone_newest_first(cluster, shop, tmp_path):
    """Also by a machine that has never heard of them."""
    before = state(shop)
    for number, attempts in enumerate((3, 4)):
        change = Patch(CATALOG, (Edit(("spec", "http", 0, "retries", "attempts"), attempts),))
        gone = apply_changes(
            cluster, (change,), run=f"run{number}", ledger=Ledger(tmp_path / str(number)), expires_in=-1
        )
        gone._entries.close()
    assert len(heal(cluster, Ledger(tmp_path / "here")).done) == 2
    assert state(shop) == before
