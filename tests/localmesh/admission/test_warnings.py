"""What admission takes and warns of."""

from __future__ import annotations

import pytest
import yaml

from harness.localmesh.addresses import claim
from harness.localmesh.admission import guarded_store
from harness.localmesh.api.resources import (
    DESTINATION_RULES,
    NAMESPACES,
    PEER_AUTHENTICATIONS,
    VIRTUAL_SERVICES,
)
from harness.localmesh.store import Author


def _told(store, resource, text):
    """The warnings about an object that is created."""
    told: list[str] = []
    store.create(resource, yaml.safe_load(text), author=Author(told.append))
    return told


@pytest.fixture
def mesh_store():
    """The store of a mesh, with the namespace `default`."""
    block = claim()
    store = guarded_store(block)
    store.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    yield store
    block.release()


def _to_subset(name):
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [{name}], http: [{{route: [{{destination: {{host: reviews, subset: v2}}}}]}}]}}
"""


def test_a_subset_without_a_destination_rule_is_warned_of(mesh_store):
    """Requests to it would get 503; the writer is told until a DestinationRule of that host defines it."""
    (told,) = _told(mesh_store, VIRTUAL_SERVICES, _to_subset("early"))
    assert told.startswith(
        "spec.http[0].route[0].destination.subset: no DestinationRule defines the subset 'v2'"
    )
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, subsets: [{name: v2, labels: {version: v2}}]}
"""
    assert _told(mesh_store, DESTINATION_RULES, rule) == []
    assert _told(mesh_store, VIRTUAL_SERVICES, _to_subset("late")) == []


def test_the_warnings_of_istios_webhook_are_passed_on(mesh_store):
    """Here: a selector without labels, which selects everything."""
    text = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: all, namespace: default}
spec: {selector: {}}
"""
    (told,) = _told(mesh_store, PEER_AUTHENTICATIONS, text)
    assert told.startswith("spec.selector: ")
