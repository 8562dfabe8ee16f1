"""PeerAuthentication: which connections a workload accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import field

from harness.localmesh.kinds.istio.values import Labels, Problem
from harness.localmesh.kinds.parse import Kind


class Selector(Kind):
    """The workloads that carry all `match_labels`."""

    match_labels: Labels = field(default_factory=dict)


class MutualTls(Kind):
    """STRICT takes mTLS only, DISABLE plaintext only, PERMISSIVE both; UNSET inherits the wider policy."""

    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


class PeerAuthentication(Kind):
    """The spec of a PeerAuthentication; `port_level_mtls` names ports of the workload, not the Service."""

    selector: Selector = Selector()
    mtls: MutualTls = MutualTls()
    port_level_mtls: dict[str, MutualTls] = field(default_factory=dict)


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
