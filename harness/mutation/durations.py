"""Durations as Istio and Kubernetes write them."""

from __future__ import annotations

import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|ns)")


def seconds(text: object) -> float | None:
    """The length of a duration such as `1m30s` or `500ms`, None for what is none."""
    if not isinstance(text, str) or not re.fullmatch(f"(?:{_PART.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def written(length: float) -> str:
    """A duration of so many seconds, in whole milliseconds, in the form that everything takes: seconds."""
    return f"{length:.3f}".rstrip("0").rstrip(".") + "s"
