"""The pytest plugin, in sessions of its own: what people see, what is left behind, and how the session ends."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from harness.changes import Create, undo
from harness.ledger import Ledger

pytest_plugins = ["pytester"]

EXPERIMENTS = """
import pytest
from harness.changes import ABSENT, Edit, Patch, Ref
from harness.experiment import Experiment
from harness.faults import Abort, BlastRadius, Nothing, Target
from harness.load import Load
from harness.indicators import availability
from harness.slo import SLO
from harness.verdict import Verdict

UP = SLO("availability", availability("payments", "shop"), at_least=0.95)
NO_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 0, "retries"), ABSENT),),
)

def experiment(fault, app="payments"):
    return Experiment(
        [UP], Target(app, "shop"), fault, Load(PROFILE, rate=200), BlastRadius(max_pods=3, seconds=20),
        recover_within=4.0, observe=4.0,
    )

def test_held(run):
    run(experiment(Nothing()))

def test_control(run):
    run(experiment(Abort(503, 30)), weaken=[NO_RETRIES], expect=Verdict.VIOLATED)

def test_violated(run):
    run(experiment(Abort(503, 30)), weaken=[NO_RETRIES])

def test_inconclusive(run):
    run(experiment(Nothing(), app="nobody"))

def test_undecidable(run):
    strict = SLO("strict", availability("payments", "shop"), at_least=0.99999)
    run(Experiment([strict], Target("payments", "shop"), Abort(503, 30), Load(PROFILE, rate=50), observe=3.0,
                   blast_radius=BlastRadius(max_pods=3)))

def test_not_red(run):
    run(experiment(Nothing()), expect=Verdict.VIOLATED)

def test_plain():
    assert False, "an ordinary failure"

def test_nothing_of_ours():
    pass
"""


@pytest.fixture
def session(world, write_kubeconfig, pytester, monkeypatch, request):
    """Runs pytest in a process of its own against the world; arguments are test names and more options."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    profile = request.config.rootpath / "loadprofiles" / "browse.py"
    pytester.makepyfile(test_shop=EXPERIMENTS.replace("PROFILE", repr(str(profile))))
    mesh = {
        "--kubeconfig": str(write_kubeconfig(world.api.url)),
        "--entry-url": world.entry_url,
        "--prometheus-url": world.prometheus_url,
    }

    def arguments(*names, mesh=mesh):
        tests = [name if name.startswith("-") else f"test_shop.py::{name}" for name in names]
        return ["-p", "no:locust", *(f"{option}={value}" for option, value in mesh.items()), *tests]

    def perform(*names, **changed):
        known = {option: changed.pop(option[2:].replace("-", "_"), value) for option, value in mesh.items()}
        used = {option: value for option, value in known.items() if value is not None}
        return pytester.runpytest_subprocess(*arguments(*names, mesh=used), timeout=60)

    perform.arguments = arguments
    return perform


def reports(pytester):
    """The directory of the one session that wrote a report."""
    (directory,) = [path for path in (pytester.path / "reports").iterdir() if not path.is_symlink()]
    return directory


def test_a_session_whose_verdicts_are_as_expected_ends_with_0_and_leaves_a_report(session, pytester):
    """HELD and an expected VIOLATED: a table, a page, journals, logs and Allure results."""
    result = session("test_held", "test_control", "--harness-seed=42")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*Seed 42*",
            "*test_held: nothing on shop/payments, policy intact*",
            "*  observe * s  availability 100.00% of *",
            "*  HELD (expected HELD)*",
            "*test_control: abort 503 30% on shop/payments, policy weakened*",
            "*  VIOLATED (expected VIOLATED)*",
            "*Verdicts*",
            "*held*nothing*intact*HELD*HELD*",
            "*control*weakened*VIOLATED*VIOLATED*",
            "*Report: *index.html",
        ]
    )
    directory = reports(pytester)
    assert (pytester.path / "reports" / "latest").resolve() == directory
    page = (directory / "index.html").read_text()
    assert "<svg" in page
    assert "asked 30 %" in page
    assert all(
        f"<h3>{name}</h3>" in page for name in ("resolve", "gate", "inject", "observe", "revert", "judge")
    )
    assert sorted(path.name for path in directory.glob("*.jsonl")) == [
        "001-test-held.jsonl",
        "002-test-control.jsonl",
    ]
    results = [json.loads(path.read_text()) for path in (directory / "allure-results").glob("*-result.json")]
    assert {result["name"] for result in results} == {"test_held", "test_control"}
    assert {"verdict", "journal", "chart"} <= {item["name"] for item in results[0]["attachments"]}
    assert any(step["name"].startswith("observe: ") for step in results[0]["steps"])


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["test_violated"], 1),
        (["test_inconclusive"], 10),
        (["test_inconclusive", "test_nothing_of_ours"], 10),
        (["test_inconclusive", "test_plain"], 1),
        (["test_not_red"], 1),
    ],
)
def test_the_exit_code_tells_violated_from_inconclusive(session, names, code):
    """10 says that nothing failed but verdicts that could not be reached; a control that stays green is 1."""
    assert session(*names).ret == code


