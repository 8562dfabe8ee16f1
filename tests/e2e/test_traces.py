"""Spans of real Envoys, taken by the shop's collector and counted in its Prometheus."""

from __future__ import annotations

import httpx
import pytest
from support import eventually, query

pytestmark = pytest.mark.e2e
ASKED = 200


def _count(addresses, metric):
    found = query(addresses, f'{metric}{{istio_canonical_service="frontend",istio_namespace="shop"}}')
    return sum(float(series["value"][1]) for series in found)


def test_a_share_of_frontends_calls_is_traced_and_goes_on(shop):
    """About one in ten, as its Telemetry says, and each span is the child of another."""
    before = {name: _count(shop, f"{name}_calls_total") for name in ("traced", "continued")}
    with httpx.Client(base_url=shop.entry_url) as client:
        assert {client.get("/items").status_code for _ in range(ASKED)} == {200}

    def spans():
        # Five at a time leave a sidecar at once, the last few within five seconds.
        traced, continued = (_count(shop, f"{name}_calls_total") - count for name, count in before.items())
        assert ASKED / 100 < traced == continued, f"{traced} calls were traced, {continued} continued a trace"
        return traced

    assert eventually(spans) < ASKED / 2
