"""What no spec may hold, whatever its kind: nulls and control characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.localmesh.kinds.istio.values import Problem

_BREAKS = "\t\n\r"


def flaws(value: Any, path: str) -> Iterator[Problem]:
    """The places below `path` that Kubernetes would not take (nulls), or that Envoy would not.

    Line breaks and tabs are allowed in the body of a direct response alone.
    """
    waiting = [(value, path)]
    while waiting:
        value, path = waiting.pop()
        if value is None:
            yield path, "it is null; leave the field out"
        elif isinstance(value, str):
            if why := _unfit(value, _BREAKS if path.endswith(".directResponse.body.string") else ""):
                yield path, why
        elif isinstance(value, dict):
            for key, item in value.items():
                if why := _unfit(key, ""):
                    yield path, f"the name of a field: {why}"
                waiting.append((item, f"{path}.{key}"))
        elif isinstance(value, list):
            waiting += [(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _unfit(text: str, allowed: str) -> str:
    if any(ord(sign) < 32 and sign not in allowed for sign in text):
        return "it holds a control character, with which Envoy refuses its configuration"
    return ""
