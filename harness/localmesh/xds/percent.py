"""Shares of requests as Envoy writes them.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (translatePercentToFractionalPercent).
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.virtualservice import Percentage
from harness.localmesh.xds.model import Resource


def fraction(percentage: Percentage) -> Resource:
    """A percentage in millionths; like istiod, it cuts off what these cannot hold."""
    return {"numerator": int(percentage.value * 10_000), "denominator": "MILLION"}


def whole(percent: int) -> Resource:
    """A whole percentage."""
    return {"numerator": percent, "denominator": "HUNDRED"}
