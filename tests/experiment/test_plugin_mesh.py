"""The pytest plugin and the mesh it is pointed at: options, protection, and what earlier runs left there."""

import socket

import pytest

from harness.changes import Create, undo
from harness.ledger import Ledger

pytest_plugins = ["pytester"]


def test_a_kubeconfig_that_does_not_exist_ends_the_session_with_2(session, tmp_path):
    """One sentence names the file."""
    result = session("test_held", kubeconfig=str(tmp_path / "none"))
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"*{tmp_path / 'none'}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_entry_that_does_not_answer_ends_the_session_with_2(session):
    """One sentence names the URL, without its password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = session("test_held", entry_url=f"http://me:geheim@127.0.0.1:{port}/")
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"*The entry URL http://127.0.0.1:{port}/ does not answer*"])
    result.stdout.no_fnmatch_line("*geheim*")


def test_a_prometheus_that_does_not_answer_is_inconclusive(session):
    """It is found out by the run, and is a reason, not an accident."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = session("test_held", prometheus_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*INCONCLUSIVE (expected HELD)*", "*Prometheus at http://127.0.0.1:* does not answer*"]
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prometheus_url": None}, "also needs --prometheus-url"),
        ({"entry_url": None, "prometheus_url": None}, "also needs --entry-url and --prometheus-url"),
        ({"prometheus_url": "prometheus:9090"}, "no http or https URL"),
    ],
)
def test_half_an_existing_mesh_ends_the_session_with_2(session, changed, words):
    """One sentence says which option is lacking or wrong."""
    result = session("test_held", **changed)
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"*{words}*"])


def test_a_protected_context_takes_its_name_and_nothing_else(session, world, pytester):
    """By the flag; a project says which contexts are protected."""
    before = world.api.state()
    pytester.makeini("[pytest]\nprotected_contexts = LAB other*")
    result = session("test_held")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*The context lab is protected (LAB)*--allow-context=lab*"])
    assert world.api.state() == before
    assert session("test_held", "--allow-context=lab").ret == 0


def test_a_local_mesh_and_an_existing_one_exclude_each_other(session):
    """What contradicts itself is refused."""
    result = session("test_held", "--mesh=local")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*--mesh=local brings up a mesh of its own*"])


def test_manifests_that_are_not_there_end_the_session_with_2(session):
    """Before anything is started."""
    result = session(
        "test_held", "--manifests=none.yaml", kubeconfig=None, entry_url=None, prometheus_url=None
    )
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*There is no none.yaml*"])


def test_what_an_earlier_run_left_is_undone_first_and_said(session, world, pytester):
    """A run that was killed leaves a ledger; the next session cleans up before it begins."""
    left = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {
            "name": "harness-old",
            "namespace": "shop",
            "annotations": {"harness.mesh/owner": "old/1"},
        },
        "spec": {"configPatches": [{"patch": {"value": {"typed_config": {
            "abort": {"percentage": {"numerator": 1_000_000}}}}}}]},
    }  # fmt: skip
    with Ledger(pytester.path / "state" / "harness" / "ledger").open("old", "mesh-1") as entries:
        entries.record("old/1", Create(left), undo(Create(left), None), expires=0.0)
    world.api.put(left)
    result = session("test_held")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*Left by an earlier run: *harness-old*"])
    assert not any("envoyfilters" in path for path in world.api.objects)


def test_a_fault_that_another_run_claims_is_named_and_no_run_begins_on_top_of_it(session, world):
    """The run may be on another machine, whose ledger is not here; the object says until when."""
    theirs = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {
            "name": "harness-theirs",
            "namespace": "bank",
            "annotations": {"harness.mesh/expires": "2999-01-01T00:00:00Z"},
        },
    }

    def everywhere(request):
        listed = request.path.endswith("/v1alpha3/envoyfilters")
        return world.api.reply(200, {"items": [theirs]}) if listed else world.answer_proxy(request)

    world.api.before = everywhere
    result = session("test_held")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*harness-theirs is claimed*until 2999-01-01T00:00:00Z*", "*A fault of another run is in force*"]
    )


def test_a_damaged_ledger_ends_the_session_with_2(session, pytester):
    """It may hold the only way back."""
    directory = pytester.path / "state" / "harness" / "ledger"
    directory.mkdir(parents=True)
    (directory / "bad.jsonl").write_text("3\n")
    result = session("test_held")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*bad.jsonl, line 1, cannot be read*"])
