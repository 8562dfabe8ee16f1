"""Healing on the machine of the run: by its ledger, newest first, as much as can be restored."""

import json
import signal
import subprocess
import sys

import pytest
from stock import CATALOG, CATALOG_PATH, CHANGES, RETRIES, apply_to, forbidden, state

from harness.changes import Edit, Patch, to_json
from harness.errors import HarnessError
from harness.injection import Healing, apply_changes, heal
from harness.ledger import Ledger


def test_a_run_that_could_not_revert_leaves_it_to_heal(cluster, shop, ledger):
    """Also within the same process: its claim has ended."""
    before = state(shop)
    injection = apply_to(cluster, ledger, CHANGES[1])
    shop.before = lambda request: forbidden(shop) if request.method == "DELETE" else None
    assert len(injection.end().failed) == 1
    shop.before = lambda request: None
    assert Ledger(ledger._directory).claims(cluster.identity) == frozenset()
    assert heal(cluster, ledger).done == ("EnvoyFilter shop/extra is deleted again.",)
    assert state(shop) == before


def test_heal_says_what_it_could_not_look_for(cluster, shop, ledger):
    """Whoever may not list all namespaces does not learn that there is nothing."""
    shop.before = lambda request: forbidden(shop) if request.path.endswith("v1alpha3/envoyfilters") else None
    [unseen] = heal(cluster, ledger).unseen
    assert "cannot be seen" in unseen


def test_heal_restores_the_rest_when_a_ledger_is_damaged(cluster, shop, ledger, tmp_path):
    """Then it names the damaged one; a new run does not begin on top of it."""
    before = state(shop)
    _die(shop, apply_to(cluster, ledger, RETRIES))
    (tmp_path / "ledger" / "bad.jsonl").write_text("3\n")
    healing = heal(cluster, ledger)
    assert len(healing.done) == 1
    assert "bad.jsonl, line 1, cannot be read" in healing.failed[0]
    assert state(shop) == before
    with pytest.raises(HarnessError, match=r"bad\.jsonl"):
        apply_to(cluster, ledger, RETRIES)


def test_heal_goes_on_past_an_object_that_it_cannot_restore(cluster, shop, ledger):
    """The others are restored now, that one the next time."""
    before = state(shop)
    injection = apply_to(cluster, ledger, *CHANGES)
    shop.before = lambda request: forbidden(shop) if request.method == "DELETE" else None
    with (
        pytest.raises(
            HarnessError, match=r"Left behind: .*EnvoyFilter shop/extra is not restored: .*harness heal"
        ),
        injection,
    ):
        pass
    healing = heal(cluster, ledger)
    assert (healing.done, healing.kept, len(healing.failed)) == ((), (), 2)
    shop.before = lambda request: None
    assert heal(cluster, ledger).done[1:] == ("EnvoyFilter shop/extra is deleted again.",)
    assert state(shop) == before
    assert heal(cluster, ledger) == Healing()


def test_heal_undoes_the_newest_first(cluster, shop, ledger):
    """Two dead runs changed the same field; only this order leads back to what was before both."""
    before = state(shop)
    for run, attempts in (("b", 3), ("a", 4)):
        change = Patch(CATALOG, (Edit(("spec", "http", 0, "retries", "attempts"), attempts),))
        _die(shop, apply_to(cluster, ledger, change, run=run))
    assert len(heal(cluster, ledger).done) == 2
    assert state(shop) == before


def test_heal_removes_the_file_of_a_run_that_died_after_its_last_revert(cluster, shop, ledger, tmp_path):
    """Nothing is left to undo, so nothing is left to look at."""
    _die(shop, apply_to(cluster, ledger, RETRIES))
    path = tmp_path / "ledger" / "run.jsonl"
    path.write_text(path.read_text() + '{"reverted": 0}\n')
    assert heal(cluster, ledger, elsewhere=False) == Healing()
    assert not path.exists()


def _die(api, injection):
    """Ends an injection as a crash does: nothing reverted, the claim gone."""
    api.before = lambda request: forbidden(api)
    with pytest.raises(HarnessError, match="Left behind"), injection:
        pass
    api.before = lambda request: None


def test_heal_leaves_a_living_run_alone(cluster, shop, ledger):
    """Until its claim expires."""
    with apply_to(cluster, ledger, RETRIES):
        healing = heal(cluster, ledger)
        assert healing == Healing(claimed=healing.claimed)
        assert "VirtualService shop/catalog is claimed by the run run until" in healing.claimed[0]
    with apply_changes(cluster, (RETRIES,), run="slow", ledger=ledger, expires_in=-1):
        assert len(heal(cluster, ledger).done) == 1
    assert shop.objects[CATALOG_PATH]["spec"]["http"][0]["retries"] == {"attempts": 2}


_VICTIM = """
import sys
from pathlib import Path
from harness.changes import change_from_json
from harness.cluster import Cluster
from harness.injection import apply_changes
from harness.ledger import Ledger
import json
kubeconfig, ledger, changes = sys.argv[1:]
with Cluster.connect(Path(kubeconfig)) as cluster:
    parsed = [change_from_json(change) for change in json.loads(changes)]
    with apply_changes(cluster, parsed, run="victim", ledger=Ledger(Path(ledger)), expires_in=60):
        pass
"""


@pytest.mark.parametrize("number", [1, 3, 4, 6])
def test_heal_undoes_what_a_killed_process_left(cluster, shop, ledger, tmp_path, number):
    """SIGKILL at a write of the injection (1 to 4) or of the revert (5 to 8): its claim dies with it."""
    before = state(shop)
    claims = []
    arguments = [
        tmp_path / "kubeconfig",
        tmp_path / "ledger",
        json.dumps([to_json(change) for change in CHANGES]),
    ]

    def kill(_request):
        if len(shop.writes()) == number and not claims:
            claims.append(ledger.claims(cluster.identity))
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)

    shop.after = kill
    with subprocess.Popen([sys.executable, "-c", _VICTIM, *map(str, arguments)]) as victim:
        assert victim.wait(30) == -signal.SIGKILL
    assert claims == [{"victim"}]
    assert state(shop) != before
    assert heal(cluster, ledger).failed == ()
    assert state(shop) == before
    assert list((tmp_path / "ledger").iterdir()) == []
