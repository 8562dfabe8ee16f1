"""What Istio's CRD and webhook hold against a PeerAuthentication."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.peerauthentication import PeerAuthentication
from harness.localmesh.kinds.istio.values import Problem


def problems(spec: PeerAuthentication) -> Iterator[Problem]:
    """What Istio's CRD and webhook hold against `spec`."""
    for key, value in spec.selector.match_labels.items():
        if not key or "*" in key + value:
            yield f"selector.matchLabels[{key}]", "a label must have a name, and wildcards are not allowed"
    if spec.port_level_mtls and not spec.selector.match_labels:
        yield "portLevelMtls", "portLevelMtls requires selector"
    for port in spec.port_level_mtls:
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            yield f"portLevelMtls[{port}]", "port must be between 1-65535"
