"""Clusters on which nobody experiments by accident: their contexts are protected until somebody says their name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from harness.errors import HarnessError


def confirm(context: str, patterns: Sequence[str], allowed: str | None) -> None:
    """Returns when experiments may run in a context: it is not protected, allowed by name, or a person types its name.

    Args:
        context: its name in the kubeconfig.
        patterns: of the names of those that are protected, in shell style, in any case.
        allowed: the name that was given on the command line, if any.

    Raises:
        HarnessError: it is protected, and nobody said that it may be used.
    """
    pattern = next((one for one in patterns if fnmatchcase(context.lower(), one.lower())), None)
    if pattern is None or context == allowed:
        return
    typed = _asked(f"The context {context} is protected ({pattern}). Type its name to experiment on it: ")
    if typed != context:
        why = "nobody is at the terminal to confirm it" if typed is None else f"what was typed is {typed!r}"
        raise HarnessError(
            f"The context {context} is protected ({pattern}), and {why}; give --allow-context={context} if you mean it."
        )


def _asked(question: str) -> str | None:
    """What a person answers at the terminal of this process; None when there is none. pytest has the standard input."""
    try:
        with open("/dev/tty", "w") as screen, open("/dev/tty") as keyboard:
            screen.write(question)
            screen.flush()
            return keyboard.readline().strip()
    except OSError:
        return None
