"""Objects that are each valid, and odd together: their configuration is one that Envoy takes."""

from __future__ import annotations

import pytest
from envoycheck import Pieces, rejected
from papermesh import VILLAGE, PaperMesh

ELSEWHERE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vault, namespace: default}
spec: {hosts: [vault.test], resolution: DNS, ports: [{number: 8443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vault, namespace: default}
spec:
  hosts: [vault.test]
  tls:
  - match: [{sniHosts: [vault.test], destinationSubnets: [10.9.0.0/16]}]
    route: [{destination: {host: vault.test}}]
"""
NO_PATH = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec: {hosts: [a], http: [{match: [{uri: {exact: ""}}], route: [{destination: {host: a}}]}]}
"""


@pytest.mark.parametrize("objects", [ELSEWHERE, NO_PATH], ids=["no route for the address", "no path at all"])
def test_envoy_takes_the_mixture(objects, tmp_path):
    """Every proxy gets a configuration, and `envoy --mode validate` has nothing to say against any part."""
    pieces = Pieces()
    for made in PaperMesh(VILLAGE + "---" + objects).snapshots().values():
        pieces.add(made, "the mixture")
    assert rejected(pieces.collected, tmp_path) == []
