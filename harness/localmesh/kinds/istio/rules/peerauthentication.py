"""What Istio's CRD and webhook hold against a PeerAuthentication (`ValidatePeerAuthentication`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.peerauthentication import PeerAuthentication
from harness.localmesh.kinds.istio.rules.common import selector_problems
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest


def problems(spec: PeerAuthentication, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    yield from selector_problems("selector.matchLabels", spec.selector.match_labels)
    if spec.port_level_mtls and not spec.selector.match_labels:
        yield "portLevelMtls", "portLevelMtls requires selector"
    if not spec.port_level_mtls and "portLevelMtls" in (manifest.get("spec") or {}):
        yield "portLevelMtls", "must not be empty"
    for port in spec.port_level_mtls:
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
            yield f"portLevelMtls[{port}]", "port must be between 1-65535"
