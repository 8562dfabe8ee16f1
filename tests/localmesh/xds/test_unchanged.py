"""A change makes anew what it concerns and nothing else: the rest stay the very same objects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.localmesh.xds import model
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.snapshot import translated
from harness.localmesh.xds.view import Views

A = "outbound|8080||a.default.svc.cluster.local"
B = "outbound|8080||b.default.svc.cluster.local"


@pytest.fixture
def mesh(build):
    """Two Services with a pod each, and a DestinationRule for each."""
    workloads = tuple(
        build.workload(name, f"127.9.0.{number}", f"127.9.1.{number}") for number, name in enumerate("ab", 1)
    )
    services = tuple(build.service(name) for name in "ab")
    return build.with_rules(model.Mesh(services=services, workloads=workloads), _rule("a", 1), _rule("b", 1))


@pytest.fixture
def translate():
    """The configuration of the first pod, made with one memory for all states of the mesh."""
    memo = Memo()

    def run(mesh):
        own = mesh.workloads[0]
        return translated(Views(mesh, memo).of(model.Proxy(own, {}, own.ip)))

    return run


def _rule(name, connections):
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: default}}
spec: {{host: {name}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}}}
"""


def _modes(build, mesh, namespace, mode):
    text = f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: mode, namespace: {namespace}}}
spec: {{mtls: {{mode: {mode}}}}}
"""
    return replace(mesh, peer_authentications=build.with_rules(model.Mesh(), text).peer_authentications)


def test_a_changed_destination_rule_makes_its_own_cluster_anew(build, mesh, translate):
    """The cluster of the other rule's host stays the same object."""
    before = translate(mesh)
    changed = build.with_rules(model.Mesh(), _rule("a", 2)).destination_rules[0]
    after = translate(replace(mesh, destination_rules=(changed, mesh.destination_rules[1])))
    assert after.clusters[A] != before.clusters[A]
    assert after.clusters[B] is before.clusters[B]


@pytest.mark.parametrize("namespace", ["default", "istio-system"])
def test_stricter_mtls_changes_nothing_for_callers(build, mesh, translate, namespace):
    """From PERMISSIVE to STRICT, clusters and endpoints stay the same objects; only the inbound side changes."""
    before = translate(_modes(build, mesh, namespace, "PERMISSIVE"))
    after = translate(_modes(build, mesh, namespace, "STRICT"))
    assert after.clusters[A] is before.clusters[A]
    assert after.endpoints[A] is before.endpoints[A]
    assert after.listeners != before.listeners


@pytest.mark.parametrize("namespace", ["default", "istio-system"])
def test_disabled_mtls_changes_clusters_and_endpoints(build, mesh, translate, namespace):
    """Callers go by plaintext then, and by mTLS again as soon as it is allowed."""
    before = translate(_modes(build, mesh, namespace, "STRICT"))
    after = translate(_modes(build, mesh, namespace, "DISABLE"))
    assert "transport_socket_matches" in before.clusters[A]
    assert "transport_socket_matches" not in after.clusters[A]
    assert "tlsMode" in str(before.endpoints[A])
    assert "tlsMode" not in str(after.endpoints[A])
    assert translate(_modes(build, mesh, namespace, "STRICT")) == before
