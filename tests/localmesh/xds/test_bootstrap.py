"""The static part of a proxy's configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.bootstrap import bootstrap

SERIES = [
    ("cluster.outbound|80||a.default.svc.cluster.local;.outlier_detection.ejections_active", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.upstream_rq_retry", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.upstream_rq_pending_overflow", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.upstream_rq_active_overflow", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.upstream_rq_timeout", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.upstream_rq_503", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.circuit_breakers.default.rq_open", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.membership_healthy", True),
    ("http.inbound_0.0.0.0_80;.fault.aborts_injected", True),
    ("istio.requests_total", True),
    ("server.live", True),
    ("cluster.outbound|80||a.default.svc.cluster.local;.bind_errors", False),
    ("http.inbound_0.0.0.0_80;.downstream_rq_2xx", False),
]


@pytest.fixture
def made(build):
    """A bootstrap for a sidecar, by gateway or not."""

    def make(*, gateway: bool = False) -> model.Resource:
        workload = build.workload("a", "127.9.0.1", "127.9.1.1")
        proxy = model.Proxy(workload, {}, "127.9.0.9", gateway)
        return bootstrap(
            proxy, admin_socket=Path("/mesh/admin"), xds_socket=Path("/mesh/xds"), stats_token="token"
        )

    return make


def test_a_node_is_named_as_istio_names_it(made):
    """The id tells kind, address, pod and namespace."""
    assert made()["node"]["id"] == "sidecar~127.9.0.1~a-v1-1.default~default.svc.cluster.local"
    assert made(gateway=True)["node"]["id"].startswith("router~127.9.0.1~")


def test_metrics_are_served_at_the_address_of_the_proxy(made):
    """A sidecar serves them at the pod's address, a gateway at that of its Service."""
    for gateway, ip in ((False, "127.9.0.1"), (True, "127.9.0.9")):
        (listener,) = made(gateway=gateway)["static_resources"]["listeners"]
        assert listener["address"]["socket_address"] == {"address": ip, "port_value": 15090}


def test_the_admin_interface_is_a_socket_for_its_owner(made):
    """Nothing of the admin interface is reachable over the network."""
    assert made()["admin"] == {"address": {"pipe": {"path": "/mesh/admin", "mode": 0o600}}}


@pytest.mark.parametrize(("name", "kept"), SERIES)
def test_the_series_that_experiments_ask_for_are_kept(made, name, kept):
    """Outliers, retries, breakers, timeouts and faults are on Istio's list here; what nobody asks for is not."""
    patterns = made()["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]

    def fits(pattern) -> bool:
        if "prefix" in pattern:
            return name.startswith(pattern["prefix"])
        if "suffix" in pattern:
            return name.endswith(pattern["suffix"])
        return re.fullmatch(pattern["safe_regex"]["regex"], name) is not None

    assert any(map(fits, patterns)) is kept
