"""The options by which a session of experiments is told what to do. Every session imports it: it imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def add_options(parser: pytest.Parser) -> None:
    """The options of the harness; without any of them the experiments run on a local mesh."""
    group = parser.getgroup("harness", "resilience experiments on a service mesh")
    group.addoption("--mesh", choices=("local",), help="bring a mesh up on this machine (default)")
    group.addoption("--kubeconfig", metavar="FILE", help="an existing mesh: its kubeconfig")
    group.addoption("--kube-context", metavar="NAME", help="an existing mesh: the context in the kubeconfig")
    group.addoption("--allow-context", metavar="NAME", help="experiment there although it is protected")
    parser.addini("protected_contexts", "patterns of contexts to be confirmed", "args", default=["*prod*"])
    group.addoption("--entry-url", metavar="URL", help="an existing mesh: where traffic enters it")
    group.addoption("--prometheus-url", metavar="URL", help="an existing mesh: its Prometheus")
    group.addoption(
        "--manifests", metavar="PATH", action="append", help="what the local mesh runs (repeatable)"
    )
    group.addoption(
        "--harness-seed", metavar="N", type=int, help="repeat the random choices of an earlier run"
    )
    group.addoption("--harness-reports", metavar="DIR", help="where reports go (default: reports)")
    group.addoption(
        "--harness-dry-run", action="store_true", help="show what each experiment would do; write nothing"
    )
    group.addoption(
        "--harness-rbac", metavar="FILE", help="as a dry run; write the Roles that they need to a file"
    )
    group.addoption(
        "--harness-check", action="store_true", help="say what each experiment cannot prove; run none"
    )
    group.addoption(
        "--no-controls",
        action="store_true",
        help="leave out runs that are expected to be VIOLATED or INCONCLUSIVE",
    )
    group.addoption("--harness-mutate", action="store_true", help="see whether weaker policies are noticed")
    group.addoption("--harness-repeat", metavar="N", type=int, default=1, help="run everything N times")
    parser.addini("equivalent_mutants", "mutants that weaken nothing: <mutant> because <reason>", "linelist")
    group.addoption(
        "--no-preflight", action="store_true", help="run what preflight would refuse; verdicts say so"
    )
    group.addoption(
        "--harness-patience", metavar="SECONDS", type=float,
        help="how long metrics may take to show something, over three scrapes (default: 20, existing mesh: 90)",
    )  # fmt: skip