def test_a_failed_experiment_shows_the_verdict_and_its_reasons_without_a_traceback(session):
    """One block with verdict, numbers and evidence."""
    result = session("test_violated")
    result.stdout.fnmatch_lines(
        ["*VIOLATED (expected HELD)*", "*promised 95 %*", "*evidence: asked 30 %, seen*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py:*")


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


def test_sigterm_in_the_middle_of_a_run_undoes_everything(session, world, pytester):
    """The fault and the weakened policy are gone when the process is."""
    before = world.api.state()
    command = [sys.executable, "-m", "pytest", *session.arguments("test_control")]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while not any("envoyfilters" in path for path in list(world.api.objects)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert world.api.state() == before
    assert "interrupted by SIGTERM" in output
    assert "INCONCLUSIVE" in (reports(pytester) / "index.html").read_text()


def test_sessions_without_experiments_pay_nothing(session, pytester):
    """No report, no mesh, and none of the heavy packages is imported."""
    result = session("test_nothing_of_ours")
    assert result.ret == 0
    heavy = [
        "kubernetes",
        "scipy",
        "rich.progress",
        "prometheus_api_client",
        "httpx",
        "harness.experiment",
    ]
    program = f"import sys, harness.plugin; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
    assert not list((pytester.path / "reports").glob("*/*.jsonl"))


def test_a_dry_run_shows_everything_and_writes_nothing(session, world):
    """The exact objects and patches, the pods, the evidence and the radius; no object changes its version."""
    before = {path: kept["metadata"]["resourceVersion"] for path, kept in world.api.objects.items()}
    result = session("test_control", "--harness-dry-run")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*# test_control*",
            "pods:",
            "- payments-1",
            "fault: abort 503 30%",
            "*percent: 30*",
            "*pods: 3 of at most 3*",
            "*patch: VirtualService shop/payments*",
            "*spec.http*retries:*",
            "*kind: EnvoyFilter*",
            "*1 skipped*",
        ]
    )
    assert {path: kept["metadata"]["resourceVersion"] for path, kept in world.api.objects.items()} == before
    assert world.api.writes() == []


def test_the_roles_that_experiments_need_are_worked_out_from_their_changes(session, world, pytester):
    """Of all chosen ones together, in a file that can be applied."""
    assert session("test_held", "test_control", "--harness-rbac=roles.yaml").ret == 0
    found = list(yaml.safe_load_all((pytester.path / "roles.yaml").read_text()))
    rules = {
        resource: rule["verbs"]
        for role in found
        if role["metadata"].get("namespace") == "shop"
        for rule in role["rules"]
        for resource in rule["resources"]
    }
    assert rules == {
        "pods": ["list"],
        "virtualservices": ["get", "update"],
        "envoyfilters": ["create", "delete", "get"],
        **{kind: ["list"] for kind in ("services", "deployments", "poddisruptionbudgets")},
    }
    [whole] = [role for role in found if role["kind"] == "ClusterRole"]
    reads = {
        resource for rule in whole["rules"] if rule["verbs"] == ["list"] for resource in rule["resources"]
    }
    assert reads == {"virtualservices", "destinationrules", "gateways", "sidecars"}
    assert world.api.writes() == []


def test_what_preflight_refuses_is_not_run_and_ends_the_session_with_2(session, pytester, world):
    """Field, reason and fix are in a table and in the report; nothing is injected."""
    result = session("test_undecidable")
    assert result.ret == 2
    result.stdout.fnmatch_lines(
        ["*INCONCLUSIVE (expected HELD)*", "*Preflight refuses the run*SLO \"strict\" at_least*", "*Preflight*",
         "*test_undecidable*refuse*strict*HELD takes*"]
    )  # fmt: skip
    assert (
        "preflight, refuse: SLO &quot;strict&quot; at_least" in (reports(pytester) / "index.html").read_text()
    )
    assert not [request for request in world.api.writes() if "envoyfilters" in request.path]


def test_what_preflight_refuses_can_be_run_and_the_report_says_so(session, pytester):
    """It is what it would have been: too few requests."""
    result = session("test_undecidable", "--no-preflight")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*  observe * s  *", "*INCONCLUSIVE (expected HELD)*", "*refuse*overridden*"]
    )
    assert "preflight, refuse (overridden)" in (reports(pytester) / "index.html").read_text()


def test_a_check_runs_nothing(session, pytester, world):
    """It ends with 2 where a run would be refused, and with 0 where none would be."""
    result = session("test_undecidable", "test_held", "--harness-check")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*test_undecidable*refuse*", "*2 skipped*"])
    assert world.api.writes() == []
    assert not list((pytester.path / "reports").glob("*/*.jsonl"))
    assert session("test_held", "--harness-check").ret == 0
