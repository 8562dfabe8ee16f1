"""Protected contexts: nobody experiments there by accident."""

import os
import pty
import sys

import pytest

from harness.errors import HarnessError
from harness.protection import confirm

ASKED = """
from harness.protection import confirm
try:
    confirm("eu-prod", ["*prod*"], None)
    print("went on")
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize("context", ["kind-lab", "PRODUCT"])
def test_a_context_that_no_pattern_names_needs_no_confirmation(context):
    """Patterns are those of the shell."""
    confirm(context, ["*prod", "prod-*"], None)


@pytest.mark.parametrize(("typed", "said"), [("eu-prod", "went on"), ("yes", "what was typed is 'yes'")])
def test_a_person_types_the_name_of_the_context(typed, said):
    """Anything else is a no."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKED])  # noqa: S606 - in the child
    try:
        shown = b""
        while b"Type its name" not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{typed}\n".encode())
        while said.encode() not in shown:
            shown += os.read(terminal, 1024)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def test_the_name_on_the_command_line_confirms_that_context_only(monkeypatch):
    """Whoever allows one cluster has not allowed another."""
    confirm("eu-prod", ["*prod*"], "eu-prod")
    monkeypatch.setattr("harness.protection._asked", lambda question: None)
    with pytest.raises(HarnessError, match=r"eu-prod is protected \(\*prod\*\).*--allow-context=eu-prod"):
        confirm("eu-prod", ["*prod*"], "us-prod")
