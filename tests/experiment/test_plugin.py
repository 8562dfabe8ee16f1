"""The pytest plugin, in sessions of its own: what people see, what is left behind, and how the session ends."""

import json
import signal
import subprocess
import sys
import time

import pytest
from sessions import reports

pytest_plugins = ["pytester"]


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
