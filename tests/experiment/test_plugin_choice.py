"""The pytest plugin before anything runs: dry runs, roles, preflight."""

import yaml
from sessions import reports

pytest_plugins = ["pytester"]


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
